"""How a step is taken: scikit-learn's solvers as the library's optimizers, their rates, and the engine that is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from handgrad.engines.choice import Engine, engine_of
from handgrad.estimators.network import Network
from handgrad.estimators.tasks import Task
from handgrad.layers import L2, Layer
from handgrad.optim import SGD, Adam, Optimizer
from handgrad.optim import by_name as optimizer_of
from handgrad.training.data import Rows

BELOW_1 = 1 - 2**-53  # the largest momentum that the library takes, for scikit-learn's 1
SMALLEST_RATE, REDUCTION = 1e-6, 5.0  # of learning_rate="adaptive"


def optimizer_for(estimator: Any, steps: int) -> Optimizer:
    """The optimizer that the estimator's parameters ask for, bound to that number of steps."""
    e = estimator
    if e.optimizer is not None:
        return optimizer_of(e.optimizer).bind(steps)
    rate = float(e.learning_rate_init)
    if e.solver == "adam":
        return Adam(rate, float(e.beta_1), float(e.beta_2), float(e.epsilon))
    momentum = min(float(e.momentum), BELOW_1)
    return SGD(rate, momentum, bool(e.nesterovs_momentum) and momentum > 0)


class Rate:
    """scikit-learn's `learning_rate` of solver="sgd". It acts on the engine, between epochs."""

    def __init__(self, estimator: Any, engine: Engine):
        self.estimator, self.engine = estimator, engine
        scheduled = estimator.optimizer is None and estimator.solver == "sgd"
        self.kind = estimator.learning_rate if scheduled else "constant"

    def epoch_ended(self) -> None:
        """invscaling: the rate goes down with the number of samples seen, t_."""
        e = self.estimator
        if self.kind == "invscaling":
            self._set(float(e.learning_rate_init) / (e.t_ + 1) ** e.power_t)

    def goes_on(self) -> str:
        """What is done where training gets no better: "", to stop, or with adaptive a smaller rate, in words."""
        rate = self.estimator._rate
        if self.kind != "adaptive" or rate <= SMALLEST_RATE:
            return ""
        self._set(rate / REDUCTION)
        return f"Setting learning rate to {self.estimator._rate:f}"

    @property
    def end(self) -> str:
        """Why training stops, in words."""
        return "Learning rate too small. Stopping." if self.kind == "adaptive" else "Stopping."

    def _set(self, rate: float) -> None:
        engine, before = self.engine, self.estimator._rate
        self.estimator._rate = rate
        engine.optimizer = replace(engine.optimizer, learning_rate=rate)
        if engine.optimizer.slots and rate != before:
            # scikit-learn's velocity has the rate in it, the library's is multiplied by it: the same movement goes on
            state = engine.state
            engine.resume(engine.params, state | {"velocity": state["velocity"] * (before / rate)})


@dataclass(frozen=True)
class Kept:
    """An engine, and all that it was made for, so that calls of partial_fit can share it."""

    engine: Engine
    note: str  # why it is not the compiled one
    model: Layer
    settings: tuple[Any, ...]

    @classmethod
    def of(
        cls, estimator: Any, task: Task, network: Network, optimizer: Optimizer, rows: Rows, batch: int, mean: float
    ) -> Kept:
        """The one that the estimator has, where it does what is wanted, or a new one; with the network's parameters.

        rows: some of those to come. batch: rows of a step. mean: of the sample weights.
        """
        e = estimator
        # scikit-learn's penalty is over the batch's sum of weights. Here one strength is for all batches: scikit-learn
        # pulls harder in a last batch that is shorter, for no reason.
        strength = float(e.alpha) / (2 * batch * mean)
        penalty = L2(strength) if strength else None
        clip = None if e.clip_norm is None else float(e.clip_norm)
        rule = replace(optimizer, learning_rate=0.0)  # the rate is set from epoch to epoch
        settings = (task.loss, rule, penalty, clip, batch, e.engine, e.threads)
        before = getattr(e, "_kept", None)
        if before is not None and before.model is network.model and before.settings == settings:
            if before.engine.optimizer != optimizer:  # another rate, which may change between calls
                before.engine.optimizer = optimizer
            before.engine.resume(network.params)
            return before
        # a copy: the network's numbers are the caller's to read, and to change, while the engine trains
        params = network.params.like(network.params.flat.copy())
        engine, note = engine_of(
            e.engine, network.model, task.loss, optimizer, penalty, clip, params, rows, batch, e.threads
        )
        state = before.engine.state if before is not None else getattr(e, "_state", None)
        if state is not None and _is_of(state, optimizer, params.flat.size):
            engine.resume(params, state)
        return cls(engine, note, network.model, settings)


def _is_of(state: dict[str, Any], optimizer: Optimizer, size: int) -> bool:
    """Whether it is a state of that optimizer, for so many parameters."""
    return set(state) == {"step", *optimizer.slots} and all(len(state[slot]) == size for slot in optimizer.slots)
