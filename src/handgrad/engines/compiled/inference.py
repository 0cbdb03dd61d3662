"""Prediction by a program: a few rows with the parameters as they are, any number in blocks with packed ones."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import handgrad.pages as pages
from handgrad.engines.compiled.graph import Graph, graph_of
from handgrad.engines.compiled.kernels import calls
from handgrad.engines.compiled.kernels import program as p
from handgrad.engines.compiled.kernels.elementwise import IDENTITY, RELU
from handgrad.engines.compiled.kernels.predict import (
    BASE,
    BATCH,
    FINITE,
    INDEX,
    N_IN,
    N_OUT,
    OUTWARD,
    PACKED,
    SCORES,
    UNIT,
    predict_kernel,
)
from handgrad.engines.compiled.kernels.program import Program
from handgrad.engines.compiled.kernels.units import addresses
from handgrad.engines.compiled.kernels.vectors import LINE, vectors
from handgrad.engines.compiled.layout import Layout
from handgrad.engines.compiled.lower import lower
from handgrad.engines.compiled.packing import Packing
from handgrad.errors import UnsupportedError
from handgrad.layers import Layer, Parameter

REALS = (np.float32, np.float64)
# Rows of a block: whole tiles of any kind of vector, few enough for most of them to stay in the second cache, and many
# enough for the weights to be read seldom where they do not; for the matrix unit, which splits the weights anew for
# each block, SPLIT. And the fewest, where so many would take ROOM bytes.
ROWS, SPLIT, FEWEST, ROOM = 96, 192, 12, 2**25
PART = 2e9  # multiplications in a call of the kernel: a tenth of a second, so that Ctrl-C is answered
CONVERTED = 8e6  # bytes of rows that are converted at a time
ELEMENT = 16  # multiplications that the work on each number between products costs as much as
# Rows up to which one after the other is faster than a block: where the parameters must be packed for it, or are.
FEW, FEW_PACKED = 10, 2


class Forward:
    """The forward pass of one model, for samples of one shape and one dtype. Holds no parameters; safe in threads.

    real: numpy.float32 or numpy.float64. rows: of a block, for tests. Raises UnsupportedError, which names the layer,
    for a model that the compiled engine cannot run, and compiles the kernel where it has to.
    """

    def __init__(
        self, model: Layer, specs: Mapping[str, Parameter], shape: tuple[int, ...], real: Any, rows: int | None = None
    ):
        graph = graph_of(model, shape, False)
        if not specs or not graph.steps or real not in REALS:
            raise UnsupportedError(
                f"the compiled engine needs a model with parameters, of float32 or float64, got {model!r}"
            )
        self.names = tuple(specs)  # in the order of the flat vector
        self.real, self.n_in, self.n_out = real, graph.widths[0], graph.widths[graph.out]
        layout = Layout(real, vectors(real))
        one = _unpacked(lower(graph, specs, layout, 1), graph)
        if rows is None:
            rows = min(SPLIT if layout.kind.amx else ROWS, max(FEWEST, ROOM // one.workspace // FEWEST * FEWEST))
        many = lower(graph, specs, layout, rows)
        self._units = addresses(real, layout.kind, calls.FOR_PREDICTION)
        self._kernel = predict_kernel(real, layout.kind)
        kernels = self._units.ctypes.data
        zeros = np.zeros(max(graph.widths), real)
        self._many = (kernels, many.code, many.numbers, _shape(many, True), zeros)
        self._one = (kernels, one.code, one.numbers, _shape(one, False), zeros)
        self._rooms = tuple(BASE + program.workspace + program.room + LINE for program in (many, one))
        self._packing = Packing(specs, graph, layout)
        self.multiplications = self._packing.length + ELEMENT * sum(graph.widths)
        self._part = max(1, int(PART / self.multiplications) // rows) * rows

    def pack(self, flat: np.ndarray) -> np.ndarray:
        """The parameters as `scores` wants them for many rows."""
        target = pages.empty(self._packing.length, self.real)
        self._packing.pack(flat, target, target[:0], np.zeros((0, 5), np.int64))
        return target

    def scores(
        self,
        flat: np.ndarray,
        x: np.ndarray,
        packed: np.ndarray | None = None,
        threads: int = 1,
        few: int | None = None,
    ) -> np.ndarray | None:
        """The model's scores (m, n_out) for each row of x; None where x, in this dtype, holds NaN or infinity.

        flat: the model's parameters; packed: the same from `pack`, which else is called. x: samples of the shape, in
        any dtype that NumPy casts. few: rows up to which the parameters are read as they are, for tests.
        """
        m = x.shape[0]
        if few is None:
            few = FEW if packed is None else FEW_PACKED
        out = np.empty((m, self.n_out), self.real)
        if m <= few:
            if not flat.flags.carray:
                flat = _readable(flat)
            room = np.empty(self._rooms[1], np.uint8)  # each call its own, so that threads share nothing
            return out if self._kernel(*self._one, flat, self._matrix(x), out, room) == FINITE else None
        if packed is None:
            packed = self.pack(flat)
        threads = min(threads, -(-m // FEWEST))
        if threads == 1:
            return out if self._run(packed, x, out, 0, m) else None
        stopped = threading.Event()
        bounds = [m * t // threads for t in range(threads + 1)]
        with ThreadPoolExecutor(threads) as pool:
            try:
                shares = [
                    pool.submit(self._run, packed, x, out, bounds[t], bounds[t + 1], stopped) for t in range(threads)
                ]
                return out if all(share.result() for share in shares) else None
            finally:  # after Ctrl-C here, the others end with the part that they are at
                stopped.set()

    def _run(
        self,
        packed: np.ndarray,
        x: np.ndarray,
        out: np.ndarray,
        first: int,
        last: int,
        stopped: threading.Event | None = None,
    ) -> bool:
        """The rows from `first` up to `last`, in parts; False where one is not finite."""
        step = self._part
        if not (x.dtype == self.real and x.flags.c_contiguous and x.flags.aligned):
            step = min(step, max(1, int(CONVERTED / (self.n_in * np.dtype(self.real).itemsize))))
        room = np.empty(self._rooms[0], np.uint8)
        for start in range(first, last, step):
            end = min(start + step, last)
            if self._kernel(*self._many, packed, self._matrix(x[start:end]), out[start:end], room) != FINITE:
                return False
            if stopped is not None and stopped.is_set():
                return False
        return True

    def _matrix(self, x: np.ndarray) -> np.ndarray:
        """Rows as the kernel takes them: (m, n_in), in its dtype, one after the other."""
        if x.dtype != self.real or not x.flags.carray:
            x = _readable(np.ascontiguousarray(x, self.real))
        return x if x.ndim == 2 else x.reshape(x.shape[0], self.n_in)


def _shape(program: Program, packed: bool) -> np.ndarray:
    shape = np.zeros(INDEX + program.batch, np.int64)
    shape[[BATCH, N_IN, N_OUT, SCORES, PACKED]] = program.batch, program.n_in, program.n_out, program.scores, packed
    shape[UNIT] = -(-program.workspace // LINE) * LINE
    shape[INDEX:] = np.arange(program.batch)
    return shape


def _unpacked(program: Program, graph: Graph) -> Program:
    """The program for products that say whether their weight is (n, k), with their activations and gates after them."""
    outward = iter([step.outward for step in graph.steps if step.kind == "linear"])
    code: list[np.ndarray] = []
    numbers: list[np.ndarray] = []

    def add(row: np.ndarray, own: np.ndarray, **changes: int) -> None:
        row = row.copy()
        for name, value in changes.items():
            row[getattr(p, name)] = value
        if row[p.OP] == p.LINEAR:
            row[OUTWARD] = next(outward)
        code.append(row)
        numbers.append(own)

    for row, own in zip(program.code, program.numbers, strict=True):
        if row[p.OP] == p.GATED:
            content, gate, second = row[p.B], row[p.D], {"WEIGHT": row[p.GATE_WEIGHT], "BIAS": row[p.GATE_BIAS]}
            add(row, own, OP=p.LINEAR, C=content, MODE=IDENTITY)
            add(row, own, OP=p.LINEAR, C=gate, MODE=IDENTITY, **second)
            add(row, own, OP=p.GATE, A=content, B=gate)
        elif row[p.OP] == p.LINEAR and row[p.MODE] not in (IDENTITY, RELU):
            add(row, own, MODE=IDENTITY)
            add(row, own, OP=p.ACTIVATE, A=row[p.C])
        else:
            add(row, own)
    program.code, program.numbers = np.array(code), np.array(numbers)
    return program


def _readable(array: np.ndarray) -> np.ndarray:
    """The array for a kernel, whose types know of no read-only ones: it writes to none of those it is given to read."""
    array = np.require(array, requirements=["C", "A"])
    if array.flags.writeable or not array.size:
        return array if array.flags.writeable else array.copy()
    memory: Any = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    return np.ndarray(array.shape, array.dtype, memory)
