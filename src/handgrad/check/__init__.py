"""Proving gradients: what backward says against what forward does."""

from handgrad.check.gradients import check_gradients
from handgrad.check.report import ArrayReport, GradientError, GradientReport, Kinked

__all__ = ["ArrayReport", "GradientError", "GradientReport", "Kinked", "check_gradients"]
