"""Batches to view, and a document's numbers as arrays."""

import base64

import numpy as np

import handgrad as hg
from handgrad import ops

DTYPES = {"float32": "<f4", "float64": "<f8", "int64": "<i8"}


def array(tensor):
    """An exact tensor's numbers."""
    numbers = np.frombuffer(base64.b64decode(tensor["data"]), DTYPES[tensor["dtype"]])
    return numbers.reshape(tensor["shape"])


def traced(layers, inputs, rows=6, classes=3, seed=0, dtype=np.float64, **options):
    """A trace of the layers on random rows."""
    rng = np.random.default_rng(seed)
    model = hg.Sequential(layers)
    return hg.trace(
        model,
        model.init(seed, dtype),
        rng.standard_normal((rows, *np.atleast_1d(inputs))).astype(dtype),
        rng.integers(classes, size=rows),
        **options,
    )


def only(view):
    """The one variant of a view: (its graph's nodes by id, its edges by id, its last frame)."""
    (variant,) = view.document["variants"]
    graph = variant["graph"]
    nodes = {node["id"]: node for node in graph["nodes"]}
    return nodes, {edge["id"]: edge for edge in graph["edges"]}, variant["frames"][-1]


def neuron():
    """sigmoid(w0 x0 + w1 x1 + w2), run forward and back."""
    g = hg.Graph()
    w0, x0, w1, x1, w2 = (g.input(name) for name in ("w0", "x0", "w1", "x1", "w2"))
    f = ops.sigmoid(w0 * x0 + w1 * x1 + w2).named("f")
    return g.run(f, w0=2.0, x0=-1.0, w1=-3.0, x1=-2.0, w2=-3.0).backward()
