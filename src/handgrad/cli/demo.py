"""The worked examples of the field, for `handgrad view --demo`: computations that one can follow by hand."""

from __future__ import annotations

import numpy as np

import handgrad.ops as ops
from handgrad.explain.trace import trace
from handgrad.explain.view import TraceFrames, View, view
from handgrad.initializers import he_normal, zeros
from handgrad.layers import L2, Linear, ReLU, SwiGLU
from handgrad.models import Graph, Residual, Sequential, mlp
from handgrad.training import fit

TITLE = "Worked examples"
ROOM = 900_000  # characters of numbers in an example: all of them together make a page below 5 MB
SMALL = 0.01  # the standard deviation of weights that are too small
EPOCHS, BATCH = 12, 64


def examples() -> View:
    """All of them on one page, with a menu."""
    made = (small_graph(), neuron(), hinge_network(), gated(), digits(), initializations())
    return View.together(made, TITLE)


def small_graph() -> View:
    """(x + y) z at -2, 5, -4: the gradients are -4, -4 and 3. CS231n, "Backpropagation, intuitions"."""
    g = Graph()
    x, y, z = g.input("x"), g.input("y"), g.input("z")
    q = (x + y).named("q")
    run = g.run((q * z).named("f"), x=-2.0, y=5.0, z=-4.0).backward()
    return view(run, title="A small graph: f = (x + y) z")


def neuron() -> View:
    """sigmoid(w0 x0 + w1 x1 + w2), the sigmoid made of its parts. CS231n, "Backpropagation, intuitions"."""
    g = Graph()
    w0, x0, w1, x1, w2 = (g.input(name) for name in ("w0", "x0", "w1", "x1", "w2"))
    s = (w0 * x0 + w1 * x1 + w2).named("s")
    f = (1.0 / (1.0 + ops.exp(-s))).named("f")
    run = g.run(f, w0=2.0, x0=-1.0, w1=-3.0, x1=-2.0, w2=-3.0).backward()
    return view(run, title="A neuron: the sigmoid of a sum")


def hinge_network() -> View:
    """Two linear layers with a ReLU, the hinge loss and L2 on weights, on four rows."""
    rng = np.random.default_rng(0)
    model = Sequential([Linear(4, 6), ReLU(), Linear(6, 3)])
    batch = trace(
        model,
        model.init(1),
        rng.standard_normal((4, 4)),
        np.array([0, 1, 2, 1]),
        loss="hinge",
        regularizer=L2(0.01),
        optimizer="sgd",
    )
    return view(batch, title="A network with the hinge loss and L2")


def gated() -> View:
    """A gated layer opened into its branches, and a way around another: gradients add where a value forks."""
    rng = np.random.default_rng(1)
    model = Sequential([SwiGLU(5, 6), Residual(SwiGLU(6, 6)), Linear(6, 3)])
    batch = trace(model, model.init(2), rng.standard_normal((4, 5)), np.array([0, 2, 1, 0]))
    return view(batch, title="Gated layers (SwiGLU) and a residual")


def digits() -> View:
    """An MLP on scikit-learn's digits, at the end of each of its first epochs."""
    x, y = _digits()
    frames = TraceFrames(x[:BATCH], y[:BATCH])
    fit(mlp([64, 32, 10]), (x, y), epochs=EPOCHS, batch_size=BATCH, callbacks=(frames,), progress=False)
    return view(frames, title=f"Handwritten digits, {EPOCHS} epochs of training", budget=ROOM)


def initializations() -> View:
    """One network at its start: weights of zero, too small, and He's."""
    x, y = _digits()

    def small(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return SMALL * rng.standard_normal(shape)

    kinds = {"zeros": zeros, f"normal, std {SMALL}": small, "He": he_normal}
    models = {label: mlp([64, 32, 32, 32, 10], init=init) for label, init in kinds.items()}
    traces = {label: trace(model, model.init(0), x[:BATCH], y[:BATCH]) for label, model in models.items()}
    return view(traces, title="Initializations side by side", budget=ROOM)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x / 16, y
