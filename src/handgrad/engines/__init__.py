"""How a training step is executed. `eager` is the definition of right."""

from handgrad.engines.eager import value_and_grad
from handgrad.engines.samples import PerSample, per_sample_gradients

__all__ = ["PerSample", "per_sample_gradients", "value_and_grad"]
