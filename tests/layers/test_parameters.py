"""Parameters: one flat vector with named views."""

import copy
import pickle

import numpy as np
import pytest

from handgrad.errors import DTypeError, ParameterError, ShapeError
from handgrad.initializers import ones, zeros
from handgrad.layers import GLU, LayerNorm, Linear, Parameter, Parameters
from handgrad.models import Sequential

MODEL = Sequential([Linear(3, 4), LayerNorm(4), GLU(4, 2), Linear(2, 2, layout="out_in")])
SIZE = 12 + 4 + 4 + 4 + 2 * (8 + 2) + 4 + 2


@pytest.fixture
def params():
    return MODEL.init(0)


def test_views_and_vector_share_memory(params):
    assert params.flat.shape == (SIZE,)
    assert all(np.shares_memory(view, params.flat) for view in params.values())
    params["0.weight"][1, 2] = 7.0
    assert params.flat[1 * 4 + 2] == 7.0
    params.flat[:] = np.arange(SIZE)
    np.testing.assert_array_equal(np.concatenate([view.ravel() for view in params.values()]), np.arange(SIZE))


def test_it_is_a_mapping_in_the_order_of_the_model(params):
    assert list(params) == list(MODEL.parameters())
    assert len(params) == 10
    assert "0.weight" in params
    assert "weight" not in params
    with pytest.raises(KeyError):
        params["weight"]
    with pytest.raises(TypeError):
        params["0.weight"] = np.zeros((3, 4))


def test_like_puts_the_names_on_another_vector(params):
    other = params.like(np.zeros(SIZE, np.float32))
    assert {name: view.shape for name, view in other.items()} == {name: view.shape for name, view in params.items()}
    assert other["0.bias"].dtype == np.float32
    for wrong in (SIZE - 1, SIZE + 1, 0):
        with pytest.raises(ShapeError, match=rf"\({SIZE},\).*\({wrong},\)"):
            params.like(np.zeros(wrong))
    with pytest.raises(ShapeError, match="flat"):
        params.like(np.zeros((SIZE, 1)))


def test_views_of_a_strided_vector_are_still_views(params):
    every_second = np.zeros(2 * SIZE)[::2]
    other = params.like(every_second)
    other["0.weight"][...] = 1
    assert every_second.sum() == 12


def test_pack_copies_in_any_order(params):
    arrays = {name: np.full(view.shape, i) for i, (name, view) in enumerate(params.items())}
    packed = params.pack(dict(reversed(arrays.items())))
    assert list(packed) == list(params)
    for name, array in arrays.items():
        np.testing.assert_array_equal(packed[name], array)
        assert not np.shares_memory(packed[name], array)
    assert not np.shares_memory(packed.flat, params.flat)
    assert np.all(params.pack({**arrays, "0.bias": None})["0.bias"] == 0)


def test_pack_refuses_other_names_and_shapes(params):
    arrays = dict(params)
    with pytest.raises(ParameterError, match=r"missing \['0.bias'\], unknown \[\]"):
        params.pack({name: array for name, array in arrays.items() if name != "0.bias"})
    with pytest.raises(ParameterError, match=r"missing \[\], unknown \['9.bias'\]"):
        params.pack({**arrays, "9.bias": np.zeros(1)})
    for wrong in ((3,), (1,), (4, 1), ()):  # the last three would broadcast
        with pytest.raises(ShapeError, match=r"'0.bias' must have shape \(4,\), got"):
            params.pack({**arrays, "0.bias": np.zeros(wrong)})


def test_decays_marks_weights_alone(params):
    mask = params.like(params.decays)
    decayed = {name for name, view in mask.items() if np.all(view == 1)}
    assert decayed == {"0.weight", "2.content.weight", "2.gate.weight", "3.weight"}
    assert all(np.all(mask[name] == 0) for name in mask.keys() - decayed)
    assert MODEL.init(0, np.float32).decays.dtype == np.float32


def test_draw_takes_each_initializer_in_turn():
    specs = {
        "a": Parameter((2, 3), ones),
        "b": Parameter((), zeros),
        "c": Parameter((4,), lambda rng, s: rng.random(s)),
    }
    params = Parameters.draw(specs, 5, np.float32)
    np.testing.assert_array_equal(params.flat[:7], [1] * 6 + [0])
    np.testing.assert_array_equal(params["c"], np.random.default_rng(5).random(4).astype(np.float32))
    assert params["b"].shape == ()
    with pytest.raises(DTypeError):
        Parameters.draw(specs, 5, np.int32)


def test_a_generator_is_drawn_from_and_a_seed_is_not_kept():
    rng = np.random.default_rng(0)
    assert not np.array_equal(MODEL.init(rng).flat, MODEL.init(rng).flat)
    np.testing.assert_array_equal(MODEL.init(0).flat, MODEL.init(0).flat)
    np.testing.assert_allclose(MODEL.init(0, np.float32).flat, MODEL.init(0).flat, rtol=1e-7)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda params: pickle.loads(pickle.dumps(params))])
def test_copies_are_apart_and_their_views_still_share(params, copied):
    other = copied(params)
    np.testing.assert_array_equal(other.flat, params.flat)
    other["0.weight"][...] = 3
    assert np.all(other.flat[:12] == 3)
    assert not np.any(params["0.weight"] == 3)
    assert other.specs == params.specs


def test_no_parameters_at_all():
    params = Parameters({}, np.zeros(0))
    assert len(params) == 0
    assert params.pack({}).flat.shape == (0,)
    assert params.decays.shape == (0,)
    assert "0 float64 numbers" in repr(params)


def test_repr_says_names_shapes_and_size(params):
    assert "'0.weight': (3, 4)" in repr(params)
    assert f"{SIZE} float64 numbers" in repr(params)


def test_views_of_a_torch_vector(params):
    torch = pytest.importorskip("torch", reason="needs PyTorch: make test EXTRA=torch==2.13.0")
    tensors = params.like(torch.from_numpy(params.flat.copy()))
    tensors["0.bias"][...] = 2.0
    assert float(tensors.flat[12:16].sum()) == 8.0
    packed = tensors.pack({name: view + 1 for name, view in tensors.items()})
    assert isinstance(packed.flat, torch.Tensor)
    torch.testing.assert_close(packed.flat, tensors.flat + 1)
    np.testing.assert_array_equal(tensors.decays.numpy(), params.decays)
