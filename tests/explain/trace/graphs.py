"""Graphs to follow: one that has a bit of everything, ones drawn at random, and highway networks that learn."""

import numpy as np

import handgrad as hg
from handgrad import ops

WIDTH, CLASSES = 4, 3


def gate():
    """A small graph to nest: its own gate times the input, and a shift."""
    g = hg.Graph()
    x = g.input("x")
    open_ = ops.sigmoid(x @ g.parameter("v", (WIDTH, WIDTH)) + g.parameter("c", (WIDTH,), "zeros", decays=False))
    g.output((open_.named("open") * x).named("gated"))
    return g


def everything():
    """Sequential, Residual and Graph within each other, a layer used twice, a parameter that two ops read."""
    shared, inner = hg.Linear(WIDTH, WIDTH), gate()
    g = hg.Graph()
    x = g.input("x")
    h = g.apply(shared, x, name="h")
    s = g.parameter("s", (WIDTH,), hg.initializers.ones)
    block = g.apply(hg.Sequential([hg.LayerNorm(WIDTH), shared, hg.Residual(hg.Tanh())]), h * s, name="block")
    nested = g.apply(inner, block, name="nested")
    again = g.apply(inner, nested - h, name="again")
    square = (again * again * s).named("square")
    centred = square - ops.mean(square, axis=-1, keepdims=True)
    g.output((ops.maximum(centred, 0.25 * block) + ops.leaky_relu(h, 0.1)).named("out"))
    return hg.Sequential([hg.Linear(5, WIDTH), hg.Residual(g), hg.ReLU(), hg.Linear(WIDTH, CLASSES)])


ONE = {
    "linear": lambda g, x: hg.Linear(WIDTH, WIDTH)(x),
    "matmul": lambda g, x: x @ new(g, (WIDTH, WIDTH)) + new(g, (WIDTH,)),
    "scale": lambda g, x: x * new(g, (WIDTH,)),
    "number": lambda g, x: 1.5 - x / 2.0,
    "ops.linear": lambda g, x: ops.linear(x, new(g, (WIDTH, WIDTH)), new(g, (WIDTH,)), layout="out_in"),
    "ops.glu": lambda g, x: ops.glu(x, new(g, (WIDTH, WIDTH)), new(g, (WIDTH, WIDTH))),
    "ops.layer_norm": lambda g, x: ops.layer_norm(x, new(g, (WIDTH,)), new(g, (WIDTH,))),
    "relu": lambda g, x: ops.relu(x),
    "leaky": lambda g, x: ops.leaky_relu(x, alpha=0.2),
    "sigmoid": lambda g, x: ops.sigmoid(x),
    "tanh": lambda g, x: hg.Tanh()(x),
    "gelu": lambda g, x: ops.gelu(x),
    "swish": lambda g, x: ops.swish(x, 2.0),
    "softmax": lambda g, x: ops.softmax(x, 0.5),
    "swiglu": lambda g, x: hg.SwiGLU(WIDTH, WIDTH)(x),
    "residual": lambda g, x: hg.Residual(hg.mlp([WIDTH, 3, WIDTH], "tanh"))(x),
    "graph": lambda g, x: g.apply(gate(), x),
    "centred": lambda g, x: x - ops.mean(x, axis=-1, keepdims=True),
    "of weights": lambda g, x: x @ ops.tanh(new(g, (WIDTH, WIDTH)) * new(g, (WIDTH, 1))),
    "reshaped": lambda g, x: ops.reshape(ops.reshape(x, (-1, 2, WIDTH // 2)), (-1, WIDTH)),
    "dropped": lambda g, x: ops.dropout(x, rate=0.4, rng=5),
    "square": lambda g, x: x * x,
}
TWO = (ops.add, ops.subtract, ops.multiply, ops.maximum)


def new(g, shape):
    return g.parameter(f"p{len(g.nodes)}", shape, hg.initializers.glorot_uniform if len(shape) > 1 else normal)


def normal(rng, shape):
    return rng.normal(size=shape)


def drawn(seed):
    """A graph of eight to twenty ops and layers on `x`, all of which lead to its output."""
    rng = np.random.default_rng(seed)
    g = hg.Graph()
    nodes = [g.input("x")]
    read = {0}
    for _ in range(int(rng.integers(8, 20))):
        if rng.random() < 0.7:
            k = int(rng.integers(len(nodes)))
            nodes.append(ONE[str(rng.choice(list(ONE)))](g, nodes[k]))
            read.add(k)
        else:
            k, j = rng.integers(len(nodes), size=2)
            nodes.append(TWO[rng.integers(len(TWO))](nodes[k], nodes[j]))
            read |= {int(k), int(j)}
    left = [node for k, node in enumerate(nodes) if k not in read]
    total = left[0]
    for node in left[1:]:
        total = total + node
    g.output(total)
    return g


def highway(seed, depth, width=16, n_in=6, classes=4):
    """Highway layers between two linear ones, all written by hand: carry f(x) + (1 - carry) x."""
    rng = np.random.default_rng(seed)
    g = hg.Graph()
    h = ops.tanh(hg.Linear(n_in, width)(g.input("x")))
    for k in range(depth):
        v, c = g.parameter(f"v{k}", (width, width)), g.parameter(f"c{k}", (width,), "zeros", decays=False)
        carry = ops.sigmoid(h @ v + c).named(f"carry{k}")
        f = g.apply(hg.Linear(width, width), h, name=f"content{k}")
        f = (ops.relu, ops.tanh)[rng.integers(2)](f).named(f"act{k}")
        h = carry * f + (1 - carry) * h
    hg.Linear(width, classes)(h).named("head")
    return g
