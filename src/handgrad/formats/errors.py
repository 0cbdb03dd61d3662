"""What is wrong with a file."""

from __future__ import annotations

from handgrad.errors import HandgradError


class FormatError(HandgradError, ValueError):
    """A file, or a model meant for one, is not what the format can hold."""
