"""Units of a layer: how many, which are dead, and how flat the squashing activations stand."""

from __future__ import annotations

import numpy as np

from handgrad.explain.trace.steps import Step
from handgrad.layers import GLU, LeakyReLU, ReGLU, ReLU, Sigmoid, Tanh
from handgrad.layers.gated import Gated
from handgrad.ops import relu, sigmoid, tanh

FLAT = 0.05  # of the steepest slope: there a unit passes on a twentieth of what it does at best


def unit_count(step: Step) -> int:
    """The size of the output's last axis; 1 where each sample has a single number."""
    return step.out.shape[-1] if step.out.ndim > 1 else 1


def gate(step: Step) -> np.ndarray | None:
    """What goes into a gated unit's gate activation, (..., units); None for other layers."""
    return step.cache[2] if isinstance(step.layer, Gated) else None


def slopes(step: Step) -> np.ndarray | None:
    """Of a sigmoid or tanh, at each output: its derivative over the steepest it has. None for other layers."""
    if isinstance(step.layer, Sigmoid):
        return sigmoid.local(step.out) / 0.25
    if isinstance(step.layer, Tanh):
        return tanh.local(step.out)
    if isinstance(step.layer, GLU):
        return sigmoid.local(sigmoid.value(gate(step))[0]) / 0.25
    return None


def saturation(step: Step) -> float | None:
    """The share of outputs where a sigmoid or tanh is flat; None for other layers."""
    steep = slopes(step)
    return None if steep is None else float(np.mean(steep < FLAT))


def closed(step: Step) -> np.ndarray | None:
    """Where a ReLU, or a ReGLU's gate, is 0 and lets nothing back. None for other layers, whose slope is nowhere 0."""
    if isinstance(step.layer, ReLU) or (isinstance(step.layer, LeakyReLU) and step.layer.alpha == 0):
        return step.out <= 0
    if isinstance(step.layer, ReGLU):
        return relu.value(gate(step))[0] == 0
    return None


def dead_units(step: Step) -> np.ndarray | None:
    """The units that are closed for every sample, by number; None for layers that never close."""
    shut = closed(step)
    if shut is None:
        return None
    units = shut.reshape(-1, unit_count(step))
    return np.flatnonzero(units.all(axis=0))
