"""The table of ops. Each row is one op with inputs, given as shapes, its targets and its hyperparameters.

Adding an op to the table is what it takes to prove it: `proofs.py` runs over the rows, and so do the mutation tests.
`EXACT` are the points where a gradient is declared, not derived: kinks, ties and the edges of a domain.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from handgrad import ops

Shape = tuple[int, ...]
OPS = {op.name: op for op in (getattr(ops, name) for name in ops.__all__) if isinstance(op, ops.Op)}


@dataclass(frozen=True)
class Drawn:
    """An input and how it is drawn; a bare shape stands for the normal distribution."""

    shape: Shape
    draw: Callable[[np.random.Generator, Shape], np.ndarray]

    def __str__(self) -> str:
        return "x".join(map(str, self.shape)) + ("" if self.draw is normal else self.draw.__name__)


@dataclass(frozen=True)
class Case:
    """A row: an op, its inputs (shapes; None where one is left out), fixed arguments, hyperparameters."""

    op: Any
    inputs: tuple[Drawn | None, ...]
    args: tuple[Any, ...] = ()
    hyper: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        words = ["-".join(map(str, self.inputs))]
        words += [f"y:{a.dtype}:{a.ndim}:{a.sum():.2g}" for a in self.args]
        words += [f"{k}={np.max(v):.2g}" if k == "sample_weight" else f"{k}={v}" for k, v in self.hyper.items()]
        return f"{self.op.name}[{','.join(words)}]".replace(" ", "")

    @property
    def smooth(self) -> bool:
        """Whether every derivative is continuous; Huber's second is not, though its first has no kink."""
        return not self.op.kinks and self.op is not ops.huber

    def draw(self, seed: int = 0, dtype: Any = np.float64) -> tuple[np.ndarray | None, ...]:
        """Inputs of this row, the same for the same seed."""
        rng = np.random.default_rng([seed, zlib.crc32(str(self).encode())])
        return tuple(None if i is None else np.asarray(i.draw(rng, i.shape), dtype=dtype) for i in self.inputs)

    def forward(self, inputs: Any) -> tuple[Any, Any]:
        return self.op.forward(*inputs, *self.args, **self.hyper)

    def upstream(self, out: Any, seed: int = 0) -> Any:
        """A random upstream gradient for this output: an array, or a Python number where the output is one."""
        dout = np.random.default_rng([seed, 7]).normal(size=np.shape(out))
        return dout.astype(np.asarray(out).dtype) if dout.ndim else float(dout)


@dataclass(frozen=True)
class Exact:
    """A point at which the gradients are declared: what `backward` must give there for an upstream gradient of ones."""

    op: Any
    inputs: tuple[Any, ...]
    gradients: tuple[Any, ...]
    args: tuple[Any, ...] = ()
    hyper: dict[str, Any] = field(default_factory=dict)
    kink: bool = True  # False: the edge of a domain

    def __str__(self) -> str:
        words = (str(v).replace(" ", "") for v in (*self.inputs, *self.args, *self.hyper.values()))
        return f"{self.op.name}[{','.join(words)}]"


def normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.normal(size=shape)


def positive(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.uniform(0.5, 2.0, shape)


def wide(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Numbers to +-50 and some within +-1: the tails of an activation and its middle."""
    return rng.normal(size=shape) * 10 ** rng.uniform(-1, 1.3, shape)


def half_zero(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.normal(size=shape) * (np.arange(math.prod(shape)).reshape(shape) % 2)


def labels(*shape: int, classes: int) -> np.ndarray:
    return (np.arange(math.prod(shape)).reshape(shape) * 7 + 1) % classes


def fractions(*shape: int) -> np.ndarray:
    """Numbers from 0 to 1, the first two of them at the ends."""
    y = np.random.default_rng(math.prod(shape)).uniform(size=shape)
    y.flat[:2] = (0, 1)[: y.size]
    return y


def distributions(*shape: int) -> np.ndarray:
    """Rows that sum to 1, with a 0 in each."""
    y = fractions(*shape) + 0.1
    y[..., 0] = 0
    return y / y.sum(-1, keepdims=True)


def weights(*shape: int) -> np.ndarray:
    """Sample weights, one of them 0 where there are several."""
    w = np.random.default_rng(5).uniform(0.5, 3.0, shape)
    w.flat[1:2] = 0
    return w


def rows(op: Any, *inputs: Any, draw: Any = None, **hypers: list[Any]) -> list[Case]:
    """A row for each tuple of shapes with each combination of hyperparameter values; `draw` is for each input."""
    values = [dict(zip(hypers, combination, strict=True)) for combination in product(*hypers.values())]
    draws = draw or [normal] * len(op.inputs)
    drawn = [tuple(None if s is None else Drawn(s, d) for s, d in zip(i, draws, strict=False)) for i in inputs]
    return [Case(op, shapes, hyper=hyper) for shapes in drawn for hyper in values]


def losses(op: Any, targets: Any, **hypers: list[Any]) -> list[Case]:
    """Loss rows: each (scores' shape, targets) with each hyperparameter, weighted or not, by mean and one by one.

    Beside the first value of each hyperparameter, that is all four; beside the others, the weighted mean and the plain
    single losses.
    """
    cases = []
    for (shape, y), *values in product(targets, *hypers.values()):
        hyper = dict(zip(hypers, values, strict=True))
        samples = shape if len(shape) == 1 else shape[:-1]
        every = list(product((None, weights(*samples)), ("mean", "none")))
        default = all(value == hypers[name][0] for name, value in hyper.items())
        for weight, reduction in every if default else every[1:3]:
            extra = {} if weight is None else {"sample_weight": weight}
            cases.append(Case(op, (Drawn(shape, normal),), (y,), {**hyper, **extra, "reduction": reduction}))
    huge = {"sample_weight": np.full(4, 3e38), "reduction": "mean"}
    first_hyper = {name: values[0] for name, values in hypers.items()}
    shape, y = next((shape, y) for shape, y in targets if shape[0] == 4)
    return [*cases, Case(op, (Drawn(shape, normal),), (y,), {**first_hyper, **huge})]


BROADCASTS = [
    ((3, 4), (3, 4)),
    ((2, 3, 4), (3, 1)),
    ((4,), (2, 3, 4)),
    ((1, 3), (17, 1)),
    ((), (3, 2)),
    ((2, 1, 3), (1, 4, 1)),
    ((1, 1), (1, 1)),
    ((1,), (1, 1, 2)),
    ((1, 1), (1, 5)),
]
MATRICES = [
    ((3, 4), (4, 17)),
    ((4,), (4, 3)),
    ((3, 4), (4,)),
    ((4,), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((4,), (2, 4, 3)),
    ((2, 3, 4), (4,)),
    ((1, 3, 4), (1, 5, 4, 2)),
    ((2, 1, 3, 4), (1, 2, 5, 4, 2)),
    ((2, 4, 3), (1, 3, 2)),
    ((1, 1, 3, 4), (1, 5, 4, 2)),
    ((1, 1), (1, 1)),
]
ELEMENTS = [((3, 17),), ((),), ((1, 1),), ((2, 3, 4),)]
AXES = [((2, 3, 4),)]
ACTIVATIONS = (ops.sigmoid, ops.tanh, ops.relu, ops.leaky_relu, ops.swish, ops.gelu)
UNITS = (ops.glu, ops.swiglu, ops.bilinear, ops.reglu, ops.geglu)
GATED = [
    ((3, 4), (4, 17), (4, 17), (17,), (17,)),
    ((2, 3, 4), (4, 5), (4, 5), None, None),
    ((3, 4), (4, 5), (4, 5), (5,), None),
    ((4,), (4, 3), (4, 3), None, (3,)),
    ((1, 1), (1, 1), (1, 1), (1,), (1,)),
]
CLASSES = [
    ((4, 3), labels(4, classes=3)),
    ((17, 2), labels(17, classes=2)),
    ((2, 3, 5), labels(2, 3, classes=5)),
    ((1, 3), labels(1, classes=3)),
    ((3, 1), labels(3, classes=1)),
]
OUTPUTS = [(4, 3), (17, 1), (2, 3, 5), (1, 3), (5,)]

CASES: list[Case] = [
    *rows(ops.linear, ((3, 4), (4, 17), (17,)), ((2, 3, 4), (4, 5), None), ((4,), (4, 3), (3,))),
    *rows(ops.linear, ((1, 1), (1, 1), (1,)), ((2, 5, 3, 4), (4, 2), (2,)), layout=["in_out"]),
    *rows(ops.linear, ((3, 4), (17, 4), (17,)), ((2, 3, 4), (5, 4), None), ((4,), (3, 4), (3,)), layout=["out_in"]),
    *rows(ops.linear, ((3, 2, 2), (4, 5), (5,)), ((3, 4), (4, 5), (5,)), ((2, 1, 2, 2), (4, 3), None), flatten=[True]),
    *rows(ops.linear, ((3, 2, 2), (5, 4), (5,)), ((2, 1, 2, 2), (3, 4), None), layout=["out_in"], flatten=[True]),
    *rows(ops.matmul, *MATRICES),
    *(case for op in (ops.add, ops.subtract, ops.multiply, ops.maximum) for case in rows(op, *BROADCASTS)),
    *rows(ops.divide, *BROADCASTS, draw=[normal, positive]),
    *rows(ops.power, *BROADCASTS, draw=[positive, normal]),
    *rows(ops.power, ((3, 4), (3, 4)), draw=[positive, half_zero]),
    *rows(ops.negative, *ELEMENTS),
    *rows(ops.exp, *ELEMENTS),
    *rows(ops.log, *ELEMENTS, draw=[positive]),
    *(case for op in (ops.sum, ops.mean, ops.max) for case in rows(op, ((3, 17),), ((),), ((1,),))),
    *(
        case
        for op in (ops.sum, ops.mean, ops.max)
        for case in rows(op, *AXES, axis=[None, 0, 1, -1, (0, 2), (-1, 1), (0, 1, 2), ()], keepdims=[False, True])
    ),
    *rows(ops.reshape, ((3, 4),)),
    *rows(ops.reshape, ((3, 4),), ((2, 1, 6),), shape=[(12,), (2, 6), (-1, 3), (2, -1, 2)]),
    *rows(ops.identity, *ELEMENTS),
    *(case for op in ACTIVATIONS for draw in (normal, wide) for case in rows(op, *ELEMENTS, draw=[draw])),
    *rows(ops.leaky_relu, ((3, 17),), alpha=[0.2, 0.0, 1.5, -0.3]),
    *rows(ops.swish, ((3, 17),), beta=[0.5, 2.0, 0.0, -1.0]),
    *rows(ops.swish, ((3, 17),), draw=[wide], beta=[0.5, 2.0]),
    *(case for d in (normal, wide) for case in rows(ops.gelu, *ELEMENTS, draw=[d], approximate=["none", "tanh"])),
    *rows(ops.softmax, ((3, 17),), ((4,),), ((5, 1),), ((2, 3, 4),)),
    *rows(ops.softmax, ((2, 3, 4),), temperature=[0.5, 1.0, 3.0], axis=[0, 1, -1, -3]),
    *(case for op in UNITS for case in rows(op, *GATED)),
    *rows(ops.dropout, ((3, 17),), ((2, 3, 4),), ((1, 1),), rate=[0.0, 0.5, 0.2], rng=[3]),
    *rows(ops.layer_norm, ((3, 17),) + 2 * ((17,),), ((2, 3, 4),) + 2 * ((4,),), ((5,),) * 3, ((3, 1), (1,), (1,))),
    *(c for d in (normal, wide) for c in rows(ops.layer_norm, ((3, 4), (4,), (4,)), draw=[d] * 3, epsilon=[0.5, 2e-5])),
    *losses(ops.hinge, CLASSES, margin=[1.0, 0.3, 0.0]),
    *losses(
        ops.cross_entropy,
        [*CLASSES[:-1], *((shape, distributions(*shape)) for shape in OUTPUTS[:4] if shape[-1] > 1)],
        label_smoothing=[0.0, 0.1, 1.0],
    ),
    *losses(ops.cross_entropy, [((4, 3), 2 * distributions(4, 3)), ((4, 3), labels(4, classes=3).astype(np.uint8))]),
    *losses(ops.binary_cross_entropy, [*((s, fractions(*s)) for s in OUTPUTS), ((17, 1), np.arange(17) % 2 == 1)]),
    *losses(
        ops.squared_error, [*((s, normal(np.random.default_rng(1), s)) for s in OUTPUTS), ((17, 1), np.arange(17))]
    ),
    *losses(ops.huber, [(s, normal(np.random.default_rng(1), s)) for s in OUTPUTS], delta=[1.0, 0.2]),
    *losses(ops.poisson, [(s, labels(*s, classes=4)) for s in OUTPUTS]),
    *losses(ops.quantile, [(s, normal(np.random.default_rng(1), s)) for s in OUTPUTS], q=[0.5, 0.1]),
    *rows(ops.l2, ((3, 17),), ((4,),), ((),), strength=[1.0, 0.3, 0.0]),
]
ROWS = {name: [case for case in CASES if case.op is op] for name, op in OPS.items()}

EXACT: list[Exact] = [
    Exact(ops.relu, ([-1.0, 0.0, -0.0, 1.0],), ([0, 0, 0, 1],)),
    Exact(ops.leaky_relu, ([-1.0, 0.0, -0.0, 1.0],), ([0.2, 0.2, 0.2, 1],), hyper={"alpha": 0.2}),
    Exact(ops.reglu, ([[1.0, 1.0]], [[2.0], [3.0]], [[1.0], [-1.0]]), ([[0, 0]], [[0], [0]], [[0], [0]], None, None)),
    Exact(ops.maximum, ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]), ([0, 0.5, 1], [1, 0.5, 0])),
    Exact(ops.max, ([3.0, 1.0, 3.0, 3.0],), ([1 / 3, 0, 1 / 3, 1 / 3],)),
    Exact(ops.max, ([[1.0, 1.0], [0.0, 2.0]],), ([[0.5, 0.5], [0, 1]],), hyper={"axis": -1}),
    Exact(ops.max, ([math.nan, 1.0],), ([0, 0],), kink=False),
    Exact(ops.hinge, ([[0.0, 1.0, 3.0], [2.0, 1.0, 0.0]],), ([[0, -0.5, 0.5], [0, 0, 0]],), ([1, 0],)),
    Exact(ops.hinge, ([[1.0, 1.0, 1.0]],), ([[0, 0, 0]],), ([2],), {"margin": 0.0}),
    Exact(ops.quantile, ([1.0, 2.0, 3.0],), ([-0.1, 0, 0.9],), ([2.0, 2.0, 2.0],), {"q": 0.1, "reduction": "none"}),
    Exact(ops.huber, ([-3.0, -2.0, 2.0],), ([-2, -2, 2],), ([0.0] * 3,), {"delta": 2.0, "reduction": "none"}, False),
    *(Exact(ops.gelu, ([-50.0, 50.0],), ([0, 1],), (), {"approximate": a}, kink=False) for a in ("none", "tanh")),
    Exact(ops.power, ([0.0, 0.0, 0.0, -2.0, -2.0], [2.0, 1.0, 0.0, 3.0, 0.0]),
          ([0, 1, 0, 12, 0], [0, 0, 0, math.nan, math.nan]), kink=False),
]  # fmt: skip
POINTS = {name: [point for point in EXACT if point.op is op] for name, op in OPS.items()}
