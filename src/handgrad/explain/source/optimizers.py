"""Optimizers as NumPy code: constants, the state they start from, and the rule for one array of parameters."""

from __future__ import annotations

from dataclasses import dataclass

from handgrad.errors import UnsupportedError
from handgrad.optim import SGD, Adam, AdamW, Constant, Optimizer, RMSprop
from handgrad.optim.schedules import Schedule


@dataclass(frozen=True)
class Rule:
    """constants: NAME -> value. slots: what the state holds for each parameter, zeros at first. counts: whether the
    rule needs the number of the step. lines: of code, where w is the parameter `name`, g its gradient."""

    title: str
    constants: dict[str, float]
    slots: tuple[str, ...]
    counts: bool
    lines: tuple[str, ...]


def rule_of(optimizer: Optimizer) -> Rule:
    """The rule of an optimizer of the library, at a constant learning rate. Raises UnsupportedError for others."""
    kind, rate = type(optimizer), optimizer.learning_rate
    if isinstance(rate, Constant):
        rate = rate.rate
    if isinstance(rate, Schedule):
        raise UnsupportedError(f"write_source writes a constant learning rate, got {rate!r}; give a number")
    if kind is SGD:
        return _sgd(optimizer, rate)  # type: ignore[arg-type]
    if kind is RMSprop:
        return _rmsprop(optimizer, rate)  # type: ignore[arg-type]
    if kind in (Adam, AdamW):
        return _adam(optimizer, rate)  # type: ignore[arg-type]
    raise UnsupportedError(f"write_source knows SGD, RMSprop, Adam and AdamW, got {kind.__name__}")


def _sgd(optimizer: SGD, rate: float) -> Rule:
    if not optimizer.momentum:
        return Rule("gradient descent", {"LEARNING_RATE": rate}, (), False, ("params[name] = w - LEARNING_RATE * g",))
    constants = {"LEARNING_RATE": rate, "MOMENTUM": optimizer.momentum}
    speed = 'v = state["velocity"][name] = MOMENTUM * state["velocity"][name] + g'
    if optimizer.nesterov:
        step = "params[name] = w - LEARNING_RATE * (g + MOMENTUM * v)"
        return Rule("gradient descent with Nesterov's momentum", constants, ("velocity",), False, (speed, step))
    step = "params[name] = w - LEARNING_RATE * v"
    return Rule("gradient descent with momentum", constants, ("velocity",), False, (speed, step))


def _rmsprop(optimizer: RMSprop, rate: float) -> Rule:
    lines = (
        's = state["mean_square"][name] = DECAY * state["mean_square"][name] + (1 - DECAY) * g**2',
        "params[name] = w - LEARNING_RATE * g / (np.sqrt(s) + EPSILON)",
    )
    constants = {"LEARNING_RATE": rate, "DECAY": optimizer.decay, "EPSILON": optimizer.epsilon}
    return Rule("RMSprop", constants, ("mean_square",), False, lines)


def _adam(optimizer: Adam, rate: float) -> Rule:
    constants = {
        "LEARNING_RATE": rate,
        "BETA1": optimizer.beta1,
        "BETA2": optimizer.beta2,
        "EPSILON": optimizer.epsilon,
    }
    lines = [
        'm = state["first_moment"][name] = BETA1 * state["first_moment"][name] + (1 - BETA1) * g',
        'v = state["second_moment"][name] = BETA2 * state["second_moment"][name] + (1 - BETA2) * g**2',
        "m_corrected = m / (1 - BETA1**t)  # both moments start at 0, which this makes good",
        "v_corrected = v / (1 - BETA2**t)",
        "params[name] = w - LEARNING_RATE * m_corrected / (np.sqrt(v_corrected) + EPSILON)",
    ]
    if isinstance(optimizer, AdamW):
        constants["WEIGHT_DECAY"] = optimizer.weight_decay
        lines += ["if name in WEIGHTS:", "    params[name] -= LEARNING_RATE * WEIGHT_DECAY * w"]
    return Rule(type(optimizer).__name__, constants, ("first_moment", "second_moment"), True, tuple(lines))
