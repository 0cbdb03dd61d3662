"""PyTorch: its own layers, loss and fused Adam."""

from __future__ import annotations

from typing import Any

import numpy as np

from handgrad.cli.bench.configurations import Configuration
from handgrad.cli.bench.rivals.base import BETA_1, BETA_2, EPSILON, RATE, Stepper


class Torch(Stepper):
    """Eager PyTorch."""

    def __init__(self, configuration: Configuration, threads: int):
        import torch

        super().__init__(configuration, threads)
        torch.set_num_threads(threads)
        self.model = model_of(configuration)
        self.tensors = torch.from_numpy(self.x), torch.from_numpy(self.y)
        self.loss = self.compiled(loss_of(self.model, configuration))

    def compiled(self, loss: Any) -> Any:
        """What runs `loss`, a function of a batch."""
        return loss

    def reset(self) -> None:
        import torch

        load(self.model, self.configuration)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=RATE, betas=(BETA_1, BETA_2), eps=EPSILON, fused=True
        )

    def epoch(self, order: np.ndarray) -> float:
        import torch

        rows, (x, y) = torch.from_numpy(order), self.tensors
        batch, total = self.configuration.batch, torch.zeros(())
        for start in range(0, len(order), batch):
            index = rows[start : start + batch]
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(x[index], y[index])
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        return float(total) / (len(order) // batch)


def model_of(configuration: Configuration) -> Any:
    """The configuration as a module."""
    import torch

    class Gated(torch.nn.Module):
        """SwiGLU."""

        def __init__(self, n_in: int, n_out: int):
            super().__init__()
            self.content, self.gate = torch.nn.Linear(n_in, n_out), torch.nn.Linear(n_in, n_out)

        def forward(self, x: Any) -> Any:
            return self.content(x) * torch.nn.functional.silu(self.gate(x))

    modules: list[Any] = []
    for block in configuration.blocks:
        modules.append((Gated if block.kind == "swiglu" else torch.nn.Linear)(block.n_in, block.n_out))
        modules += [torch.nn.ReLU()] * (block.kind == "relu")
    return torch.nn.Sequential(*modules)


def load(model: Any, configuration: Configuration) -> None:
    """Copy the configuration's first weights into the module, which keeps each transposed."""
    import torch

    linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    with torch.no_grad():
        for block, values in zip(configuration.blocks, configuration.weights(), strict=True):
            for weight, bias in zip(values[: block.maps], values[block.maps :], strict=True):
                linear = linears.pop(0)
                linear.weight.copy_(torch.from_numpy(weight.T))
                linear.bias.copy_(torch.from_numpy(bias))


def loss_of(model: Any, configuration: Configuration) -> Any:
    """The loss of a batch, as a function."""
    from torch.nn import functional

    measure = functional.cross_entropy if configuration.classifies else functional.mse_loss

    def loss(x: Any, y: Any) -> Any:
        return measure(model(x), y)

    return loss
