"""The mutants that compute the same numbers, and why: each by op, mutator and the change in the source.

A mutant may stay alive for no other reason. The test fails when one that is listed here is killed after all.
"""

from __future__ import annotations

LOSSES = "hinge cross_entropy binary_cross_entropy squared_error huber poisson quantile"
_REAL = "xp.real(x) if {}xp.isdtype(x.dtype, 'complex floating') else x"

# (ops, mutator, before, after, why)
_LISTED = [
    ("add subtract", "multiply for divide", "dout * by_x", "dout / by_x", "the local gradient is 1"),
    ("add", "multiply for divide", "dout * by_y", "dout / by_y", "the local gradient is 1"),
    ("subtract", "multiply for divide", "dout * by_y", "dout / by_y", "the local gradient is -1, its own inverse"),
    ("identity", "multiply for divide", "dout * local", "dout / local", "the local gradient is 1"),
    ("negative", "multiply for divide", "dout * local", "dout / local", "the local gradient is -1, its own inverse"),
    *(
        ("bilinear", mutator, "dout * c * self.gate.local(saved)", after, "the gate is the identity, of slope 1")
        for mutator, after in (
            ("multiply for divide", "dout * c / self.gate.local(saved)"),
            ("dropped operand", "dout * c"),
        )
    ),
    (
        "matmul",
        "missing sum",
        "xp.reshape(xp.sum(x, axis=axes), shape)",
        "xp.sum(x, axis=axes)",
        "MatMul.backward reshapes to the input's shape once more, for vectors",
    ),
    (LOSSES, "wrong constant", "False", "True", "copy=False saves a copy of the weights; the numbers are the same"),
    (
        "hinge cross_entropy",
        "wrong comparison",
        "losses.ndim < scores.ndim",
        "losses.ndim <= scores.ndim",
        "a class loss always has one axis less than its scores",
    ),
    ("huber", "wrong comparison", "size > delta", "size >= delta", "at r = delta both branches are delta"),
    ("huber", "wrong comparison", "size < -delta", "size <= -delta", "at r = -delta both branches are -delta"),
    ("gelu", "wrong comparison", "real(xp, x) > bound", "real(xp, x) >= bound", "at the bound both branches are it"),
    ("gelu", "wrong comparison", "real(xp, x) < -bound", "real(xp, x) <= -bound", "at the bound both branches are it"),
    ("gelu", "wrong constant", "40.0", "60.0", "the bell is 0 in float64 from 39 on, phi and 1 - phi from 22 on"),
    (
        "gelu huber binary_cross_entropy",
        "wrong branch",
        _REAL.format(""),
        _REAL.format("not "),
        "NumPy orders by real parts",
    ),
    (
        "binary_cross_entropy",
        "wrong comparison",
        "real(xp, x) < 0",
        "real(xp, x) <= 0",
        "at x = 0 both branches are 1 / 2",
    ),
    (
        "binary_cross_entropy",
        "wrong comparison",
        "xp.real(x) < 0",
        "xp.real(x) <= 0",
        "asked of complex numbers alone, for a complex step, where 0 is its own negative",
    ),
]
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (op, mutator, f"{before} -> {after}"): why for ops, mutator, before, after, why in _LISTED for op in ops.split()
}
