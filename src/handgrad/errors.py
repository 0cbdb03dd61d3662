"""The errors Handgrad raises. Each names the argument, what was given and what was expected.

An error raised inside a layer also says where in the model that layer stands: containers call `within` on its way out.
"""

from __future__ import annotations

from typing import Any, Self


class HandgradError(Exception):
    """Base class of Handgrad's own errors. `layer` is the place in the model, such as "2.layer.0", or ""."""

    layer: str = ""

    def within(self, place: str) -> Self:
        """This error, with `place` put in front of the name of the layer it arose in."""
        self.layer = f"{place}.{self.layer}" if self.layer else place
        return self

    def __str__(self) -> str:
        message = super().__str__()
        return f"layer {self.layer!r}: {message}" if self.layer else message


class ShapeError(HandgradError, ValueError):
    """An array has a shape that does not fit."""


class DTypeError(HandgradError, TypeError):
    """An array has an element type that does not fit, or two arrays differ in theirs."""


class DeviceError(HandgradError, ValueError):
    """Arrays of different libraries or devices meet in one operation."""


class ValueRangeError(HandgradError, ValueError):
    """A number is outside its range: a label, a temperature, a rate, a NaN in the data."""


class DivergenceError(HandgradError, FloatingPointError):
    """Training met a NaN or an infinity.

    step: the training step it appeared at, counted from 0.
    place: the first place with a non-finite value, such as "the output of layer '2' (Linear)".
    result: what `fit` would have returned: the last good parameters and the history so far.
    """

    step: int = -1
    place: str = ""
    result: Any = None


class ParameterError(HandgradError, LookupError):
    """Parameters do not match the model: one is missing, or one is unknown to it."""


class UnsupportedError(HandgradError, NotImplementedError):
    """The chosen engine cannot run this model, loss or optimizer."""


class ClusterError(HandgradError, RuntimeError):
    """Processes cannot train together: no cluster, one that lacks something, or one that has ended or is late."""


class StreamError(HandgradError, RuntimeError):
    """A stream of data is not what it was: it gave other rows than before, or than it was said to."""


class CheckpointError(HandgradError, ValueError):
    """A folder of checkpoints cannot serve this training: another process has it, or it holds another training."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written or read, and training went on without it."""


class LogWarning(UserWarning):
    """What a training tells of itself could not be written, and it went on without."""


class OutOfMemoryError(HandgradError, MemoryError):
    """A step of training found no memory. fits: the largest batch size that would; 0 where none does, or none is known.

    batch_size: the one that was asked for.
    """

    batch_size: int = 0
    fits: int = 0


class Terminated(SystemExit):
    """SIGTERM came while `fit` trained with checkpoints: the step is finished, the checkpoint written.

    Left alone it ends the process, with the exit code 143 of that signal. result: what `fit` would have returned.
    """

    result: Any = None

    def __init__(self, message: str):
        super().__init__(message)
        self.code = 143
