"""Data larger than memory: read block by block, shuffled in a buffer, made ready by another thread."""

from handgrad.training.streams.stream import Stream

__all__ = ["Stream"]
