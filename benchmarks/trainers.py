"""The rivals of `benchmarks.training` that `handgrad bench` does without: JAX, torch.compile, one thread alone."""

from __future__ import annotations

from functools import partial

import numpy as np

from handgrad.cli.bench.configurations import Configuration
from handgrad.cli.bench.rivals import RIVALS, Entry
from handgrad.cli.bench.rivals.base import BETA_1, BETA_2, EPSILON, RATE, Stepper
from handgrad.cli.bench.rivals.own import Handgrad
from handgrad.cli.bench.rivals.pytorch import Torch


class OneThread(Handgrad):
    """What several threads are to be faster than, on the same cores."""

    def __init__(self, configuration: Configuration, threads: int):
        super().__init__(configuration, 1)


class Jax(Stepper):
    """A whole epoch under one jax.jit: lax.scan over the batches, optax's Adam, buffers donated."""

    def __init__(self, configuration: Configuration, threads: int):
        import jax

        super().__init__(configuration, threads)
        self.arrays = jax.device_put(self.x), jax.device_put(self.y)
        self.run, self.adam = jax_epoch(configuration)

    def reset(self):
        import jax.numpy as jnp

        self.params = [[jnp.array(value) for value in block] for block in self.configuration.weights()]
        self.state = self.adam.init(self.params)

    def epoch(self, order):
        batches = np.asarray(order, np.int32).reshape(-1, self.configuration.batch)
        self.params, self.state, loss = self.run(self.params, self.state, *self.arrays, batches)
        return float(loss)  # waits for it


def forward(blocks, params, x):
    """The scores of a batch, in JAX."""
    import jax

    for block, values in zip(blocks, params, strict=True):
        if block.kind == "swiglu":
            w, u, b, c = values
            x = (x @ w + b) * jax.nn.silu(x @ u + c)
        else:
            w, b = values
            x = x @ w + b
            x = jax.nn.relu(x) if block.kind == "relu" else x
    return x


def jax_epoch(configuration):
    """(a compiled epoch, the optimizer)."""
    import jax
    import jax.numpy as jnp
    import optax

    adam = optax.adam(RATE, BETA_1, BETA_2, EPSILON)

    def loss_of(params, x, y):
        scores = forward(configuration.blocks, params, x)
        if configuration.classifies:
            return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()
        return jnp.mean((scores - y) ** 2)

    @partial(jax.jit, donate_argnums=(0, 1))
    def run(params, state, x, y, batches):
        def step(carried, index):
            params, state = carried
            loss, grads = jax.value_and_grad(loss_of)(params, x[index], y[index])
            updates, state = adam.update(grads, state)
            return (optax.apply_updates(params, updates), state), loss

        (params, state), losses = jax.lax.scan(step, (params, state), batches)
        return params, state, losses.mean()

    return run, adam


class Compiled(Torch):
    """PyTorch with the model and the loss, and so their backward, under torch.compile; the optimizer is fused."""

    def compiled(self, loss):
        import torch

        return torch.compile(loss)


ALL = {
    "handgrad": RIVALS["handgrad"],
    "one": Entry("handgrad, one thread", "benchmarks.trainers:OneThread", ours=True),
    "eager": RIVALS["eager"],
    "jax": Entry("JAX jit + scan", "benchmarks.trainers:Jax", ("jax", "optax")),
    "torch": RIVALS["torch"],
    "compile": Entry("torch.compile", "benchmarks.trainers:Compiled", ("torch",)),
    "sklearn": RIVALS["sklearn"],
    "numpy": RIVALS["numpy"],
}
