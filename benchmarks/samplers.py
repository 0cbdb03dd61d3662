"""The rivals of `benchmarks.samples`: each gives the gradient of a batch, its samples' norms, or their clipped sum."""

from __future__ import annotations

from typing import Any

import numpy as np

import benchmarks.trainers as trainers
from benchmarks.predictors import Predictor
from handgrad.cli.bench.rivals import Entry, own, pytorch

MAX_NORM = 2.0  # near the median of the norms, so that some samples are clipped and some are not
TASKS = ("gradient", "norms", "clipped sum")
CHECKED = 50  # numbers of a gradient, evenly spread


class Sampler(Predictor):
    """Does the task that the configuration is named after, on its one batch."""

    def __init__(self, configuration, threads):
        self.y = configuration.data()[1]
        super().__init__(configuration, threads)

    def call(self, x):
        if self.configuration.name == TASKS[0]:
            return self.gradient(x, self.y)
        return self.norms(x, self.y) if self.configuration.name == TASKS[1] else self.clipped(x, self.y)

    def check(self):
        given = self.call(self.x)
        if self.configuration.name == TASKS[1]:
            return {"scores": np.asarray(given).tolist()}
        flat = np.concatenate([np.asarray(part).ravel() for part in given])
        return {"scores": flat[:: len(flat) // CHECKED].tolist()}

    def gradient(self, x, y) -> Any:
        """Of the mean loss, by each weight and bias."""
        raise NotImplementedError

    def norms(self, x, y) -> Any:
        """Of each sample's gradient."""
        raise NotImplementedError

    def clipped(self, x, y) -> Any:
        """The sum of the samples' gradients, none longer than MAX_NORM."""
        raise NotImplementedError


class Handgrad(Sampler):
    """value_and_grad and per_sample_gradients."""

    def prepare(self):
        import handgrad as hg

        self.hg, self.model = hg, own.model_of(self.configuration)
        first = self.model.init(0, np.float32)
        values = own.params_of(self.model, self.configuration)
        self.params = first.like(np.concatenate([values[name].ravel() for name in first.specs]))

    def gradient(self, x, y):
        _, gradient = self.hg.value_and_grad(self.model, "cross_entropy", self.params, x, y)
        return list(gradient.values())

    def norms(self, x, y):
        return self.hg.per_sample_gradients(self.model, "cross_entropy", self.params, x, y).norms()

    def clipped(self, x, y):
        found = self.hg.per_sample_gradients(self.model, "cross_entropy", self.params, x, y)
        return list(found.clipped(MAX_NORM).values())


class Loop(Sampler):
    """What all must agree with: NumPy, one sample after the other, in float64."""

    def prepare(self):
        self.weights = [[value.astype(np.float64) for value in block] for block in self.configuration.weights()]

    def samples(self, x, y):
        """The gradient of each sample, one after the other."""
        for row, label in zip(x.astype(np.float64), y, strict=True):
            inputs = [row]
            for block, (w, b) in zip(self.configuration.blocks, self.weights, strict=True):
                z = inputs[-1] @ w + b
                inputs.append(np.maximum(z, 0) if block.kind == "relu" else z)
            dz = np.exp(inputs[-1] - inputs[-1].max())
            dz /= dz.sum()
            dz[label] -= 1
            parts = []
            for i in reversed(range(len(self.weights))):
                parts = [np.outer(inputs[i], dz), dz, *parts]
                dz = (self.weights[i][0] @ dz) * (inputs[i] > 0)
            yield parts

    def norms(self, x, y):
        return np.array([np.sqrt(sum((part**2).sum() for part in parts)) for parts in self.samples(x, y)])

    def gradient(self, x, y):
        return self._sum(x, y, np.full(len(x), 1 / len(x)))

    def clipped(self, x, y):
        return self._sum(x, y, np.minimum(1, MAX_NORM / self.norms(x, y)))

    def _sum(self, x, y, factors):
        total = None
        for parts, factor in zip(self.samples(x, y), factors, strict=True):
            scaled = [part * factor for part in parts]
            total = scaled if total is None else [a + b for a, b in zip(total, scaled, strict=True)]
        return total


class Jax(Sampler):
    """jax.jit of vmap(grad)."""

    def prepare(self):
        import jax
        import jax.numpy as jnp
        import optax

        blocks = self.configuration.blocks

        def loss(params, x, y):
            scores = trainers.forward(blocks, params, x)
            return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

        def samples(params, x, y):
            each = jax.vmap(jax.grad(lambda p, a, b: loss(p, a[None], b[None])), (None, 0, 0))(params, x, y)
            squares = sum(jnp.sum(g.reshape(len(x), -1) ** 2, axis=1) for g in jax.tree.leaves(each))
            return each, jnp.sqrt(squares)

        def clipped(params, x, y):
            each, norms = samples(params, x, y)
            factors = jnp.minimum(1, MAX_NORM / norms)
            return jax.tree.map(lambda g: jnp.tensordot(factors, g, 1), each)

        self.params, self.jax = jax.device_put(self.configuration.weights()), jax
        self.runs = jax.jit(jax.grad(loss)), jax.jit(lambda *a: samples(*a)[1]), jax.jit(clipped)

    def _run(self, i, x, y):
        found = self.jax.block_until_ready(self.runs[i](self.params, x, y))
        return [np.asarray(leaf) for leaf in self.jax.tree.leaves(found)] if i != 1 else np.asarray(found)

    def gradient(self, x, y):
        return self._run(0, x, y)

    def norms(self, x, y):
        return self._run(1, x, y)

    def clipped(self, x, y):
        return self._run(2, x, y)


class Torch(Sampler):
    """torch.func: vmap(grad)."""

    def prepare(self):
        import torch

        torch.set_num_threads(self.threads)
        self.torch, model = torch, pytorch.model_of(self.configuration)
        pytorch.load(model, self.configuration)
        self.model, cross_entropy = model, torch.nn.functional.cross_entropy
        self.names = dict(model.named_parameters())
        self.data = torch.from_numpy(self.x), torch.from_numpy(self.y)

        def loss(params, x, y):
            return cross_entropy(torch.func.functional_call(model, params, (x[None],)), y[None])

        self.each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))
        self.mean_loss = lambda x, y: cross_entropy(model(x), y)

    def gradient(self, x, y):
        self.model.zero_grad(set_to_none=True)
        self.mean_loss(*self.data).backward()
        return self._ordered({name: value.grad for name, value in self.names.items()})

    def _samples(self):
        each = self.each({name: value.detach() for name, value in self.names.items()}, *self.data)
        squares = sum(g.flatten(1).square().sum(1) for g in each.values())
        return each, squares.sqrt()

    def norms(self, x, y):
        return self._samples()[1].numpy()

    def clipped(self, x, y):
        each, norms = self._samples()
        factors = (MAX_NORM / norms).clamp(max=1)
        return self._ordered({name: self.torch.tensordot(factors, g, 1) for name, g in each.items()})

    def _ordered(self, gradients):
        """Weights as (n_in, n_out), each before its bias."""
        return [g.numpy().T if g.ndim == 2 else g.numpy() for g in gradients.values()]


class Opacus(Torch):
    """Opacus's fast gradient clipping, "ghost clipping": norms, then a second pass backward of the weighted losses."""

    def prepare(self):
        super().prepare()
        from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
        from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
        from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

        torch = self.torch
        self.ghost = GradSampleModuleFastGradientClipping(
            self.model, max_grad_norm=MAX_NORM, use_ghost_clipping=True, loss_reduction="sum"
        )
        self.optimizer = DPOptimizerFastGradientClipping(
            torch.optim.SGD(self.ghost.parameters(), lr=0.1),
            noise_multiplier=0.0,
            max_grad_norm=MAX_NORM,
            expected_batch_size=len(self.x),
            loss_reduction="sum",
        )
        criterion = torch.nn.CrossEntropyLoss(reduction="sum")
        self.loss = DPLossFastGradientClipping(self.ghost, self.optimizer, criterion, loss_reduction="sum")

    def clipped(self, x, y):
        self.optimizer.zero_grad(set_to_none=True)
        inputs, labels = self.data
        self.loss(self.ghost(inputs), labels).backward()
        return self._ordered({name: value.grad for name, value in self.names.items()})

    def norms(self, x, y):
        self.optimizer.zero_grad(set_to_none=True)
        inputs, labels = self.data
        self.torch.nn.functional.cross_entropy(self.ghost(inputs), labels, reduction="sum").backward()
        return self.ghost.get_norm_sample().detach().numpy()


ALL = {
    "handgrad": Entry("handgrad", "benchmarks.samplers:Handgrad", ours=True),
    "jax": Entry("JAX vmap(grad)", "benchmarks.samplers:Jax", ("jax", "optax")),
    "torch": Entry("PyTorch vmap(grad)", "benchmarks.samplers:Torch", ("torch",)),
    "opacus": Entry("Opacus ghost clipping", "benchmarks.samplers:Opacus", ("opacus",)),
}
