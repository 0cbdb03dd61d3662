"""What the comparisons with other people's numbers share: a tape of our ops, and what lies beyond their scope."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from handgrad import ops


@dataclass(frozen=True)
class Beyond:
    """Samples out of scope, and why. Each must be refused with `error`: nothing out of scope is computed in silence.

    error is None where the other side has an option that ours does not: there is nothing to call.
    """

    reason: str
    applies: Callable[..., bool]
    error: type[Exception] | None


class Tape:
    """Calls of our ops, kept in order, so that a composition is turned back by each op's own backward."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, Any, tuple[Any, ...], Any]] = []

    def __call__(self, op: Any, *inputs: Any, **hyper: Any) -> Any:
        out, cache = op.forward(*inputs, **hyper)
        self.steps.append((op, cache, inputs, out))
        return out

    def gradients(self, out: Any, dout: Any, wrt: Sequence[Any]) -> list[Any]:
        """The gradients of <out, dout> by each array in `wrt`; zeros for one that `out` does not depend on."""
        flow = {id(out): dout}
        for op, cache, inputs, result in reversed(self.steps):
            if (upstream := flow.pop(id(result), None)) is None:
                continue
            # a loss has a gradient for its scores alone, so that zip may stop early
            for x, gradient in zip(inputs, op.backward(upstream, cache), strict=False):
                if hasattr(x, "dtype") and gradient is not None:
                    flow[id(x)] = flow[id(x)] + gradient if id(x) in flow else gradient
        return [flow.get(id(x), 0 * x) for x in wrt]


class MoveAxis:
    """An axis moved to another place: the layout (N, C, d1, ...) of others made ours, classes last."""

    def forward(self, x: Any, source: int, target: int) -> tuple[Any, Any]:
        xp = array_api_compat.array_namespace(x)
        return xp.moveaxis(x, source, target), (xp, source, target)

    def backward(self, dout: Any, cache: Any) -> tuple[Any]:
        xp, source, target = cache
        return (xp.moveaxis(dout, target, source),)


def forward(op: Any, *inputs: Any, **hyper: Any) -> Any:
    """An op's output alone: what a composition is run with where no gradient is asked for."""
    return op(*inputs, **hyper)


def log_softmax(do: Callable[..., Any], x: Any, axis: int = -1) -> Any:
    """x - max - log(sum(exp(x - max))) over one axis, from our arithmetic."""
    z = do(ops.subtract, x, do(ops.max, x, axis=axis, keepdims=True))
    return do(ops.subtract, z, do(ops.log, do(ops.sum, do(ops.exp, z), axis=axis, keepdims=True)))


def same_numbers(actual: Any, expected: Any, rtol: float, atol: float, what: str) -> None:
    """Assert one shape, one dtype and numbers that agree. Nothing is broadcast to fit."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    assert actual.dtype == expected.dtype, f"{what}: dtype {actual.dtype}, expected {expected.dtype}"
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=what)
