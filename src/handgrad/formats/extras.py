"""Libraries that a user may have or not."""

from __future__ import annotations

import importlib
from typing import Any


def extra(name: str, purpose: str, group: str = "") -> Any:
    """The library of that name. Raises ImportError, which says what to install, where it is not there.

    group: what the package calls it among its extras, where that is another name.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # it is there, and something of its own is not
            raise
        raise ImportError(f"{purpose} needs {name}: pip install 'handgrad[{group or name}]'", name=name) from None
