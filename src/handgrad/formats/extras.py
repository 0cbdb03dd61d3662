"""Libraries that a user may have or not."""

from __future__ import annotations

import importlib
from typing import Any


def extra(name: str, purpose: str) -> Any:
    """The library of that name. Raises ImportError, which says what to install, where it is not there."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # it is there, and something of its own is not
            raise
        raise ImportError(f"{purpose} needs {name}: pip install 'handgrad[{name}]'", name=name) from None
