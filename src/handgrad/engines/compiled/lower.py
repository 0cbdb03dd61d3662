"""From a graph to a program: which instructions, in which order, on which memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from handgrad.engines.compiled.division import Division
from handgrad.engines.compiled.graph import Graph, Step
from handgrad.engines.compiled.kernels import program as p
from handgrad.engines.compiled.kernels.elementwise import IDENTITY, RELU
from handgrad.engines.compiled.kernels.matrix_unit import room_of, room_of_parts
from handgrad.engines.compiled.kernels.program import Program
from handgrad.engines.compiled.kernels.tiles import LOCAL, MASK, STORE, SUMS
from handgrad.engines.compiled.kernels.vectors import LINE
from handgrad.engines.compiled.layout import Layout, one_after_other, place
from handgrad.layers import Parameter

Instruction = dict[Any, Any]
PLACES = (p.A, p.B, p.C, p.D)  # fields that name a matrix
# Bytes that the optimizer's step of all parameters goes over, up to which it has a pass of its own: so few stay in the
# second cache.
APART = 2**20


class Lowering:
    """Collects instructions, with matrices by number; `program` gives them their places."""

    def __init__(self, graph: Graph, specs: Mapping[str, Parameter], layout: Layout, batch: int, threads: int):
        self.graph, self.specs, self.layout, self.batch, self.threads = graph, specs, layout, batch, threads
        self.division = Division(graph, layout.kind, batch, threads)
        self.rows: list[Instruction] = []
        self.columns: list[tuple[int, Instruction]] = []  # with how many of the rows' come before
        self.sizes: list[int] = []  # bytes of each matrix
        self.values: dict[int, int] = {}  # value of the graph -> its matrix
        self.local: dict[int, int] = {}  # value -> the matrix of the local gradient, or what else backward needs
        self.scales: dict[int, int] = {}  # value -> what a layer norm keeps of each row
        self.parts = -1  # the matrix of all threads' partial sums
        self.places: dict[str, int] = {}
        total = 0
        for name, spec in specs.items():
            self.places[name] = total
            total += math.prod(spec.shape)
        self.transposed: dict[str, int] = {}
        self.transposed_size = self.sums = self.draws = self.stepped = 0
        self.reduced: dict[str, int] = {}  # parameter -> its place among the sums
        self.written: set[str] = set()  # weights whose gradient has been begun
        self.last: dict[str, Instruction] = {}  # and the instruction after which it is whole
        self.makers = {step.out: step for step in graph.steps}
        self.left = graph.uses  # contributions to each value's gradient that are still to come
        self.grads: dict[int, int] = {}
        self.finished: set[int] = set()  # values whose gradient is that of the linear map's sum already
        self.wanted = {0: False}  # whether a value's gradient is: whether there are parameters before it

    def emit(self, op: int, numbers: Any = (), **fields: Any) -> None:
        """Add an instruction, other than a weight's gradient. fields: by their names in `program`, in lower case."""
        self.rows.append(self._instruction(op, numbers, fields))

    def _instruction(self, op: int, numbers: tuple[float, ...], fields: dict[str, int]) -> Instruction:
        made: Instruction = {p.OP: op, "numbers": numbers}
        for name, value in fields.items():
            made[getattr(p, name.upper())] = value
        return made

    def matrix(self, n: int) -> int:
        """A new matrix of samples of n features."""
        return self._memory(self.layout.samples(self.batch, n))

    def _memory(self, numbers: int) -> int:
        self.sizes.append(numbers * self.layout.size)
        return len(self.sizes) - 1

    def place(self, name: str) -> int:
        """Where a parameter is in the flat vector; -1 for none."""
        return self.places[name] if name else -1

    def sum_of(self, name: str) -> int:
        """Where a parameter's gradient, a sum over samples, is among the sums; -1 for none."""
        if not name:
            return -1
        if name not in self.reduced:
            self.reduced[name] = self.sums
            self.sums += math.prod(self.specs[name].shape)
        return self.reduced[name]

    def forward(self) -> None:
        """The instructions up to the scores."""
        widths = self.graph.widths
        gated = {x for step in self.graph.steps if step.kind == "gate" for x in step.inputs}
        self.values[0] = self.matrix(widths[0])
        by_terms, (width, fewest) = self.division.termwise, self.division.in_place
        self.emit(p.GATHER, c=self.values[0], n=widths[0], k=width, columnwise=int(by_terms), in_place=fewest)
        for step in self.graph.steps:
            n = widths[step.out]
            inputs = [self.values[x] for x in step.inputs]
            out = self.values[step.out] = self.matrix(n)
            match step.kind:
                case "linear" if step.out in gated:
                    pass  # with the gate
                case "linear":
                    fields = self._weight(step)
                    op, x, columnwise = p.LINEAR, inputs[0], self.division.columnwise(fields["k"], n)
                    if by_terms and step is self.graph.steps[0]:
                        self.parts = self._memory(self.threads * self.layout.samples(self.batch, n))
                        self.emit(p.PARTIAL_SUMS, a=x, c=self.parts, n=n, columnwise=1, **fields)
                        op, x, columnwise = p.JOIN_SUMS, self.parts, False
                    if step.code not in (IDENTITY, RELU):
                        fields["d"] = self.local[step.out] = self.matrix(n)
                    fields["columnwise"] = int(columnwise)
                    self.emit(op, step.numbers, a=x, c=out, n=n, mode=step.code, **fields)
                case "activation":
                    self.local[step.out] = self.matrix(n)
                    self.emit(p.ACTIVATE, step.numbers, a=inputs[0], c=out, d=self.local[step.out], n=n, mode=step.code)
                case "gate":
                    content, gate = (self.makers[x] for x in step.inputs)
                    fields = self._weight(content) | {"mode": step.code}
                    fields |= {"gate_weight": self.place(gate.weight), "gate_bias": self.place(gate.bias)}
                    x = self.values[content.inputs[0]]
                    self.emit(p.GATED, step.numbers, a=x, b=inputs[0], c=out, d=inputs[1], n=n, **fields)
                case "plus":
                    self.emit(p.PLUS, a=inputs[0], b=inputs[1], c=out, n=n)
                case "dropout":
                    self.local[step.out] = self.matrix(n)
                    self.emit(p.DROP, step.numbers, a=inputs[0], c=out, d=self.local[step.out], n=n, draw=self.draws)
                    self.draws += n
                case "layer_norm":
                    normal, scales = self.matrix(n), self._memory(self.batch)
                    self.local[step.out] = normal
                    self.scales[step.out] = scales
                    places = {"weight": self.place(step.weight), "bias": self.place(step.bias)}
                    self.emit(p.NORMALIZE, step.numbers, a=inputs[0], b=scales, c=out, d=normal, n=n, **places)
                case "softmax":
                    self.emit(p.SOFTMAX, step.numbers, a=inputs[0], c=out, n=n)

    def _weight(self, step: Step) -> dict[str, int]:
        """The fields that tell of a linear map's parameters."""
        x = step.inputs[0]
        fields = {"k": self.graph.widths[x], "in_place": 0 if x else self.division.in_place[1]}
        return fields | {"weight": self.place(step.weight), "bias": self.place(step.bias)}

    def backward(self, loss: int, number: float) -> None:
        """The loss, and the instructions from its gradient to all parameters'."""
        graph, widths = self.graph, self.graph.widths
        for step in graph.steps:
            self.wanted[step.out] = bool(step.weight) or any(self.wanted[x] for x in step.inputs)
        out = graph.out
        self.left[out] -= 1
        self.grads[out] = self.matrix(widths[out])
        maker = self.makers[out]
        plain = maker.kind == "linear" and maker.code == IDENTITY and not self.left[out]
        sums = self.sum_of(maker.bias) if plain else -1
        fields = {
            "a": self.values[out],
            "b": self._memory(self.batch),
            "c": self.grads[out],
            "n": widths[out],
            "mode": loss,
            "sums": sums,
        }
        self.emit(p.LOSS, (number,), **fields)
        if plain:
            self.finished.add(out)
        for step in reversed(graph.steps):
            if self.wanted[step.out]:
                self._back(step)

    def _back(self, step: Step) -> None:
        dy, y, n = self.grads[step.out], step.out, self.graph.widths[step.out]
        x = step.inputs[0]
        match step.kind:
            case "linear":
                if y not in self.finished:
                    mode, saved = self._local_mode(y)
                    self.emit(p.LOCAL_GRADIENT, c=dy, d=saved, n=n, mode=mode, sums=self.sum_of(step.bias))
                self._linear_back(step, dy)
            case "activation" | "dropout":
                self.emit(p.LOCAL_GRADIENT, c=dy, d=self.local[y], n=n, mode=LOCAL, sums=-1)
                self._hand(dy, x, last=True)
            case "gate":
                if y not in self.finished:
                    self.emit(p.PART_GATE, a=dy, n=n, **self._parted(step))
            case "plus":
                self._hand(dy, x, last=False)
                self._hand(dy, step.inputs[1], last=True)
            case "layer_norm":
                dx, add = self._target(x) if self.wanted[x] else (dy, 0)
                sums = {"sums": self.sum_of(step.weight), "bias": self.sum_of(step.bias)}
                matrices = {"a": dy, "b": self.scales[y], "c": dx, "d": self.local[y]}
                weight = self.place(step.weight)
                self.emit(p.NORMALIZE_BACK, n=n, weight=weight, mode=int(self.wanted[x]), add=add, **matrices, **sums)
            case "softmax":
                dx, add = self._target(x)
                self.emit(p.SOFTMAX_BACK, step.numbers, a=dy, b=self.values[y], c=dx, n=n, add=add)

    def _parted(self, step: Step) -> dict[str, int]:
        """The fields that tell where the gradients of a gate's inputs are to be."""
        content, gate = step.inputs
        # the content's gradient stands where the gate was, and the other way round
        self.grads[content], self.grads[gate] = self.values[gate], self.values[content]
        self.finished |= {content, gate}
        biases = {"bias": self.sum_of(self.makers[content].bias), "sums": self.sum_of(self.makers[gate].bias)}
        return {"b": self.values[content], "d": self.values[gate]} | biases

    def _local_mode(self, y: int) -> tuple[int, int]:
        """How the gradient of a linear map's output becomes that of its sum: (mode, the matrix it needs)."""
        code = self.makers[y].code
        if code == RELU:
            return MASK, self.values[y]
        return (SUMS, self.values[y]) if code == IDENTITY else (LOCAL, self.local[y])

    def _target(self, x: int, width: int = 0) -> tuple[int, int]:
        """(the matrix to put a contribution to x's gradient in, whether to add it to what is there).

        width: of a new matrix, where not all of the gradient need be there at once.
        """
        self.left[x] -= 1
        if x in self.grads:
            return self.grads[x], 1
        self.grads[x] = self.matrix(width or self.graph.widths[x])
        return self.grads[x], 0

    def _hand(self, dy: int, x: int, last: bool) -> None:
        """Pass the gradient dy on to x as it is; the matrix itself, where nobody else needs it (`last`)."""
        if not self.wanted[x]:
            return
        if last and x not in self.grads and self.left[x] == 1:
            self.left[x] = 0
            self.grads[x] = dy
            return
        target, add = self._target(x)
        self.emit(p.PASS_ON, a=dy, c=target, n=self.graph.widths[x], add=add)

    def _linear_back(self, step: Step, dz: int) -> None:
        x, widths = step.inputs[0], self.graph.widths
        k, n = widths[x], widths[step.out]
        if self.wanted[x]:
            op, mode, saved, sums, maker = p.INPUT_GRADIENT, STORE, dz, -1, self.makers[x]
            whole = self.left[x] == 1  # with this contribution
            if maker.kind == "linear" and whole:
                mode, saved = self._local_mode(x)
                sums = self.sum_of(maker.bias)
                if sums < 0 and mode == SUMS:
                    mode = STORE
                elif sums < 0:  # tiles that multiply sum too: into a row that nobody reads
                    sums, self.sums = self.sums, self.sums + k
                self.finished.add(x)
            parts = maker.kind == "gate" and whole
            dx, add = self._target(x, min(k, self.layout.panel * self.layout.kind.abreast) if parts else 0)
            by_columns = not parts and self.division.columnwise(n, k)
            by_unit = self.division.turns(k, n, by_columns)
            if not by_unit and step.weight not in self.transposed:
                self.transposed[step.weight] = self.transposed_size
                self.transposed_size += k * n
            weight = self.place(step.weight) if by_unit else self.transposed[step.weight]
            fields = {"n": n, "k": k, "weight": weight, "by_unit": int(by_unit), "columnwise": int(by_columns)}
            fields |= {"mode": mode, "d": saved, "sums": sums, "add": add}
            if parts:
                op = p.GATED_GRADIENT
                fields |= self._parted(maker)
                self.finished.add(x)
            self.emit(op, a=dz, c=dx, **fields)
        fields = self._weight(step) | {"a": self.values[x], "b": dz, "n": n, "piece": -1}
        made = self._instruction(p.WEIGHT_GRADIENT, (), fields | {"add": int(step.weight in self.written)})
        self.written.add(step.weight)
        self.columns.append((len(self.rows), made))
        self.last[step.weight] = made

    def program(self, guard: int = 0) -> Program:
        """The program. With one thread a weight's gradient is taken while its operands are in the cache; with more,
        all of them come last, where the rows of all threads are there."""
        order, pieces, claims, threads = list(self.rows), self._pieces(), self._claims(), self.threads
        for place_of, made in reversed(self.columns):
            order.insert(place_of if threads == 1 else len(self.rows), made)
        for before, made in pairwise(self.rows):
            # partial sums are of what the thread has gathered itself
            either = before.get(p.COLUMNWISE, 0) or made.get(p.COLUMNWISE, 0)
            made[p.WAIT] = int(either and made[p.OP] != p.PARTIAL_SUMS)
        uses: dict[int, list[int]] = {}
        for i, made in enumerate(order):
            for f in PLACES:
                if f in made:
                    uses.setdefault(made[f], []).append(i)
        if self.parts >= 0:  # no thread may write there before all have read it
            uses[self.parts].append(len(order))
        scores = self.values[self.graph.out]
        uses.setdefault(scores, [0]).append(len(order))
        spans = {name: (self.sizes[name], min(at), max(at)) for name, at in uses.items()}
        shared = {name: name for name in spans}
        if threads > 1:  # the threads are at different instructions at one time, within each of the two parts
            split = len(self.rows)
            if not guard:
                shared = one_after_other(spans, split)
            spans = {
                shared[name]: (size, 0, split - 1 if last < split else len(order))
                for name, (size, _, last) in spans.items()
            }
        places, workspace = place(spans, guard)
        places = {name: places[other] for name, other in shared.items()}
        code = np.zeros((len(order), p.FIELDS), np.int64)
        numbers = np.zeros((len(order), p.NUMBERS))
        for i, made in enumerate(order):
            for f in range(p.FIELDS):
                if f in made:
                    code[i, f] = places[made[f]] if f in PLACES else made[f]
            numbers[i, : len(made["numbers"])] = made["numbers"]
        widths = self.graph.widths
        return Program(
            code,
            numbers,
            split=len(order) if threads == 1 else len(self.rows),
            batch=self.batch,
            n_in=widths[0],
            n_out=widths[self.graph.out],
            scores=places[scores],
            workspace=workspace,
            room=self._room(),
            buffers={name: (places[name], self.sizes[name]) for name in uses},
            transposed=self.transposed_size,
            widest=max(widths),
            draws=self.draws,
            sums=self.sums,
            pieces=pieces,
            stepped=self.stepped,
            claims=claims,
            reduced=np.array(
                [(at, self.places[name], math.prod(self.specs[name].shape)) for name, at in self.reduced.items()],
                np.int64,
            ).reshape(-1, 3),
        )

    def _room(self) -> int:
        """What a thread needs for the matrix unit's operands, and for a gradient that takes its step at once."""
        widths, steps = self.graph.widths, [step for step in self.graph.steps if step.kind == "linear"]
        rooms = [room_of(widths[step.inputs[0]], widths[step.out], self.batch, bool(self.columns)) for step in steps]
        if self.parts >= 0:
            rooms.append(room_of_parts(widths[0], widths[steps[0].out], self.batch, self.threads))
        return -(-max(rooms, default=0) // LINE) * LINE if self.layout.kind.amx else 0

    def _claims(self) -> int:
        """Numbers the weights' gradients that one instruction alone writes; returns how many there are."""
        claims = 0
        for _, made in self.columns:
            alone = made[p.PIECE] >= 0 and not made[p.ADD]
            made[p.CLAIM] = claims if alone else -1
            claims += alone
        return claims

    def _pieces(self) -> np.ndarray:
        """What the optimizer goes over: each weight, and what lies between, of one kind of decay."""
        outward = {step.weight: step.outward for step in self.graph.steps}
        pieces: list[list[int]] = []
        bytes_a_step = 4 * self.layout.size * sum(math.prod(spec.shape) for spec in self.specs.values())
        at_once, before = self.layout.panel > 0 and bytes_a_step > APART, ""
        for name, spec in self.specs.items():
            at, size, decays = self.places[name], math.prod(spec.shape), int(spec.decays)
            if name in self.last:
                k, n = reversed(spec.shape) if outward[name] else spec.shape
                self.last[name][p.PIECE] = len(pieces)
                pieces.append([at, k, n, self.transposed.get(name, -1), decays, int(at_once), self.stepped])
                self.stepped += self.layout.blocks(k, n) if at_once else 0
            elif pieces and before not in self.last and pieces[-1][p.DECAYS] == decays:
                pieces[-1][2] += size
            else:
                pieces.append([at, 1, size, -1, decays, 0, 0])
            before = name
        return np.array(pieces, np.int64).reshape(-1, p.PIECE_COLUMNS)


def lower(
    graph: Graph,
    specs: Mapping[str, Parameter],
    layout: Layout,
    batch: int,
    loss: tuple[int, float] | None = None,
    threads: int = 1,
    guard: int = 0,
) -> Program:
    """The program of a training step with that loss (code, number), or of a forward pass alone."""
    lowering = Lowering(graph, specs, layout, batch, threads)
    lowering.forward()
    if loss is not None:
        lowering.backward(*loss)
    return lowering.program(guard)
