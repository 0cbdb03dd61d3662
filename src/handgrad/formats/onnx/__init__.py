"""ONNX: a model or a fitted estimator as a file for any runtime, and an MLP from such a file."""

from handgrad.formats.onnx.export import to_onnx
from handgrad.formats.onnx.reading import from_onnx

__all__ = ["from_onnx", "to_onnx"]
