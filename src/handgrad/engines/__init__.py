"""How a training step is executed. `eager` is the definition of right."""

from handgrad.engines.eager import value_and_grad

__all__ = ["value_and_grad"]
