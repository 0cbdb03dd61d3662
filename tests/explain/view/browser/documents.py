"""Every kind of document that the library makes, each made once."""

import json
from functools import cache

import numpy as np

import handgrad as hg
from explain.view.batches import neuron, traced
from handgrad import ops
from handgrad.explain.view.html import embedded
from handgrad.explain.view.report import report
from handgrad.initializers import he_normal, zeros

NASTY = "<script>alert(1)</script>"
DEEP = 100  # layers
LATER = "a later version"


def small_graph():
    """(x + y) z at -2, 5, -4: a run."""
    g = hg.Graph()
    x, y, z = g.input("x"), g.input("y"), g.input("z")
    q = (x + y).named("q")
    return g.run((q * z).named("f"), x=-2.0, y=5.0, z=-4.0).backward()


@cache
def digits():
    """(model, frames) of a few epochs on scikit-learn's digits."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    frames = hg.TraceFrames(x[:32] / 16, y[:32], optimizer="adam")
    model = hg.mlp([64, 16, 10])
    result = hg.fit(model, (x / 16, y), epochs=4, batch_size=64, seed=0, callbacks=(frames,), progress=False)
    return model, result, frames, x / 16, y


@cache
def mnist():
    """The trace of 784-256-128-10 in float32 on 64 rows."""
    rng = np.random.default_rng(0)
    model = hg.mlp([784, 256, 128, 10])
    batch = rng.random((64, 784), np.float32), rng.integers(10, size=64)
    return hg.trace(model, model.init(0), *batch, optimizer="adam")


@cache
def swiglu():
    """The trace of two gated layers, the second with a way around it."""
    return traced([hg.SwiGLU(5, 6), hg.Residual(hg.SwiGLU(6, 6)), hg.Linear(6, 3)], 5, rows=4, optimizer="sgd")


def deep():
    """The view of a network of DEEP layers, linear and tanh in turn."""
    layers = [layer for _ in range(DEEP // 2) for layer in (hg.Linear(16, 16, init="glorot_normal"), hg.Tanh())]
    return hg.view(traced(layers, 16, rows=32, classes=16, dtype=np.float32), checks=False, title="100 layers")


def strange():
    """The view of a network whose weights and values are infinite and not numbers."""
    rng = np.random.default_rng(3)
    model = hg.Sequential([hg.Linear(3, 4), hg.ReLU(), hg.Linear(4, 2)])
    params = model.init(0)
    params["0.weight"][0, 0], params["0.weight"][1, 1], params["2.weight"][3, 1] = np.nan, np.inf, -np.inf
    with np.errstate(all="ignore"):
        return hg.view(hg.trace(model, params, rng.standard_normal((5, 3)), np.zeros(5, int)), title="Not finite")


def variants():
    """The view of one network, begun in two ways."""
    _, _, _, x, y = digits()
    models = {label: hg.mlp([64, 12, 10], init=init) for label, init in (("zeros", zeros), ("He", he_normal))}
    return hg.view({label: hg.trace(m, m.init(0), x[:16], y[:16]) for label, m in models.items()}, title="Two begun")


def reported():
    """The view of a training with its report, of a classifier."""
    model, result, frames, x, y = digits()
    predicted = np.argmax(hg.predict(model, result.params, x[1000:]), axis=1)
    share = float(np.mean(predicted == y[1000:]))
    flat = hg.mlp([64, 16, 10], init=zeros)  # of which there is something to find
    made = report(
        "Digits",
        result.history,
        predicted,
        y[1000:],
        labels=[str(i) for i in range(10)],
        best_epoch=4,
        metrics={"accuracy": share, "loss": 0.25},
        baselines={"most frequent": {"accuracy": 0.1, "loss": float("inf")}, "linear": {"accuracy": 0.93, "loss": 0.3}},
        findings=hg.diagnose(flat, flat.init(0), x[:32], y[:32]).findings,
        facts={"rows": f"{len(y):,}", "layers": "64-16-10"},
    )
    return hg.view(frames.last, report=made, title="A training and its report")


def regression():
    """The view of a training with its report, of a regression."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((60, 3))
    y = x @ np.array([1.0, -2.0, 0.5])
    model = hg.mlp([3, 8, 1])
    result = hg.fit(model, (x, y[:, None]), loss="squared_error", epochs=5, seed=0, progress=False)
    trace = hg.trace(model, result.params, x[:16], y[:16, None], loss="squared_error")
    predicted = hg.predict(model, result.params, x)
    made = report("A line", result.history, predicted, y, metrics={"rmse": 0.5}, baselines={"mean": {"rmse": 2.3}})
    return hg.view(trace, report=made, title="A regression and its report")


def nasty():
    """The view of a graph whose every name is markup."""
    g = hg.Graph()
    a, b = g.input(NASTY), g.input("<img src=x onerror=alert(2)>")
    product = ops.sigmoid(a * b).named(f"{NASTY} product")
    return hg.view(g.run(product, **{NASTY: 0.5, b.name: 3.0}).backward(), title=f"{NASTY} & </title>")


def together():
    """Two documents on one page."""
    return hg.View.together([hg.view(small_graph(), title="A graph"), hg.view(swiglu(), title="Gates")], "Examples")


MAKERS = {
    "neuron": lambda: hg.view(neuron(), title="A neuron"),
    "small graph": lambda: hg.view(small_graph(), title="A small graph"),
    "digits": lambda: hg.view(digits()[2].last, title="Digits"),
    "mnist": lambda: hg.view(mnist(), title="784-256-128-10"),
    "swiglu": lambda: hg.view(swiglu(), title="Gated layers"),
    "100 layers": deep,
    "not finite": strange,
    "variants": variants,
    "frames": lambda: hg.view(digits()[2], title="Four epochs"),
    "report": reported,
    "regression": regression,
    "nasty": nasty,
    "together": together,
}


@cache
def document(kind):
    """The view of that kind."""
    return MAKERS[kind]()


@cache
def html(kind):
    """Its page; of "a later version", one whose document is of a version to come."""
    if kind == LATER:
        return altered(document("small graph"), lambda made: made.update(version=3))
    return document(kind).to_html()


def altered(view, change):
    """The page of a view whose document was changed after it was made."""
    made = json.loads(view.to_json())
    change(made)
    return replaced(view, json.dumps(made))


def replaced(view, text):
    """The page of a view with another text where its document was."""
    before, rest = view.to_html().split('id="handgrad-document">', 1)
    return f'{before}id="handgrad-document">{embedded(text)}</script>{rest.split("</script>", 1)[1]}'


def only(kind):
    """(graph, last frame) of its first variant."""
    variant = document(kind).documents[0]["variants"][0]
    return variant["graph"], variant["frames"][-1]
