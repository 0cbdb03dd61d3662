"""The step as one would write it in NumPy alone: every array made once, all in place, one flat vector for Adam."""

from __future__ import annotations

import numpy as np

from handgrad.cli.bench.configurations import Block, Configuration
from handgrad.cli.bench.rivals.base import BETA_1, BETA_2, EPSILON, RATE, Stepper

CHUNK = 16384  # entries of a part of Adam's vectors, which then stay in the core's cache


class Numpy(Stepper):
    """NumPy by hand."""

    def __init__(self, configuration: Configuration, threads: int):
        super().__init__(configuration, threads)
        self.first = np.concatenate([array.ravel() for block in configuration.weights() for array in block])
        self.p, self.g, self.m, self.v = (np.zeros_like(self.first) for _ in range(4))
        self.scratch = np.empty(CHUNK, np.float32)
        self.params, self.grads = self._views(self.p), self._views(self.g)
        batch = configuration.batch
        self.batch_x = np.empty((batch, self.x.shape[1]), np.float32)
        self.saved = [Saved(block, batch) for block in configuration.blocks]
        self.places = np.arange(batch)

    def _views(self, flat: np.ndarray) -> list[list[np.ndarray]]:
        """The parameters of each block, as parts of the flat vector."""
        start, views = 0, []
        for block in self.configuration.blocks:
            part = []
            for shape in block.shapes:
                size = int(np.prod(shape))
                part.append(flat[start : start + size].reshape(shape))
                start += size
            views.append(part)
        return views

    def reset(self) -> None:
        self.p[:] = self.first
        self.m[:] = self.v[:] = 0
        self.t = 0

    def epoch(self, order: np.ndarray) -> float:
        batch, total = self.configuration.batch, 0.0
        for start in range(0, len(order), batch):
            total += self._step(order[start : start + batch])
        return total / (len(order) // batch)

    def _step(self, index: np.ndarray) -> float:
        x = np.take(self.x, index, axis=0, out=self.batch_x, mode="clip")  # clip: else it goes through a buffer
        inputs = []
        for params, saved in zip(self.params, self.saved, strict=True):
            inputs.append(x)
            x = saved.forward(x, params)
        value, dout = self._loss(x, self.y[index])
        for i in reversed(range(len(self.saved))):
            below = self.saved[i - 1].dout if i else None
            self.saved[i].backward(dout, inputs[i], self.params[i], self.grads[i], below)
            if below is not None:
                dout = below
        self._adam()
        return value

    def _loss(self, scores: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss, and its gradient in the place of the scores."""
        if not self.configuration.classifies:
            scores -= y
            value = float(np.vdot(scores, scores)) / scores.size
            scores *= 2 / scores.size
            return value, scores
        scores -= scores.max(axis=1, keepdims=True)
        right = scores[self.places, y]
        np.exp(scores, out=scores)
        total = scores.sum(axis=1, keepdims=True)
        value = float((np.log(total[:, 0]) - right).mean())
        total *= len(y)
        scores /= total
        scores[self.places, y] -= 1 / len(y)
        return value, scores

    def _adam(self) -> None:
        self.t += 1
        rate, root = RATE / (1 - BETA_1**self.t), 1 / (1 - BETA_2**self.t) ** 0.5
        for start in range(0, self.p.size, CHUNK):
            p, g, m, v = (vector[start : start + CHUNK] for vector in (self.p, self.g, self.m, self.v))
            s = self.scratch[: p.size]
            np.multiply(g, 1 - BETA_1, out=s)
            m *= BETA_1
            m += s
            np.multiply(g, g, out=s)
            s *= 1 - BETA_2
            v *= BETA_2
            v += s
            np.sqrt(v, out=s)
            s *= root
            s += EPSILON
            np.divide(m, s, out=s)
            s *= rate
            p -= s


class Saved:
    """A block's arrays for one batch: what its forward leaves to its backward, and the gradient by its output."""

    def __init__(self, block: Block, batch: int):
        self.kind = block.kind
        count = 5 if block.kind == "swiglu" else 1
        self.out, *self.rest = (np.empty((batch, block.n_out), np.float32) for _ in range(count))
        self.dout = np.empty((batch, block.n_out), np.float32)

    def forward(self, x: np.ndarray, params: list[np.ndarray]) -> np.ndarray:
        """The block's output."""
        out = self.out
        if self.kind == "swiglu":
            (w, u, b, c), (content, gate, sigmoid, swish) = params, self.rest
            np.matmul(x, w, out=content)
            content += b
            np.matmul(x, u, out=gate)
            gate += c
            np.negative(gate, out=sigmoid)
            np.exp(sigmoid, out=sigmoid)
            sigmoid += 1
            np.reciprocal(sigmoid, out=sigmoid)
            np.multiply(gate, sigmoid, out=swish)
            return np.multiply(content, swish, out=out)
        w, b = params
        np.matmul(x, w, out=out)
        out += b
        return np.maximum(out, 0, out=out) if self.kind == "relu" else out

    def backward(
        self, dout: np.ndarray, x: np.ndarray, params: list[np.ndarray], grads: list[np.ndarray], dx: np.ndarray | None
    ) -> None:
        """Write the gradients, and the one by x where it is wanted; dout is overwritten."""
        if self.kind == "swiglu":
            (w, u, *_), (content, gate, sigmoid, swish) = params, self.rest
            np.subtract(1, sigmoid, out=gate)  # swish' = sigmoid + swish (1 - sigmoid)
            gate *= swish
            gate += sigmoid
            gate *= content
            gate *= dout
            dout *= swish
            np.matmul(x.T, dout, out=grads[0])
            np.matmul(x.T, gate, out=grads[1])
            dout.sum(axis=0, out=grads[2])
            gate.sum(axis=0, out=grads[3])
            if dx is not None:
                np.matmul(dout, w.T, out=dx)
                dx += gate @ u.T
            return
        if self.kind == "relu":
            dout *= self.out > 0
        np.matmul(x.T, dout, out=grads[0])
        dout.sum(axis=0, out=grads[1])
        if dx is not None:
            np.matmul(dout, params[0].T, out=dx)
