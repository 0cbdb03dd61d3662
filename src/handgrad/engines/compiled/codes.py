"""What the kernels call each loss and each optimizer, and the numbers that belong to it."""

from __future__ import annotations

import handgrad.layers as layers
import handgrad.optim as optim
from handgrad.engines.compiled.kernels import losses as kinds
from handgrad.engines.compiled.kernels import optimizers as rules
from handgrad.errors import UnsupportedError
from handgrad.layers import Loss
from handgrad.optim import Optimizer


def loss_code(loss: Loss, labels: bool) -> tuple[int, float]:
    """(code, its number). labels: whether y holds classes. Raises UnsupportedError."""
    match type(loss), loss:
        case layers.Hinge, layers.Hinge(margin=margin):
            return kinds.HINGE, margin
        case layers.CrossEntropy, layers.CrossEntropy(label_smoothing=smoothing):
            return (kinds.CROSS_ENTROPY if labels else kinds.SOFT_CROSS_ENTROPY), smoothing
        case layers.BinaryCrossEntropy, _:
            return kinds.BINARY_CROSS_ENTROPY, 0.0
        case layers.SquaredError, _:
            return kinds.SQUARED_ERROR, 0.0
        case layers.Huber, layers.Huber(delta=delta):
            return kinds.HUBER, delta
        case layers.Poisson, _:
            return kinds.POISSON, 0.0
        case layers.Quantile, layers.Quantile(q=q):
            return kinds.QUANTILE, q
    raise UnsupportedError(f"the compiled engine cannot run the loss {loss!r}")


def optimizer_code(optimizer: Optimizer) -> tuple[int, tuple[float, float, float]]:
    """(code, (beta1 or momentum, beta2 or decay, epsilon)). Raises UnsupportedError."""
    match type(optimizer), optimizer:
        case optim.SGD, optim.SGD(momentum=momentum, nesterov=nesterov):
            return (rules.NESTEROV if nesterov else rules.MOMENTUM if momentum else rules.SGD), (momentum, 0.0, 0.0)
        case optim.RMSprop, optim.RMSprop(decay=decay, epsilon=epsilon):
            return rules.RMSPROP, (0.0, decay, epsilon)
        case ((optim.Adam | optim.AdamW), optim.Adam(beta1=beta1, beta2=beta2, epsilon=epsilon)):
            return rules.ADAM, (beta1, beta2, epsilon)
    raise UnsupportedError(f"the compiled engine cannot run the optimizer {optimizer!r}")
