"""Numbers and names that a caller gives: checked, and numbers turned into Python's own float and int.

The conversion matters: a hyperparameter left as np.float64 would turn float32 arrays into float64. The functions of an
`owner` settle fields of a frozen dataclass, from its own __post_init__; the others take one value and its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

from handgrad.errors import ValueRangeError

T = TypeVar("T")


def finites(owner: object, *names: str) -> None:
    """Fields that are finite numbers."""
    for name in names:
        _settle(owner, name, "a finite number", math.isfinite)


def rates(owner: object, *names: str) -> None:
    """Fields that are finite numbers of at least 0."""
    for name in names:
        _settle(owner, name, "a finite number of at least 0", lambda x: 0 <= x < math.inf)


def positives(owner: object, *names: str) -> None:
    """Fields that are finite numbers above 0."""
    for name in names:
        _settle(owner, name, "a finite number above 0", lambda x: 0 < x < math.inf)


def decays(owner: object, *names: str) -> None:
    """Fields that weigh the past of a running mean: numbers in [0, 1)."""
    for name in names:
        _settle(owner, name, "a number from 0 to below 1", lambda x: 0 <= x < 1)


def shares(owner: object, *names: str) -> None:
    """Fields that are numbers in [0, 1]."""
    for name in names:
        _settle(owner, name, "a number from 0 to 1", lambda x: 0 <= x <= 1)


def inner_shares(owner: object, *names: str) -> None:
    """Fields that are numbers in (0, 1)."""
    for name in names:
        _settle(owner, name, "a number above 0 and below 1", lambda x: 0 < x < 1)


def counts(owner: object, *names: str, low: int = 1) -> None:
    """Fields that are whole numbers of at least `low`."""
    for name in names:
        object.__setattr__(owner, name, whole(f"{type(owner).__name__}: {name}", getattr(owner, name), low))


def integers(owner: object, *names: str) -> None:
    """Fields that are whole numbers, of either sign."""
    for name in names:
        value = getattr(owner, name)
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueRangeError(f"{type(owner).__name__}: {name} must be a whole number, got {value!r}")
        object.__setattr__(owner, name, int(value))


def flags(owner: object, *names: str) -> None:
    """Fields that are True or False."""
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, bool | np.bool_):
            raise ValueRangeError(f"{type(owner).__name__}: {name} must be True or False, got {value!r}")
        object.__setattr__(owner, name, bool(value))


def finite(name: str, value: Any) -> float:
    """`value` as a finite float."""
    return number(name, value, "a finite number", math.isfinite)


def positive(name: str, value: Any) -> float:
    """`value` as a finite float above 0."""
    return number(name, value, "a finite number above 0", lambda x: 0 < x < math.inf)


def at_least_0(name: str, value: Any) -> float:
    """`value` as a finite float of at least 0."""
    return number(name, value, "a finite number of at least 0", lambda x: 0 <= x < math.inf)


def share(name: str, value: Any) -> float:
    """`value` as a float from 0 to 1."""
    return number(name, value, "a number from 0 to 1", lambda x: 0 <= x <= 1)


def whole(name: str, value: Any, low: int = 1) -> int:
    """`value` as an int of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise ValueRangeError(f"{name} must be a whole number of at least {low}, got {value!r:.200}")
    return int(value)


def number(name: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    """`value` as a float that `fits`; `expected` says in words what fits."""
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            converted = float(value)
        except OverflowError:  # an int beyond every float
            converted = math.inf
        if fits(converted):
            return converted
    raise ValueRangeError(f"{name} must be {expected}, got {value!r:.200}")


def by_name(kind: str, value: Any, table: Mapping[str, T], others: str = "") -> T:
    """table[value]. Raises ValueRangeError with the names there are and the closest; `others` says what else serves."""
    if isinstance(value, str) and value in table:
        return table[value]
    given = value if isinstance(value, str) else getattr(value, "__name__", "")
    close = get_close_matches(given.lower(), table, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueRangeError(f"{kind} must be {others}one of {', '.join(map(repr, table))}, got {value!r}{hint}")


def _settle(owner: object, name: str, expected: str, fits: Callable[[float], bool]) -> None:
    settled = number(f"{type(owner).__name__}: {name}", getattr(owner, name), expected, fits)
    object.__setattr__(owner, name, settled)  # the dataclasses are frozen to everyone but their own __post_init__
