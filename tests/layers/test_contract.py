"""What is asked of every layer in the table."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest

import handgrad
from handgrad.errors import ParameterError, ShapeError
from handgrad.layers import Layer
from handgrad.models import Container
from layers.table import BATCH, LAYERS, Case, complex_step

every_layer = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def arrays_in(cache: Any) -> list[np.ndarray]:
    if isinstance(cache, np.ndarray):
        return [cache]
    within = cache.values() if isinstance(cache, dict) else cache if isinstance(cache, tuple | list) else ()
    return [array for item in within for array in arrays_in(item)]


def state(layer: Layer) -> dict[str, Any]:
    """All that a layer holds, those within included."""
    held = {name: copy.deepcopy(value) for name, value in vars(layer).items() if not name.startswith("layer")}
    return held | {f"in {name}": state(child) for name, child in getattr(layer, "children", dict)().items()}


def test_the_table_has_every_layer():
    subclasses, known = [Layer], set()
    while subclasses:
        kind = subclasses.pop()
        subclasses += kind.__subclasses__()
        if kind.__module__.startswith(("handgrad.layers", "handgrad.models")) and vars(handgrad.layers).get(
            kind.__name__, vars(handgrad.models).get(kind.__name__)
        ):
            known.add(kind)
    assert known - {Layer, Container, getattr(handgrad.models, "Graph", None)} == {
        type(case.layer) for case in LAYERS.values()
    }


@every_layer
@both_dtypes
def test_init_gives_the_shapes_and_the_dtype(case: Case, dtype):
    params = case.layer.init(np.random.default_rng(0), dtype)
    assert {name: array.shape for name, array in params.items()} == case.shapes
    assert list(params) == list(case.layer.parameters())
    assert all(array.dtype == dtype for array in params.values())
    assert np.isfinite(params.flat).all()


@every_layer
def test_init_depends_on_the_seed_alone(case: Case):
    a, b, c = case.layer.init(7), case.layer.init(np.random.default_rng(7)), case.layer.init(8)
    np.testing.assert_array_equal(a.flat, b.flat)
    assert not any(spec.decays and np.array_equal(a[name], c[name]) for name, spec in a.specs.items())


@every_layer
def test_backward_agrees_with_the_complex_step(case: Case):
    params, x, upstream = case.params(), case.x(), case.upstream()
    dx, grads = case.layer.backward(upstream, case.forward(params, x)[1])

    def of_x(z):
        return np.sum(upstream * case.forward(params.like(params.flat.astype(complex)), z)[0])

    def of_params(z):
        return np.sum(upstream * case.forward(params.like(z), x.astype(complex))[0])

    np.testing.assert_allclose(dx, complex_step(of_x, x), rtol=1e-11, atol=1e-12)
    if case.shapes:
        numeric = complex_step(of_params, params.flat)
        np.testing.assert_allclose(params.pack(grads).flat, numeric, rtol=1e-11, atol=1e-12)
        assert all(np.any(gradient) for gradient in grads.values()), "a gradient of 0 proves nothing"


@every_layer
@both_dtypes
def test_shapes_and_dtypes_of_output_and_gradients(case: Case, dtype):
    params, x = case.params(dtype), case.x(dtype)
    out, cache = case.forward(params, x)
    assert out.shape == (BATCH, *case.out)
    assert out.dtype == dtype
    dx, grads = case.layer.backward(case.upstream(dtype), cache)
    assert (dx.shape, dx.dtype) == (x.shape, dtype)
    assert {name: (g.shape, g.dtype) for name, g in grads.items()} == {n: (s, dtype) for n, s in case.shapes.items()}


@every_layer
def test_parameter_gradients_are_backwards_bit_by_bit(case: Case):
    _, cache = case.forward(case.params(), case.x())
    alone = case.layer.parameter_gradients(case.upstream(), cache)
    _, grads = case.layer.backward(case.upstream(), cache)
    assert alone.keys() == grads.keys()
    for name in grads:
        np.testing.assert_array_equal(alone[name], grads[name])


@every_layer
def test_nothing_given_is_written_to_and_a_cache_serves_twice(case: Case):
    params, x, upstream = case.params(), case.x(), case.upstream()
    for array in (params.flat, x, upstream):
        array.setflags(write=False)
    params = params.like(params.flat)  # views take the flag when they are made
    out, cache = case.forward(params, x)
    held = arrays_in(cache)
    for array in held:
        array.setflags(write=False)
    before = [array.copy() for array in held]
    dx, grads = case.layer.backward(upstream, cache)
    dx_again, grads_again = case.layer.backward(upstream, cache)
    np.testing.assert_array_equal(dx, dx_again)
    for name in grads:
        np.testing.assert_array_equal(grads[name], grads_again[name])
    for array, old in zip(held, before, strict=True):
        np.testing.assert_array_equal(array, old)
    np.testing.assert_array_equal(out, case.forward(params, x)[0])
    for given, original in ((x, case.x()), (upstream, case.upstream()), (params.flat, case.params().flat)):
        np.testing.assert_array_equal(given, original)


@every_layer
def test_a_cache_belongs_to_its_own_call(case: Case):
    params, x, upstream = case.params(), case.x(), case.upstream()
    _, cache = case.forward(params, x)
    expected, _ = case.layer.backward(upstream, cache)
    _, other = case.forward(params, x + 1.0)
    case.layer.backward(2 * upstream, other)
    np.testing.assert_array_equal(case.layer.backward(upstream, cache)[0], expected)


@every_layer
def test_layers_are_frozen_and_keep_nothing(case: Case):
    before = state(case.layer)
    params = case.params()
    _, cache = case.forward(params, case.x())
    case.layer.backward(case.upstream(), cache)
    case.layer.parameter_gradients(case.upstream(), cache)
    case.layer.visit(lambda *_: None, params, case.x(), train=case.train, rng=np.random.default_rng(4))
    assert state(case.layer) == before
    for name in (*(f.name for f in fields(case.layer)), "anything"):
        with pytest.raises(FrozenInstanceError):
            setattr(case.layer, name, 1)


@every_layer
def test_output_shape_is_that_of_the_output(case: Case):
    assert case.layer.output_shape(case.sample) == case.out
    assert case.layer.output_shape() == case.unknown
    assert case.layer.output_shape(None) == case.unknown


@every_layer
@pytest.mark.parametrize("sample", [(), (3,), (4,), (6,), (1,), (2, 3), (3, 2), (2, 2, 3)], ids=str)
def test_output_shape_and_forward_accept_and_refuse_alike(case: Case, sample):
    x = np.random.default_rng(0).standard_normal((BATCH, *sample))
    try:
        expected = case.forward(case.params(), x)[0].shape[1:]
    except ShapeError:
        with pytest.raises(ShapeError):
            case.layer.output_shape(sample)
    else:
        assert case.layer.output_shape(sample) == expected


@every_layer
@pytest.mark.parametrize("wrong", [(BATCH + 1,), (BATCH, 1), (1, 1), ()], ids=str)
def test_an_upstream_gradient_is_never_broadcast(case: Case, wrong):
    if case in (LAYERS["dropout at rest"], LAYERS["nothing"]):
        return  # no op at all: what comes in goes out
    _, cache = case.forward(case.params(), case.x())
    with pytest.raises(ShapeError, match="dout"):
        case.layer.backward(np.ones(wrong), cache)


@every_layer
def test_equal_layers_are_equal_in_every_way(case: Case):
    for twin in (copy.deepcopy(case.layer), pickle.loads(pickle.dumps(case.layer)), copy.copy(case.layer)):
        assert twin == case.layer
        assert hash(twin) == hash(case.layer)
        assert repr(twin) == repr(case.layer)
        assert type(case.layer).__name__ in repr(twin)
        assert twin.parameters() == case.layer.parameters()
        np.testing.assert_array_equal(
            case.forward(case.params(), case.x())[0],
            twin.forward(case.params(), case.x(), train=case.train, rng=np.random.default_rng(4))[0],
        )


def test_different_layers_differ():
    layers = [case.layer for case in LAYERS.values()]
    for i, a in enumerate(layers):
        for b in layers[i + 1 :]:
            assert (a == b) == (repr(a) == repr(b))
            assert a != b or hash(a) == hash(b)


@every_layer
def test_visit_sees_every_output_on_the_way_to_the_last(case: Case):
    seen: list[tuple[str, Layer, np.ndarray]] = []
    params, x = case.params(), case.x()
    out = case.layer.visit(
        lambda *args: seen.append(args), params, x, train=case.train, rng=np.random.default_rng(4), name="here"
    )
    np.testing.assert_array_equal(out, case.forward(params, x)[0])
    assert all(name.split(".")[0] == "here" for name, _, _ in seen)
    if seen:
        np.testing.assert_array_equal(seen[-1][2], out)


@every_layer
def test_a_missing_parameter_is_named(case: Case):
    params = dict(case.params())
    for name in case.shapes:
        with pytest.raises(ParameterError, match=name):
            case.forward({key: array for key, array in params.items() if key != name}, case.x())
