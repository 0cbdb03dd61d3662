"""The eager engine: plain calls of the layers, on any array library, for any layer a user writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import array_api_compat
import numpy as np

from handgrad.errors import CheckpointError, DivergenceError, ShapeError
from handgrad.layers import L2, Layer, Loss, Parameters
from handgrad.layers import loss as loss_of
from handgrad.ops.arrays import Array, namespace_of, same_dtype
from handgrad.optim import Optimizer, clip_by_norm, global_norm
from handgrad.optim.base import State


def value_and_grad(
    model: Layer,
    loss: str | Loss,
    params: Mapping[str, Array],
    x: Array,
    y: Any,
    *,
    sample_weight: Any = None,
    regularizer: L2 | None = None,
    train: bool = False,
    rng: np.random.Generator | None = None,
) -> tuple[Array, Parameters]:
    """The loss of one batch, the penalty added, and its gradient by every parameter, as Parameters like `params`.

    x: (m, ...), samples as rows. y and sample_weight: one row a sample, as the loss takes them. loss: an object or a
    name. train and rng matter to Dropout alone. A plain mapping of names to arrays serves as `params` too.
    Raises ShapeError, DTypeError, DeviceError or ValueRangeError, with the layer's name where it arose in one.
    """
    loss, params = loss_of(loss), as_parameters(model, params)

    def mean_loss(scores: Array) -> tuple[Array, Array]:
        value, cache = loss.forward(scores, y, sample_weight=sample_weight)
        return value, loss.backward(1.0, cache)

    return _value_and_grad(model, mean_loss, params, x, regularizer, train, rng)


def _value_and_grad(
    model: Layer,
    loss_of_scores: Callable[[Array], tuple[Array, Array]],
    params: Parameters,
    x: Array,
    regularizer: L2 | None,
    train: bool,
    rng: np.random.Generator | None,
) -> tuple[Array, Parameters]:
    """As value_and_grad, for a loss given as a function of the scores: (its value, its gradient by them)."""
    scores, cache = model.forward(params, x, train=train, rng=rng)
    value, dscores = loss_of_scores(scores)
    grads = model.parameter_gradients(dscores, cache)
    if regularizer is not None:
        penalty, penalty_grads = regularizer.value_and_grad(params)
        value = value + penalty
        for name, gradient in penalty_grads.items():
            grads[name] = gradient if grads[name] is None else grads[name] + gradient
    return value, params.pack(grads)


def check_parameters(model: Layer, params: Parameters) -> None:
    """Raise ParameterError or ShapeError unless the parameters are those of the model, by name and shape."""
    specs = model.parameters()
    params.check_names(specs)
    for name, spec in specs.items():
        if params.specs[name].shape != spec.shape:
            raise ShapeError(f"params hold {name!r} in shape {params.specs[name].shape}, the model has {spec.shape}")


def _restore(generators: Generators, states: tuple[Any, ...]) -> None:
    """Set the generators to states that a checkpoint has kept. Raises CheckpointError for what are none of theirs."""
    try:
        for generator, state in zip(generators, states, strict=True):
            if not 0 <= state.get("buffer_pos", 0) <= 4:  # Philox's: NumPy would read outside of its buffer
                raise ValueError(f"buffer_pos must be from 0 to 4, got {state['buffer_pos']!r:.60}")
            generator.bit_generator.state = state
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"the checkpoint's random generators cannot be gone on with: {error!s:.200}") from None


def as_parameters(model: Layer, params: Mapping[str, Array]) -> Parameters:
    """`params` itself when it is a Parameters, else its arrays packed into one vector, of the first array's library."""
    if isinstance(params, Parameters):
        return params
    specs = model.parameters()
    size = sum(math.prod(spec.shape) for spec in specs.values())
    if not params:
        return Parameters(specs, np.zeros(size)).pack(params)
    xp = namespace_of(**params)
    same_dtype(**params)
    first = next(iter(params.values()))
    flat = xp.zeros(size, dtype=first.dtype, device=array_api_compat.device(first))
    return Parameters(specs, flat).pack(params)


@dataclass(frozen=True)
class Begun:
    """How far an epoch has come: the steps done, what the engine has summed up of them, its generators' states."""

    steps: int
    sums: np.ndarray
    generators: tuple[Mapping[str, Any], ...] = ()


Generators = tuple[np.random.Generator, ...]
Part = tuple[Any, np.ndarray]  # rows, and the index of those to train on


class EagerEngine:
    """Training steps by plain calls. Its `params` are replaced, never changed, so that who keeps them keeps them.

    Between epochs `optimizer` may be set to one of the same rule, with another rate; see also `resume`.
    """

    name = "eager"

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        regularizer: L2 | None,
        clip_norm: float | None,
        params: Parameters,
    ):
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.regularizer, self.clip_norm = regularizer, clip_norm
        self.params = self._good = params  # _good: the last whose loss was seen to be finite
        self.state = optimizer.init(params.flat)
        self._decays = params.decays
        self._at: tuple[int, tuple[float, ...], Generators] = 0, (), ()  # steps done of the epoch, sums, generators

    def resume(self, params: Parameters, state: State | None = None) -> None:
        """Go on from these parameters, and from this state of the optimizer unless it is None."""
        self.params = self._good = params
        if state is not None:
            self.state = state

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # each step looks for what they would warn of
    def epoch(
        self,
        parts: Iterable[Part],
        batch_size: int,
        generator: Callable[[], np.random.Generator],
        on_step: Callable[[int], None],
        begun: Begun | None = None,
    ) -> tuple[float, float]:
        """One pass over the parts of the data: (mean loss over samples, mean gradient norm over steps).

        parts: (rows, order) of each, all but the last a whole number of batches. rows: has take(index) giving x, y and
        weight. order: the index of those to train on, in that order. generator: makes the one that dropout draws from,
        as it is at the epoch's beginning. on_step: called after steps, which then are all there; what it raises comes
        through. begun: what the property of that name was within an epoch of the same arguments, to do the rest of it.
        Raises DivergenceError when the loss or the gradient is not finite, and then holds the last parameters whose
        loss was.
        """
        total, norms, seen = begun.sums.tolist() if begun else (0.0, 0.0, 0)
        rng = generator()
        generators = self._generators(rng)
        if begun:
            _restore(generators, begun.generators)
        done = begun.steps if begun else 0
        self._at = done, (total, norms, seen), generators
        for batch in self._batches_of(parts, batch_size, generators, done):
            x = batch.x if batch.x.dtype == self.params.flat.dtype else _cast(batch.x, self.params.flat)
            before = rng.bit_generator.state
            value, gradient = self._value_and_grad(batch, x, rng)
            loss = float(value)
            flat, norm = gradient.flat, global_norm(gradient.flat)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                rng.bit_generator.state = before
                place = self.place_of_fault(batch, rng)
                what = f"the loss became {loss}" if not math.isfinite(loss) else f"the gradient's norm became {norm}"
                if not math.isfinite(loss):
                    self.params = self._good
                raise diverged(self.state["step"], place, what)
            if self.clip_norm is not None and norm > self.clip_norm:
                flat, _ = clip_by_norm(flat, self.clip_norm)
            self._good = self.params
            self.state, update = self.optimizer.update(self.state, flat, self.params.flat, decayed=self._decays)
            update += self.params.flat  # a fresh array, so that no other need be made
            self.params = self.params.like(update)
            total += loss * len(batch)
            seen += len(batch)
            norms += norm
            done += 1
            self._at = done, (total, norms, seen), generators
            on_step(done - 1)
        if not math.isfinite(global_norm(self.params.flat)):  # where no further step may come to see it
            self.params = self._good
            raise diverged(self.state["step"] - 1, "the new parameters", "the update was not finite")
        return total / max(1, seen), norms / max(1, done)

    @property
    def begun(self) -> Begun:
        """How far the epoch has come, for `epoch` to go on from there; on_step may ask."""
        steps, sums, generators = self._at
        return Begun(steps, np.array(sums, float), tuple(each.bit_generator.state for each in generators))

    def _generators(self, rng: np.random.Generator) -> Generators:
        """All that an epoch draws from, at its beginning; the first is for dropout."""
        return (rng,)

    def _batches_of(self, parts: Iterable[Part], batch_size: int, generators: Generators, first: int) -> Iterator[Any]:
        """The rows of each step of the epoch, from the step `first` on."""
        for data, order in parts:
            steps = math.ceil(len(order) / batch_size)
            for index in self._batches(order, batch_size, generators, min(first, steps)):
                yield data.take(index)
            first = max(0, first - steps)

    def _batches(
        self, order: np.ndarray, batch_size: int, generators: Generators, first: int = 0
    ) -> Iterator[np.ndarray]:
        """The rows of each step of a part, from its step `first` on."""
        for start in range(first * batch_size, len(order), batch_size):
            yield order[start : start + batch_size]

    def _value_and_grad(self, batch: Any, x: Array, rng: np.random.Generator) -> tuple[Array, Parameters]:
        """The batch's loss and the gradient that the step goes by."""
        loss = partial(self._batch_loss, batch)
        return _value_and_grad(self.model, loss, self.params, x, self.regularizer, True, rng)

    def place_of_fault(self, batch: Any, rng: np.random.Generator) -> str:
        """Where the step of that batch first meets a number that is not finite. rng: as it stood before the step."""
        before = rng.bit_generator.state
        x = _cast(batch.x, self.params.flat)
        loss, gradient = self._value_and_grad(batch, x, rng)
        rng.bit_generator.state = before
        return first_non_finite(self.model, self.params, x, float(loss), gradient, rng)

    def finish(self) -> Parameters:
        """The parameters, when no more epochs are to come."""
        return self.params

    def _batch_loss(self, batch: Any, scores: Array) -> tuple[Array, Array]:
        """The batch's part of the weighted mean over all samples: the mean of w_i L_i, all the weights' mean being 1.

        Over the sum of the batch's own weights instead, a sample would count for more in a batch of light ones.
        """
        if batch.weight is None:
            value, cache = self.loss.forward(scores, batch.y)
            return value, self.loss.backward(1.0, cache)
        each, cache = self.loss.forward(scores, batch.y, batch.weight, reduction="none")
        xp = array_api_compat.array_namespace(each)
        return xp.mean(each), self.loss.backward(xp.full_like(each, 1 / math.prod(each.shape)), cache)


def _cast(x: Array, like: Array) -> Array:
    return array_api_compat.array_namespace(x).astype(x, like.dtype)


def diverged(step: int, place: str, what: str) -> DivergenceError:
    """The error of a training whose numbers are finite no more; `place` is the first that was not."""
    error = DivergenceError(
        f"{what} at step {step}; the first non-finite value is in {place}. The last good parameters are in "
        "this error's `result.params`. A smaller learning rate, clip_norm or scaled inputs may help"
    )
    error.step, error.place = step, place
    return error


def first_non_finite(
    model: Layer, params: Parameters, x: Array, loss: float, gradient: Parameters, rng: np.random.Generator
) -> str:
    """Where a NaN or an infinity stands first: in a parameter, a layer's output, the loss or a parameter's gradient."""

    def finite(array: Array) -> bool:
        xp = array_api_compat.array_namespace(array)
        return bool(xp.all(xp.isfinite(array)))

    found: list[str] = []

    def look(name: str, layer: Layer, out: Array) -> None:
        if not finite(out):
            found.append(f"the output of layer {name!r} ({type(layer).__name__})")

    found += [f"parameter {name!r}" for name in params if not finite(params[name])]
    if not found:
        model.visit(look, params, x, train=True, rng=rng)
    if not found and not math.isfinite(loss):
        return "the loss"
    # the last layer's gradient is the first that backward makes
    found += [f"the gradient of parameter {name!r}" for name in reversed(list(gradient)) if not finite(gradient[name])]
    return found[0] if found else "the gradient's norm"
