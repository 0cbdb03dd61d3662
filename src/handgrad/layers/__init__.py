"""Layers: an op bound to named parameters and hyperparameters, and losses bound to theirs."""

from handgrad.layers.activations import (
    GELU,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Softmax,
    Swish,
    Tanh,
    activation,
)
from handgrad.layers.base import Layer
from handgrad.layers.gated import GEGLU, GLU, Bilinear, ReGLU, SwiGLU
from handgrad.layers.linear import Flatten, Linear
from handgrad.layers.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Hinge,
    Huber,
    Loss,
    Poisson,
    Quantile,
    SquaredError,
    loss,
)
from handgrad.layers.parameters import Parameter, Parameters
from handgrad.layers.regularization import L2, Dropout, LayerNorm

__all__ = [
    "GEGLU",
    "GELU",
    "GLU",
    "L2",
    "Bilinear",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Dropout",
    "Flatten",
    "Hinge",
    "Huber",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Loss",
    "Parameter",
    "Parameters",
    "Poisson",
    "Quantile",
    "ReGLU",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "SquaredError",
    "SwiGLU",
    "Swish",
    "Tanh",
    "activation",
    "loss",
]
