"""Random graphs: gradients against complex steps, PyTorch and a model of containers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.architectures import models
from handgrad import ops
from handgrad.models import Graph, Sequential
from soak import FACTOR, examples

DRAWN = settings(max_examples=examples(40), derandomize=FACTOR == 1)
N = 3  # every value is an (N, N) matrix, a row or a number, which broadcast together
SHAPES = [(N, N), (1, N), (N, 1), ()]

UNARY = ["tanh", "sigmoid", "swish", "negative", "softmax", "square", "mean", "sum", "bell"]
KINKED = ["relu", "max", "leaky_relu"]
BINARY = ["add", "subtract", "multiply", "divide", "matmul"]


def ours(name: str, full: Any, *nodes: Any) -> Any:
    x, y = nodes[0], nodes[-1]
    match name:
        case "square":
            return x**2
        case "sum":
            return ops.sum(x) * 0.1
        case "bell":
            return ops.exp(-(x * x))
        case "softmax":
            return ops.softmax(x * full, temperature=2.0)
        case "max":
            return ops.max(x)
        case "divide":
            return x / (y * y + 1)
        case "matmul":
            return (x * full) @ (y * full)
    return getattr(ops, name)(*nodes)


def theirs(torch: Any, name: str, *values: Any) -> Any:
    x, y = values[0], values[-1]
    ones = torch.ones((N, N), dtype=torch.float64)
    table = {
        "tanh": lambda: torch.tanh(x),
        "sigmoid": lambda: torch.sigmoid(x),
        "swish": lambda: torch.nn.functional.silu(x),
        "negative": lambda: -x,
        "softmax": lambda: torch.softmax(x * ones / 2, -1),
        "square": lambda: x**2,
        "mean": lambda: x.mean(),
        "sum": lambda: x.sum() * 0.1,
        "bell": lambda: torch.exp(-x * x),
        "relu": lambda: torch.relu(x),
        "max": lambda: torch.amax(x),
        "leaky_relu": lambda: torch.nn.functional.leaky_relu(x),
        "add": lambda: x + y,
        "subtract": lambda: x - y,
        "multiply": lambda: x * y,
        "divide": lambda: x / (y * y + 1),
        "matmul": lambda: (x * ones) @ (y * ones),
        "maximum": lambda: torch.maximum(x, y),
    }
    return table[name]()


@st.composite
def programs(draw: Any, kinked: bool) -> tuple[list[tuple[int, ...]], list[tuple[str, tuple[int, ...]]]]:
    """(the inputs' shapes, steps (name, numbers of the values it reads)): later steps may read any value before."""
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    unary = st.sampled_from(UNARY + (KINKED if kinked else []))
    binary = st.sampled_from(BINARY + (["maximum"] if kinked else []))
    steps: list[tuple[str, tuple[int, ...]]] = []
    for k in range(draw(st.integers(1, 12))):
        value = st.integers(0, len(shapes) + k - 1)
        if draw(st.booleans()):
            steps.append((draw(binary), (draw(value), draw(value))))
        else:
            steps.append((draw(unary), (draw(value),)))
    return shapes, steps


def build(shapes: Any, steps: Any) -> tuple[Graph, Any]:
    g = Graph()
    full = g.input("full")  # ones, which make a matrix of anything
    nodes = [g.input(f"x{k}") for k in range(len(shapes))]
    for name, reads in steps:
        nodes.append(ours(name, full, *(nodes[k] for k in reads)))
    # what nothing else reads is read here, so that every step has a part in the output
    read = {k for _, reads in steps for k in reads}
    loose = [node for k, node in enumerate(nodes) if k not in read]
    out = ops.sum(loose[0])
    for node in loose[1:]:
        out = out + ops.sum(node)
    return g, out


def inputs(shapes: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(len(shapes))
    return {f"x{k}": rng.normal(size=shape) for k, shape in enumerate(shapes)}


FULL = np.ones((N, N))


@DRAWN
@given(programs(kinked=False))
def test_gradients_are_those_of_the_complex_step(program: Any) -> None:
    shapes, steps = program
    g, out = build(shapes, steps)
    values = inputs(shapes)
    run = g.run(out, full=FULL, **values).backward()
    for name, x in values.items():
        gradient = np.asarray(run[name].gradient)
        assert gradient.shape == x.shape
        for at in np.ndindex(x.shape):
            moved = {key: each.astype(complex) for key, each in values.items()}
            moved[name][at] += 1e-30j
            with np.errstate(all="ignore"):
                expected = g.run(out, full=FULL + 0j, **moved).value.imag / 1e-30
            assert gradient[at] == pytest.approx(expected, rel=1e-9, abs=1e-11)


@DRAWN
@given(programs(kinked=True))
def test_gradients_are_those_of_pytorch(program: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    shapes, steps = program
    g, out = build(shapes, steps)
    values = inputs(shapes)
    run = g.run(out, full=FULL, **values).backward()
    tensors = [torch.tensor(x, requires_grad=True) for x in values.values()]
    made = list(tensors)
    for name, reads in steps:
        made.append(theirs(torch, name, *(made[k] for k in reads)))
    read = {k for _, reads in steps for k in reads}
    total = sum(each.sum() for k, each in enumerate(made) if k not in read)
    total.backward()
    assert run.value == pytest.approx(total.item(), rel=1e-11, abs=1e-12)
    for name, tensor in zip(values, tensors, strict=True):
        np.testing.assert_allclose(run[name].gradient, tensor.grad.numpy(), rtol=1e-9, atol=1e-11)


@DRAWN
@given(programs(kinked=True))
def test_downstream_is_upstream_times_local_and_a_second_run_is_the_first(program: Any) -> None:
    g, out = build(*program)
    values = inputs(program[0])
    run, again = g.run(out, full=FULL, **values).backward(), g.run(out, full=FULL, **values).backward()
    sums: dict[str, Any] = {}
    for edge, other in zip(run.edges, again.edges, strict=True):
        product = edge.upstream @ edge.jacobian
        np.testing.assert_allclose(product, edge.downstream, rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(edge.downstream, other.downstream)
        sums[edge.source.name] = sums.get(edge.source.name, 0) + edge.downstream
    for name, total in sums.items():
        np.testing.assert_allclose(run[name].gradient, total, rtol=1e-10, atol=1e-12)


@DRAWN
@given(models())
def test_the_graph_of_a_random_model_is_the_model(model: Sequential) -> None:
    graph, params = Graph.of(model), model.init(0)
    x = np.random.default_rng(1).normal(size=(4, 2, 2))
    out, cache = model.forward(params, x)
    found, found_cache = graph.forward(params, x)
    np.testing.assert_array_equal(found, out)
    dout = np.random.default_rng(2).normal(size=out.shape)
    (dx, grads), (found_dx, found_grads) = model.backward(dout, cache), graph.backward(dout, found_cache)
    np.testing.assert_allclose(found_dx, dx, rtol=1e-12, atol=1e-13)
    for name, gradient in grads.items():
        np.testing.assert_allclose(found_grads[name], gradient, rtol=1e-12, atol=1e-13)
