"""Sequential: names, nesting, caches in reverse, and errors that name the place."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, field

import numpy as np
import pytest

from handgrad.errors import DTypeError, ParameterError, ShapeError
from handgrad.layers import Dropout, Flatten, Layer, LayerNorm, Linear, ReLU, Softmax, Tanh
from handgrad.models import Residual, Sequential

DEEP = Sequential([Linear(3, 4), Residual(Sequential([Linear(4, 4), ReLU()])), Sequential([Tanh(), Linear(4, 2)])])


@dataclass(frozen=True)
class Witness(Layer):
    """The identity, which writes down when it is called and with what cache."""

    mark: str
    log: list[str] = field(compare=False)

    def forward(self, params, x, *, train=False, rng=None):
        self.log.append(f"forward {self.mark} train={train}")
        return x, f"cache of {self.mark}"

    def backward(self, dout, cache):
        self.log.append(f"backward {self.mark} with {cache}")
        return dout, {}


def test_caches_are_handed_back_in_reverse():
    log: list[str] = []
    a, b, c = (Witness(mark, log) for mark in "abc")
    model = Sequential([a, Sequential([b, a]), c])
    out, cache = model.forward({}, np.ones((2, 3)), train=True)
    model.backward(out, cache)
    assert log == [f"forward {mark} train=True" for mark in "abac"] + [
        f"backward {mark} with cache of {mark}" for mark in "caba"
    ]


def test_parameter_gradients_go_no_further_down_than_needed():
    log: list[str] = []
    model = Sequential([Witness("below", log), Linear(3, 3), Witness("above", log)])
    out, cache = model.forward(model.init(0), np.ones((2, 3)))
    log.clear()
    assert model.parameter_gradients(out, cache).keys() == {"1.weight", "1.bias"}
    assert log == ["backward above with cache of above"]
    log.clear()
    _, cache = Sequential([model.layers[0]]).forward({}, out)
    assert Sequential([model.layers[0]]).parameter_gradients(out, cache) == {}
    assert log == ["forward below train=False"]


def test_parameters_are_named_as_pytorch_names_them():
    assert list(DEEP.parameters()) == [
        "0.weight",
        "0.bias",
        "1.layer.0.weight",
        "1.layer.0.bias",
        "2.1.weight",
        "2.1.bias",
    ]
    torch = pytest.importorskip("torch", reason="needs PyTorch: make test EXTRA=torch==2.13.0")
    nn = torch.nn
    theirs = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2, bias=False)))
    ours = Sequential(
        [
            Linear(3, 4, layout="out_in"),
            ReLU(),
            Sequential([LayerNorm(4), Linear(4, 2, bias=False, layout="out_in")]),
        ]
    )
    assert {name: tuple(p.shape) for name, p in theirs.named_parameters()} == {
        name: spec.shape for name, spec in ours.parameters().items()
    }
    params = {name: tensor.detach() for name, tensor in theirs.named_parameters()}
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours.forward(params, x)[0], theirs(x).detach())


def test_values_are_those_of_the_layers_one_after_the_other():
    params, x = DEEP.init(0), np.random.default_rng(1).standard_normal((5, 3))
    h = x @ params["0.weight"] + params["0.bias"]
    h = h + np.maximum(h @ params["1.layer.0.weight"] + params["1.layer.0.bias"], 0)
    expected = np.tanh(h) @ params["2.1.weight"] + params["2.1.bias"]
    np.testing.assert_allclose(DEEP.forward(params, x)[0], expected, rtol=1e-13)


def test_the_empty_sequential_is_the_identity():
    empty, x = Sequential([]), np.random.default_rng(0).standard_normal((2, 3))
    out, cache = empty.forward(empty.init(0), x)
    np.testing.assert_array_equal(out, x)
    dx, grads = empty.backward(x, cache)
    np.testing.assert_array_equal(dx, x)
    assert grads == {} == empty.parameter_gradients(x, cache)
    assert empty.output_shape((2, 3)) == (2, 3)
    assert Sequential([empty, empty]).init(0).flat.shape == (0,)


@pytest.mark.parametrize(
    ("layers", "place", "one", "other"),
    [
        ([Linear(3, 4), Linear(5, 2)], "1", "5 features", "(..., 4)"),
        ([Linear(3, 4), ReLU(), LayerNorm(3)], "2", "3 features", "(..., 4)"),
        ([Linear(3, 4), Residual(Sequential([Linear(6, 6)]))], "1.layer.0", "6 features", "(..., 4)"),
        ([Linear(3, 4), Sequential([Tanh(), Sequential([Linear(7, 1)])])], "1.1.0", "7 features", "(..., 4)"),
        ([Linear(6, 4, flatten=True), Linear(3, 1)], "1", "3 features", "(4,)"),
        ([Linear(6, 4, flatten=True), Linear(3, 1, flatten=True)], "1", "3 features", "(4,)"),
        ([Linear(6, 4, flatten=True), Softmax(axis=2)], "1", "axis=2", "2 axes"),
    ],
)
def test_widths_that_do_not_fit_are_refused_at_once_and_in_their_place(layers, place, one, other):
    with pytest.raises(ShapeError) as error:
        Sequential(layers)
    assert error.value.layer == place
    assert str(error.value).startswith(f"layer {place!r}: ")
    assert one in str(error.value)
    assert other in str(error.value)


def test_data_that_does_not_fit_is_refused_in_its_place():
    params = DEEP.init(0)
    with pytest.raises(ShapeError, match=r"layer '0': x has 5 features, in shape \(2, 5\), but w, in shape \(3, 4\)"):
        DEEP.forward(params, np.ones((2, 5)))
    wrong = {**params, "1.layer.0.weight": np.ones((6, 4))}
    with pytest.raises(ShapeError, match=r"layer '1\.layer\.0': x has 4 features, in shape \(2, 4\), but w.*\(6, 4\)"):
        DEEP.forward(wrong, np.ones((2, 3)))
    free = Sequential([Flatten(), Sequential([Linear(6, 2)])])  # what Flatten gives is known with the data alone
    with pytest.raises(ShapeError, match=r"layer '1\.0': .*takes 6 features.*\(8,\)"):
        free.output_shape((2, 4))
    with pytest.raises(ShapeError, match=r"layer '1\.0': x has 8 features"):
        free.forward(free.init(0), np.ones((1, 2, 4)))
    with pytest.raises(DTypeError, match=r"layer '0': .*float32"):
        DEEP.forward(params, np.ones((2, 3), np.float32))


def test_missing_parameters_are_named_with_their_place():
    params = dict(DEEP.init(0))
    del params["1.layer.0.bias"]
    with pytest.raises(ParameterError, match=r"layer '1': params has no '1\.layer\.0\.bias'"):
        DEEP.forward(params, np.ones((2, 3)))


@pytest.mark.parametrize("wrong", ["relu", ReLU, None, np.tanh, [ReLU()]], ids=str)
def test_what_is_no_layer_is_refused(wrong):
    with pytest.raises(DTypeError, match="1 of Sequential must be a Layer"):
        Sequential([ReLU(), wrong])
    with pytest.raises(DTypeError, match="layer of Residual must be a Layer"):
        Residual(wrong)


def test_any_iterable_of_layers_serves():
    assert Sequential(layer for layer in (Linear(3, 4), ReLU())) == Sequential([Linear(3, 4), ReLU()])


def test_shapes_are_inferred_before_any_data_is_seen():
    assert DEEP.output_shape() == (..., 2)
    assert DEEP.output_shape((3,)) == (2,)
    assert DEEP.output_shape((7, 3)) == (7, 2)
    assert Sequential([Flatten(), Linear(6, 2)]).output_shape((2, 3)) == (2,)
    assert Sequential([ReLU(), Dropout(0.5)]).output_shape() is None


def test_visit_names_every_layer_by_its_place():
    names = []
    DEEP.visit(lambda name, layer, out: names.append((name, type(layer))), DEEP.init(0), np.ones((2, 3)))
    assert [name for name, kind in names if kind is not Residual] == ["0", "1.layer.0", "1.layer.1", "2.0", "2.1"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_keep_what_is_shared(copied):
    a = Linear(3, 3)
    model = Sequential([a, Residual(a), Linear(3, 3)])
    twin = copied(model)
    assert list(twin.parameters()) == list(model.parameters()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert list(Sequential([twin, twin.layers[0]]).parameters()) == [f"0.{name}" for name in twin.parameters()]


def test_two_linear_layers_are_one():
    model, one = Sequential([Linear(5, 7), Linear(7, 3)]), Linear(5, 3)
    params = model.init(0)
    params.flat[...] = np.random.default_rng(1).standard_normal(params.flat.shape)
    x, upstream = np.random.default_rng(2).standard_normal((6, 5)), np.random.default_rng(3).standard_normal((6, 3))
    joined = {
        "weight": params["0.weight"] @ params["1.weight"],
        "bias": params["0.bias"] @ params["1.weight"] + params["1.bias"],
    }
    (out, cache), (expected, expected_cache) = model.forward(params, x), one.forward(joined, x)
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-13)
    dx, expected_dx = model.backward(upstream, cache)[0], one.backward(upstream, expected_cache)[0]
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-12, atol=1e-13)
