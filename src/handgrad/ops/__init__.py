"""The mathematics: each op's forward, backward and jvp, on arrays alone (see `handgrad.ops.base.Op`)."""

from handgrad.ops.activations import gelu, identity, leaky_relu, relu, sigmoid, swish, tanh
from handgrad.ops.arithmetic import add, divide, exp, log, matmul, maximum, multiply, negative, power, subtract
from handgrad.ops.base import Elementwise, Kink, Op
from handgrad.ops.dropout import dropout
from handgrad.ops.gated import bilinear, geglu, glu, reglu, swiglu
from handgrad.ops.linear import linear
from handgrad.ops.losses import (
    Loss,
    binary_cross_entropy,
    cross_entropy,
    hinge,
    huber,
    l2,
    poisson,
    quantile,
    squared_error,
)
from handgrad.ops.normalization import layer_norm
from handgrad.ops.reductions import max, mean, reshape, sum
from handgrad.ops.softmax import softmax

__all__ = [
    "Elementwise",
    "Kink",
    "Loss",
    "Op",
    "add",
    "bilinear",
    "binary_cross_entropy",
    "cross_entropy",
    "divide",
    "dropout",
    "exp",
    "geglu",
    "gelu",
    "glu",
    "hinge",
    "huber",
    "identity",
    "l2",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log",
    "matmul",
    "max",
    "maximum",
    "mean",
    "multiply",
    "negative",
    "poisson",
    "power",
    "quantile",
    "reglu",
    "relu",
    "reshape",
    "sigmoid",
    "softmax",
    "squared_error",
    "subtract",
    "sum",
    "swiglu",
    "swish",
    "tanh",
]
