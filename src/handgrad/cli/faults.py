"""Faults a user can do something about: one line that says what was given and what to do, no traceback."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TextIO

import typer

from handgrad.errors import CheckpointWarning, HandgradError, LogWarning

NOTED = (CheckpointWarning, LogWarning)


class InputError(HandgradError, ValueError):
    """What the user gave the command can't be used: a file, a column, an option."""


class UsageError(InputError):
    """The command line itself is not right; the exit code is 2, as for an unknown option."""


class Unfinished(SystemExit):
    """A training was cut off that can go on. The command ends with that exit code, and its message."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


@contextmanager
def said() -> Iterator[None]:
    """Show what checkpoints and logs warn of as notes, at once."""
    with warnings.catch_warnings():
        for kind in NOTED:
            warnings.simplefilter("always", kind)
        show = warnings.showwarning

        def note(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, NOTED):
                print_line("note", "bold", str(message))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = note
        yield


@contextmanager
def explained(debug: bool) -> Iterator[None]:
    """Turn expected faults into a red line on stderr and an exit code; with `debug`, let them show their traceback."""
    try:
        yield
    except Unfinished as stop:
        print_error(str(stop))
        raise
    except (HandgradError, OSError, MemoryError, KeyboardInterrupt) as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):  # the reader of our output, such as `head`, has had enough
            raise typer.Exit(0) from None
        print_error(words(error))
        code = 130 if isinstance(error, KeyboardInterrupt) else 2 if isinstance(error, UsageError) else 1
        raise typer.Exit(code) from None


def words(error: BaseException) -> str:
    """The fault in one sentence."""
    if isinstance(error, KeyboardInterrupt):
        return f"{str(error) or 'interrupted before there was anything to keep'}; nothing was written"
    if isinstance(error, MemoryError):
        why = str(error).removeprefix("out of memory: ") or "the data does not fit"
        return f"out of memory: {why.replace('batch_size=', '--batch-size ')}; nothing was written"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}" if error.filename else error.strerror.lower()
    return str(error)


def print_error(message: str) -> None:
    """`error: message` on stderr, red where there are colours."""
    print_line("error", "bold red", message)


def print_line(kind: str, style: str, message: str) -> None:
    """`kind: message` on stderr."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True).print(Text.assemble((f"{kind}: ", style), message))


def did_you_mean(given: str, names: list[str]) -> str:
    """ "; did you mean 'x'?" where a name is close to the one given, else ""."""
    folded = {name.casefold(): name for name in names}
    near = get_close_matches(given.casefold(), folded, 1)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


def listed(names: list[str], most: int = 12) -> str:
    """The names, separated by commas; past `most` of them, how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"{name:.60}" for name in names[:most]) + more
