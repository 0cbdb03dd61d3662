"""What the explanations are made of: frozen dataclasses that give themselves as JSON's own types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Plain:
    """A frozen dataclass that gives itself as JSON's own types."""

    def to_dict(self) -> dict[str, Any]:
        """Dicts, lists, strings, numbers and None; None too for a number that is not finite, which JSON has no word
        for. The keys are the names of the fields, of those that are compared."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.compare}


def plain(value: Any) -> Any:
    """`value` in JSON's types."""
    if isinstance(value, Plain):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
