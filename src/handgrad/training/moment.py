"""What a training is at one moment, as arrays and JSON: all that it takes to go on as if it had never stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import array_api_compat
import numpy as np

from handgrad.checks import whole
from handgrad.engines.choice import Engine
from handgrad.engines.eager import Begun
from handgrad.engines.group import Group
from handgrad.errors import CheckpointError, StreamError
from handgrad.formats import FormatError
from handgrad.formats.packing import on_host
from handgrad.layers import Parameters
from handgrad.ops.arrays import Array
from handgrad.training.history import History
from handgrad.training.watch import Watch

Arrays = dict[str, np.ndarray]
Content = dict[str, Any]

PARAMS, BEST, HISTORY, SUMS, SLOT = "params", "best_params", "history", "sums", "optimizer."


@dataclass
class Training:
    """A training under way. Between epochs `begun` is None; `stopped` says why there are to be no more of them."""

    runner: Engine
    watch: Watch
    callbacks: tuple[Any, ...]
    epochs: int
    steps: int  # of an epoch, 0 while that is not known
    history: History = field(default_factory=History)
    begun: Begun | None = None
    seconds: float = 0.0  # that the epoch begun has taken
    stopped: str = ""

    @property
    def done(self) -> int:
        """The steps done in all."""
        return len(self.history) * self.steps + (self.begun.steps if self.begun else 0)

    @property
    def epoch(self) -> int:
        """The epoch it is in, or has ended, counted from 1."""
        return len(self.history) + bool(self.begun)

    @property
    def is_over(self) -> bool:
        """Whether no more is to be done."""
        return bool(self.stopped) or self.watch.is_over or len(self.history) >= self.epochs

    def counted(self, steps: int) -> None:
        """An epoch had so many steps. Raises StreamError where it is to have another number."""
        if self.steps not in (0, steps):
            raise StreamError(
                f"the data have {steps} batches in epoch {len(self.history) + 1}, and {self.steps} before"
            )
        self.steps = steps

    def ended(self, row: dict[str, Any]) -> None:
        """An epoch has ended, with that row of the history. Raises FormatError where a checkpoint gave it others."""
        if self.history.rows and self.history.rows[-1].keys() != row.keys():
            found, expected = (", ".join(map(str, each)) for each in (self.history.rows[-1], row))
            raise FormatError(f"the checkpoint's history must have the columns {expected}, got {found:.200}")
        self.history.rows.append(row)
        self.begun, self.seconds = None, 0.0

    def finite(self) -> bool:
        """Whether its parameters are, without which none can go on."""
        return bool(np.isfinite(on_host(self.runner.params.flat)).all())

    def freeze(self) -> tuple[Arrays, Content]:
        """The moment as it is. The arrays may be the training's own: write them before the next step."""
        state, watch, rows = self.runner.state, self.watch, self.history.rows
        columns = list(rows[0]) if rows else []
        table = [[row[name] for name in columns] for row in rows]
        arrays = {
            PARAMS: on_host(self.runner.params.flat),
            HISTORY: np.array(table, np.float64).reshape(len(rows), len(columns)),
            **{SLOT + name: on_host(slot) for name, slot in state.items() if name != "step"},
        }
        if watch.best_params is not None:
            arrays[BEST] = on_host(watch.best_params.flat)
        content: Content = {
            "step": int(state["step"]),
            "steps": self.steps,
            "columns": columns,
            "watch": [float(watch.best).hex(), watch.best_epoch, watch.waited],  # hex holds infinities too
            "stopped": self.stopped,
            "callbacks": [callback.state() if _has_state(callback) else None for callback in self.callbacks],
            "begun": None,
        }
        if self.begun:
            arrays[SUMS] = self.begun.sums
            content["begun"] = {
                "steps": self.begun.steps,
                "seconds": self.seconds,
                "generators": [_plain(state) for state in self.begun.generators],
            }
        return arrays, content

    def spread(self, group: Group) -> None:
        """Begin, in each process of a group, at the first one's moment."""
        if group.size > 1:
            arrays, content = group.first(self.freeze)
            if group.rank:
                self.thaw(arrays, content)

    def thaw(self, arrays: Arrays, content: Content) -> None:
        """Go on from that moment. Raises FormatError for one that is none, CheckpointError where this is past it."""
        try:
            self._thaw(arrays, content)
            states = dict(enumerate(content["callbacks"]))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            if isinstance(error, CheckpointError | FormatError):
                raise
            raise FormatError(f"it does not hold a training: {error!r:.200}") from None
        for place, callback in enumerate(self.callbacks):
            if _has_state(callback) and states.get(place) is not None:
                callback.resume(states[place])

    def _thaw(self, arrays: Arrays, content: Content) -> None:
        params, slots = self.runner.params, self.runner.optimizer.slots
        self._check(params, arrays, content)
        columns, table, about = content["columns"], arrays[HISTORY], content["begun"]
        begun, seconds = None, 0.0
        if about:
            begun = Begun(whole("begun", about["steps"], 0), arrays[SUMS], tuple(about["generators"]))
            seconds = float(about["seconds"])
        done, steps = whole("step", content["step"], 0), self.steps or content["steps"]
        if len(table) * steps + (begun.steps if begun else 0) != done:
            raise FormatError(f"{done} steps are not those of {len(table)} epochs of {steps}")
        if len(table) + bool(begun) > self.epochs:
            raise CheckpointError(
                f"the checkpoint is of epoch {len(table) + bool(begun)}, and epochs={self.epochs} asks for fewer"
            )
        best, best_epoch, waited = content["watch"]
        watch = {
            "best": float.fromhex(best),
            "best_epoch": whole("best_epoch", best_epoch, 0),
            "waited": whole("waited", waited, 0),
            "best_params": _of(params, arrays[BEST]) if BEST in arrays else None,
        }
        rows = [dict(zip(columns, values, strict=True)) for values in table.tolist()]
        rows = [row | {"epoch": int(row["epoch"])} for row in rows]
        state = {"step": done, **{name: _of(params, arrays[SLOT + name]).flat for name in slots}}
        self.runner.resume(_of(params, arrays[PARAMS]), state)  # the last that can fail
        self.begun, self.seconds, self.stopped = begun, seconds, str(content["stopped"])
        self.steps = steps
        self.history.rows[:] = rows
        for name, value in watch.items():
            setattr(self.watch, name, value)

    def _check(self, params: Parameters, arrays: Arrays, content: Content) -> None:
        """Raise FormatError unless the arrays have the shapes and types of this training."""
        expected = on_host(params.flat)
        slots = (SLOT + name for name in self.runner.optimizer.slots)
        for name in (PARAMS, *([BEST] if BEST in arrays else []), *slots):
            given = arrays[name]
            if given.dtype != expected.dtype or given.shape != expected.shape:
                raise FormatError(
                    f"{name!r} must be {expected.dtype} in shape {expected.shape}, got {given.dtype} in {given.shape}"
                )
        table = arrays[HISTORY]
        if table.ndim != 2 or table.dtype != np.float64:
            raise FormatError(f"the history must be a table of float64, got {table.dtype} in {table.shape}")
        if whole("steps", content["steps"], 0) not in (0, self.steps) and self.steps:
            raise FormatError(f"an epoch has {content['steps']} steps in it, and {self.steps} in this training")


def _of(params: Parameters, flat: np.ndarray) -> Parameters:
    """Parameters of that vector, in the library and on the device of `params`."""
    if isinstance(params.flat, np.ndarray):
        return params.like(flat)
    xp = array_api_compat.array_namespace(params.flat)
    array: Array = xp.asarray(flat, device=array_api_compat.device(params.flat))
    return params.like(array)


def _has_state(callback: object) -> bool:
    return callable(getattr(callback, "state", None)) and callable(getattr(callback, "resume", None))


def _plain(state: Mapping[str, Any]) -> Any:
    """A generator's state with lists for its arrays."""
    return json.loads(json.dumps(state, default=lambda array: array.tolist()))
