"""The compiled engine as `fit` uses it: an epoch at a time, in parts so short that Ctrl-C can come between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from handgrad.engines.compiled.arrays import addresses_of, all_finite, real_of, with_room
from handgrad.engines.compiled.codes import loss_code, optimizer_code
from handgrad.engines.compiled.graph import graph_of
from handgrad.engines.compiled.kernels import optimizers as rules
from handgrad.engines.compiled.kernels.loop import (
    BAD_LOSS,
    BATCH,
    CLAIMED,
    DONE,
    DRAWN,
    DRAWS,
    LENGTH,
    LOSS_AT,
    PART,
    ROOM_BYTES,
    SPLIT,
    STATUS,
    STEPPED,
    SUMS,
    THREADS,
    train_kernel,
)
from handgrad.engines.compiled.kernels.memory import ABORT, SYNC_BYTES
from handgrad.engines.compiled.kernels.program import (
    BEFORE,
    BLOCKS,
    CLAIMS,
    CONSTANTS,
    GRADIENT,
    INPUTS,
    KEY,
    LOSS,
    OP,
    OPTIMIZER,
    PARAMS,
    PIECES,
    PIECES_COUNT,
    ROOM,
    SPEEDS,
    SQUARES,
    SUMS_AT,
    SYNC,
    TARGETS,
    TRANSPOSED,
    WEIGHTS,
    WORK,
    ZEROS,
)
from handgrad.engines.compiled.kernels.units import addresses
from handgrad.engines.compiled.kernels.vectors import LINE, vectors
from handgrad.engines.compiled.layout import Layout
from handgrad.engines.compiled.lower import lower
from handgrad.engines.compiled.packing import Packing
from handgrad.engines.eager import Begun, EagerEngine, Part, diverged
from handgrad.errors import UnsupportedError
from handgrad.layers import L2, Layer, Loss, Parameters
from handgrad.optim import Optimizer
from handgrad.optim.base import State
from handgrad.pages import zeros
from handgrad.threads import join

AHEAD = 1024  # steps that the numbers of a constant rate are worked out for at once
PART_SECONDS = 0.1  # of a call: short enough to answer Ctrl-C and to show progress
SKIPPED = 2**20  # random numbers that are passed over at a time
CONVERTED = 8e6  # bytes of rows of another dtype that are converted at a time
FIRST_STEPS = 1e4  # of the first call at most
FIRST_PART = 2e8  # multiplications of the first call, before any has been timed


class CompiledEngine:
    """Training steps by a program. Its `params` are copies, so that who keeps them keeps them.

    Raises UnsupportedError, which names the layer, for what it cannot run.
    """

    name = "compiled"

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        regularizer: L2 | None,
        clip_norm: float | None,
        params: Parameters,
        data: Any,
        batch_size: int,
        threads: int = 1,
        guard: int = 0,
    ):
        self.model, self.loss, self.optimizer, self.regularizer = model, loss, optimizer, regularizer
        real = real_of(params, data)
        labels = loss.classifies and data.y.ndim == 1 and data.y.dtype.kind in "iub"  # else a distribution a row
        code = loss_code(loss, labels)
        self._optimizer, numbers = optimizer_code(optimizer)
        if self._optimizer in (rules.ADAM, rules.RMSPROP) and numbers[2] < np.finfo(real).smallest_normal:
            raise UnsupportedError(f"the compiled engine takes no epsilon as small as that of {optimizer!r}")
        if regularizer is not None and type(regularizer) is not L2:
            raise UnsupportedError(f"the compiled engine cannot run the penalty {regularizer!r}")
        graph = graph_of(model, tuple(data.x.shape[1:]), True)
        if not params or not graph.steps:
            raise UnsupportedError(f"the compiled engine needs a model with parameters, got {model!r}")
        self.layout = Layout(real, vectors(real))
        batch = batch_size
        self.threads = max(1, min(threads, batch)) if self.layout.kind.bits else 1
        self.program = program = lower(graph, params.specs, self.layout, batch, code, self.threads, guard)
        self.packing = Packing(params.specs, graph, self.layout)
        self._units, self._kernel = addresses(real, self.layout.kind), train_kernel(real, self.layout.kind)
        self._guard = guard
        self._params, self._transposed = self._vector(self.packing.length), self._vector(program.transposed)
        self._shares = np.zeros((self.threads, 8))
        self._state = np.zeros(2, np.int64)
        self._constants = np.array([regularizer.strength if regularizer else 0.0, clip_norm or 0.0, *numbers])
        self.packing.pack(params.flat, self._inner(self._params), self._inner(self._transposed), program.pieces)
        self._labels = labels
        self._take(data)
        self._key = np.zeros(2, np.uint64)
        self._told = False
        self.steps = 0
        self._paces: tuple[Optimizer, int, np.ndarray] | None = None
        self._speed = 0.0  # steps a second
        self._read: Parameters | None = params
        self._specs = params.specs
        self._at = 0, np.zeros((0, 2))  # steps of the epoch that are done, and each one's loss and norm

    def _vector(self, count: int) -> np.ndarray:
        """Zeros, with the guards around them."""
        return zeros(count + 2 * self._guard, self.layout.real)

    def _tell(self) -> None:
        """What each call of the kernel is told that does not change from one to the next, and the memory for it.

        Before the first step, not at once: what the first parameters came in is given back by then.
        """
        length, moves = self.packing.length, self._optimizer not in (rules.SGD, rules.RMSPROP)
        squares = self._optimizer in (rules.ADAM, rules.RMSPROP)
        self._gradient, self._zeros = self._vector(length), self._vector(self.program.widest)
        self._first, self._second = self._vector(length * moves), self._vector(length * squares)
        self._sums = self._vector(self.threads * self.program.sums)
        self._work, self._sync = zeros(self.program.workspace, np.uint8), zeros(SYNC_BYTES // 8, np.int64)
        self._room = zeros(self.threads * self.program.room + 2 * self._guard, np.uint8)
        self._told = True
        p, at = self.program, lambda array: self._inner(array).ctypes.data
        self._program_arrays = (self._units.ctypes.data, p.code, p.numbers, p.pieces, p.reduced)
        self._shape = np.zeros(PART + 1, np.int64)
        self._shape[LOSS_AT] = int(np.flatnonzero(p.code[:, OP] == LOSS)[0])
        self._shape[[SPLIT, DRAWS, SUMS]] = p.split, p.draws, p.sums
        self._shape[[LENGTH, STEPPED, CLAIMED, THREADS]] = self.packing.length, p.stepped, p.claims, self.threads
        self._base = np.zeros(BEFORE + 1, np.int64)
        self._claims = zeros(p.claims * self.threads * LINE // 8, np.int64)
        self._blocks = np.zeros(p.stepped)
        self._base[[CLAIMS, BLOCKS]] = self._claims.ctypes.data, self._blocks.ctypes.data
        self._base[WORK], self._base[KEY] = self._work.ctypes.data, self._key.ctypes.data
        self._base[ROOM], self._shape[ROOM_BYTES] = at(self._room), p.room
        self._base[SYNC] = self._sync.ctypes.data
        vectors = (self._params, self._gradient, self._transposed, self._sums, self._zeros)
        self._base[[PARAMS, GRADIENT, TRANSPOSED, SUMS_AT, ZEROS]] = [at(vector) for vector in vectors]
        # what the optimizer has not is never read, but asked for ahead
        slots = (slot if len(self._inner(slot)) else self._params for slot in (self._first, self._second))
        self._base[[SPEEDS, SQUARES]] = [at(slot) for slot in slots]
        self._base[[PIECES, PIECES_COUNT]] = p.pieces.ctypes.data, len(p.pieces)
        self._base[CONSTANTS], self._base[OPTIMIZER] = self._constants.ctypes.data, self._optimizer

    def _take(self, data: Any) -> None:
        """Train on these rows from now on."""
        real = self.layout.real
        self._y = np.ascontiguousarray(data.y, np.int64 if self._labels else real)
        self._weight = None if data.weight is None else np.ascontiguousarray(data.weight, real)
        self._data = data
        self._rows = (data.x.ctypes.data, *addresses_of(self._y, self._weight)) if self._readable(data.x) else None

    def _inner(self, array: np.ndarray) -> np.ndarray:
        return array[self._guard : len(array) - self._guard]

    @property
    def params(self) -> Parameters:
        """The parameters as they are, a copy in the model's own order."""
        if self._read is None:
            self._read = Parameters(self._specs, self.packing.unpack(self._inner(self._params)))
        return self._read

    @property
    def state(self) -> State:
        """The optimizer's state as it is, copies in the model's own order."""
        if not self._told:
            return self.optimizer.init(self.params.flat) | {"step": self.steps}
        slots = (self.packing.unpack(self._inner(slot)) for slot in self._slots())
        return {"step": self.steps, **dict(zip(self.optimizer.slots, slots, strict=True))}

    def resume(self, params: Parameters, state: State | None = None) -> None:
        """Go on from these parameters, and from this state of the optimizer unless it is None; both are copied."""
        pieces = self.program.pieces
        self.packing.pack(params.flat, self._inner(self._params), self._inner(self._transposed), pieces)
        self._read = None
        if state is not None:
            if not self._told:
                self._tell()
            self.steps, self._paces = state["step"], None
            for name, slot in zip(self.optimizer.slots, self._slots(), strict=True):
                self.packing.pack(state[name], self._inner(slot), slot[:0], pieces[:0])
        if self._told:
            self._gradient[:] = self._params  # what a first step that diverges is taken back to

    @property
    def begun(self) -> Begun:
        """How far the epoch has come, for `epoch` to go on from there; on_step may ask."""
        done, seen = self._at
        return Begun(done, seen[:done].copy())

    def _slots(self) -> list[np.ndarray]:
        """The memory of the state's vectors, in the order of `optimizer.slots`."""
        return [slot for slot in (self._first, self._second) if len(self._inner(slot))]

    def finish(self) -> Parameters:
        """The parameters, when no more epochs are to come: the memory of the rest is given back first."""
        none = np.zeros(2 * self._guard, self.layout.real)
        self._gradient = self._first = self._second = self._transposed = self._work = self._room = none
        return self.params

    def epoch(
        self,
        parts: Iterable[Part],
        batch_size: int,
        generator: Callable[[], np.random.Generator],
        on_step: Callable[[int], None],
        begun: Begun | None = None,
    ) -> tuple[float, float]:
        """One pass over the parts, as `EagerEngine.epoch`: (mean loss over samples, mean gradient norm over steps).

        generator must make one of a fresh Philox bit generator, whose key all random numbers come from; it is called
        where there are any.
        """
        self._read_key(generator)
        done, history = (begun.steps, begun.sums) if begun else (0, np.zeros((0, 2)))
        self._at = done, history
        before, samples = 0, 0  # steps and rows of the parts that are done
        for data, order in parts:
            steps = before - (-len(order) // batch_size)
            history = with_room(history, steps)
            if done < steps and data is not self._data:
                self._take(data)
            while done < steps:
                count = min(self._part(data.x), steps - done)
                rows = order[(done - before) * batch_size : (done - before + count) * batch_size]
                began = time.perf_counter()
                ended = self.steps
                try:
                    self._run(rows, batch_size, done, history[done : done + count])
                finally:  # an interrupt comes when the steps have been taken
                    ended = self.steps - ended
                    self._at = done + ended, history
                self._speed = count / max(time.perf_counter() - began, 1e-9)
                if ended < count:
                    bad = rows[ended * batch_size : (ended + 1) * batch_size]
                    self._diverged(data, bad, generator(), done + ended, history[done + ended])
                done += count
                on_step(done - 1)
            before, samples = steps, samples + len(order)
        if not all_finite(self._inner(self._params)):
            self._restore()
            raise diverged(self.steps - 1, "the new parameters", "the update was not finite")
        if not samples:
            return 0.0, 0.0
        loss, norm = history[:before].sum(axis=0).tolist()
        missing = before * batch_size - samples  # rows that the last batch is short of
        return (loss * batch_size - float(history[before - 1, 0]) * missing) / samples, norm / before

    def _part(self, x: np.ndarray) -> int:
        """How many steps to take in one call."""
        steps = self._speed * PART_SECONDS or min(
            FIRST_STEPS, FIRST_PART / (3 * self.program.batch * self.packing.length)
        )
        if not self._readable(x):
            steps = min(steps, CONVERTED / (self.program.batch * self.program.n_in * self.layout.size))
        return max(1, int(steps))

    def _readable(self, x: np.ndarray) -> bool:
        """Whether the kernels can read the rows where they are."""
        return x.dtype == self.layout.real and x.flags.c_contiguous

    def _run(self, rows: np.ndarray, batch_size: int, before: int, history: np.ndarray) -> None:
        """The steps of those rows, counted in `steps`. before: how many of the epoch's were done already."""
        self._read = None
        if not self._told:
            self._tell()
        index, found, read = self._readable_rows(rows)
        shape, base = self._shape, self._base
        shape[BATCH], shape[DRAWN] = batch_size, before * batch_size * self.program.draws
        base[INPUTS], base[TARGETS], base[WEIGHTS] = found
        self._state[:] = 0
        self._sync[:] = 0
        pace = self._pace(len(history))
        ours = (self._constants, history, self._shares, self._state)
        run = (*self._program_arrays, shape, base, index, pace, *ours)
        try:
            self._call(partial(in_thread, self._kernel, run, (*read, *self._kept())))
        finally:
            self.steps += int(self._state[DONE])

    def _kept(self) -> tuple[np.ndarray, ...]:
        """What the addresses in `base` are of, to be kept by each thread for as long as it runs."""
        vectors = (self._params, self._gradient, self._transposed, self._first, self._second, self._sums, self._zeros)
        return (*vectors, self._work, self._room, self._sync, self._key, self._claims, self._blocks)

    def _readable_rows(self, rows: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int], tuple[Any, ...]]:
        """Where the kernels find those rows: their index, the addresses that it is into, and the arrays there."""
        x, y, weight, index, found = self._data.x, self._y, self._weight, rows, self._rows
        if found is None:
            # the rows of this part alone are converted, so that other dtypes cost no second copy of the data
            x = np.ascontiguousarray(x.take(rows, axis=0), self.layout.real)
            y, weight = y.take(rows, axis=0), None if weight is None else weight.take(rows)
            index, found = np.arange(len(rows)), (x.ctypes.data, *addresses_of(y, weight))
        return np.ascontiguousarray(index, np.int64), found, (x, y, weight)

    def _call(self, run: Callable[[int], None]) -> None:
        """run(0) in this thread and run(1), ... in others, until all have returned."""
        others = [threading.Thread(target=run, args=(t,), daemon=True) for t in range(1, self.threads)]
        try:
            for other in others:
                other.start()
            run(0)
        except BaseException:
            self._sync[ABORT // 8] = 1  # nobody is to wait for a thread that never came
            raise
        finally:
            join([other for other in others if other.ident is not None])

    def _pace(self, steps: int) -> np.ndarray:
        """The numbers that change from step to step, see `optimizers`. Those of a constant rate serve many calls."""
        schedule = self.optimizer.learning_rate
        if not callable(schedule):
            optimizer, first, paces = self._paces or (None, 0, None)
            from_here = self.steps - first
            if optimizer is not self.optimizer or paces is None or from_here + steps > len(paces):
                optimizer, first, from_here, paces = self.optimizer, self.steps, 0, self._paces_of(max(steps, AHEAD))
                self._paces = optimizer, first, paces
            return paces[from_here : from_here + steps]
        return self._paces_of(steps)

    def _paces_of(self, steps: int) -> np.ndarray:
        at = np.arange(self.steps, self.steps + steps)
        schedule = self.optimizer.learning_rate
        rates = np.array([self.optimizer.rate(int(s)) for s in at]) if callable(schedule) else np.full(steps, schedule)
        pace = np.ones((steps, 3))
        pace[:, rules.RATE] = rates
        pace[:, rules.DECAY] = rates * getattr(self.optimizer, "weight_decay", 0.0)
        if self._optimizer == rules.ADAM:
            pace[:, rules.RATE] /= 1 - self._constants[rules.FIRST] ** (at + 1)
            pace[:, rules.CORRECTION] = 1 / np.sqrt(1 - self._constants[rules.SECOND] ** (at + 1))
        return pace

    def _read_key(self, generator: Callable[[], np.random.Generator]) -> None:
        if not self.program.draws:
            return
        state: Any = generator().bit_generator.state
        fresh = state["bit_generator"] == "Philox" and not state["state"]["counter"].any() and state["buffer_pos"] == 4
        if not fresh or state["has_uint32"]:
            raise UnsupportedError("the compiled engine needs random numbers of a fresh Philox bit generator")
        self._key[:] = state["state"]["key"]

    def _restore(self) -> None:
        """Take back the last step: the gradient's place holds the parameters from before it."""
        self._params[:] = self._gradient
        self._read = None

    def _diverged(self, data: Any, rows: np.ndarray, rng: np.random.Generator, step: int, seen: np.ndarray) -> None:
        """Raise DivergenceError for the step of those rows, the epoch's `step`, whose place eager calls find."""
        place = self._place_of_fault(data, rows, rng, step * self.program.batch * self.program.draws)
        bad_loss = self._state[STATUS] == BAD_LOSS
        if bad_loss and self.steps:
            self._restore()
        what = f"the loss became {float(seen[0])}" if bad_loss else f"the gradient's norm became {float(seen[1])}"
        raise diverged(self.steps, place, what)

    def _place_of_fault(self, data: Any, rows: np.ndarray, rng: np.random.Generator, drawn: int) -> str:
        """Where the step of those rows meets what is not finite. drawn: numbers that dropout drew before it."""
        while drawn > 0:
            drawn -= len(rng.random(min(drawn, SKIPPED), dtype=np.float32))
        eager = EagerEngine(self.model, self.loss, self.optimizer, self.regularizer, None, self.params)
        with np.errstate(all="ignore"):
            return eager.place_of_fault(data.take(rows), rng)


def in_thread(kernel: Any, run: tuple[Any, ...], keep: tuple[Any, ...], thread: int) -> None:
    """A kernel's run, in this one of its threads. keep: the arrays whose addresses it is given."""
    kernel(*run, thread)
