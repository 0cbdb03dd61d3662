"""Models on disk: one safetensors file holds the parameters and, as JSON, the architecture. Nothing is unpickled."""

from handgrad.formats.atomic import replacing
from handgrad.formats.errors import FormatError
from handgrad.formats.files import load, save

__all__ = ["FormatError", "load", "replacing", "save"]
