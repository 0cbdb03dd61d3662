"""A model in one file: what comes back is what went in, and nothing else is taken for a model."""

import json
import os
import stat

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import handgrad as hg
from handgrad.errors import ParameterError, ShapeError
from handgrad.formats import FormatError, load, replacing, save
from handgrad.formats.architecture import LAYERS, build, describe
from handgrad.initializers import NAMED, constant
from soak import examples

floats = st.floats(-10, 10, allow_subnormal=False)
inits = st.sampled_from(sorted(NAMED)) | floats.map(constant)
flags = st.booleans()


def elementwise():
    return st.one_of(
        st.sampled_from([hg.Identity(), hg.Sigmoid(), hg.Tanh(), hg.ReLU()]),
        st.builds(hg.LeakyReLU, floats),
        st.builds(hg.Swish, floats),
        st.builds(hg.GELU, st.sampled_from(["none", "tanh"])),
        st.builds(hg.Softmax, st.floats(0.1, 5)),
        st.builds(hg.Dropout, st.floats(0, 0.9)),
    )


def square(n):
    """Layers from n features to n."""
    gated = st.sampled_from([hg.GLU, hg.SwiGLU, hg.Bilinear, hg.ReGLU, hg.GEGLU])
    return st.one_of(
        elementwise(),
        st.builds(
            hg.Linear,
            st.just(n),
            st.just(n),
            bias=flags,
            layout=st.sampled_from(["in_out", "out_in"]),
            flatten=flags,
            init=inits,
        ),
        st.builds(lambda kind, bias, init: kind(n, n, bias=bias, init=init), gated, flags, inits),
        st.builds(hg.LayerNorm, st.just(n), st.floats(1e-8, 1)),
    )


@st.composite
def models(draw):
    """Containers in containers, with layers that stand in several places."""
    pool = draw(st.lists(square(draw(st.integers(1, 4))), min_size=1, max_size=5))
    for _ in range(draw(st.integers(1, 4))):
        chosen = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4))
        pool.append(hg.Sequential(chosen) if draw(flags) else hg.Residual(hg.Sequential(chosen)))
    return pool[-1]


def places(layer):
    """Every layer in a model, containers included, in a fixed order, by identity."""
    within = layer.children().values() if hasattr(layer, "children") else ()
    return [id(layer), *(place for child in within for place in places(child))]


def sharing(model):
    seen = {}
    return [seen.setdefault(place, len(seen)) for place in places(model)]


@settings(max_examples=examples(60))
@given(models(), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32))
def test_round_trip(tmp_path_factory, model, dtype, seed):
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    params = model.init(seed, dtype)
    save(model, params, path, note="ä", numbers=[1, 2.5])
    loaded, again, metadata = load(path)
    assert loaded == model
    assert sharing(loaded) == sharing(model)
    assert list(again) == list(params)
    assert again.flat.dtype == dtype or not params  # no array, no dtype
    np.testing.assert_array_equal(again.flat, params.flat)
    assert metadata == {"note": "ä", "numbers": [1, 2.5]}


def test_every_layer_of_the_library_can_be_saved():
    public = {
        name for name in dir(hg) if isinstance(getattr(hg, name), type) and issubclass(getattr(hg, name), hg.Layer)
    }
    assert public - {"Layer"} <= LAYERS.keys()


def test_outputs_are_those_of_the_model_saved(tmp_path):
    model = hg.mlp([3, 5, 2], "gelu", layer_norm=True)
    params, x = model.init(0), np.random.default_rng(1).standard_normal((4, 3))
    save(model, params, tmp_path / "m.safetensors")
    loaded, again, _ = load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.forward(again, x)[0], model.forward(params, x)[0])


def test_tensors_open_in_any_reader(tmp_path):
    model = hg.Sequential([hg.Linear(3, 2, layout="out_in")])
    save(model, model.init(0), tmp_path / "m.safetensors")
    tensors = safetensors.numpy.load_file(tmp_path / "m.safetensors")
    assert {name: array.shape for name, array in tensors.items()} == {"0.weight": (2, 3), "0.bias": (2,)}


def test_a_plain_mapping_is_packed(tmp_path):
    model = hg.Linear(2, 1)
    save(model, {"bias": np.zeros(1), "weight": np.ones((2, 1))}, tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors")[1]["weight"].tolist() == [[1], [1]]


def test_parameters_of_another_library(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: make test EXTRA=torch==2.13.0")
    model = hg.Linear(2, 1)
    save(model, {"weight": torch.ones(2, 1, requires_grad=True), "bias": torch.zeros(1)}, tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors")[1].flat.dtype == np.float32


def test_an_initializer_of_ones_own_is_lost_and_says_so(tmp_path):
    model = hg.Sequential([hg.Linear(2, 1, init=lambda rng, shape: np.ones(shape))])
    for _ in range(2):  # what was loaded can be saved again
        save(model, {"0.weight": np.ones((2, 1)), "0.bias": np.ones(1)}, tmp_path / "m.safetensors")
        model, params, _ = load(tmp_path / "m.safetensors")
    assert params["0.weight"].tolist() == [[1], [1]]
    with pytest.raises(FormatError, match="function of your own"):
        model.init(0)


class Scale(hg.Layer):
    pass


class Linear(hg.Linear):
    """Of the same name as the library's, and not the same."""


@pytest.mark.parametrize("layer", [Scale(), Linear(2, 2)])
def test_a_layer_of_ones_own_is_refused_by_place(tmp_path, layer):
    model = hg.Sequential([hg.ReLU(), hg.Residual(hg.Sequential([layer]))])
    with pytest.raises(FormatError, match=r"layer '1.layer.0': .*not one of the library's layers"):
        save(model, {}, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_not_written(tmp_path):
    model, path = hg.Linear(2, 1), tmp_path / "m.safetensors"
    good = {"weight": np.ones((2, 1)), "bias": np.ones(1)}
    save(model, good, path)
    before = path.read_bytes()
    with pytest.raises(ParameterError, match="missing"):
        save(model, {"weight": good["weight"]}, path)
    with pytest.raises(ShapeError):
        save(model, good | {"weight": np.ones((1, 2))}, path)
    with pytest.raises(FormatError, match="int64"):
        save(model, good | {"bias": np.ones(1, int)}, path)
    with pytest.raises(FormatError, match="metadata"):
        save(model, good, path, thing=object())
    with pytest.raises(FormatError, match="metadata"):
        save(model, good, path, loss=float("nan"))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def write(path, architecture, tensors, **header):
    content = {"version": 1, "architecture": architecture, "metadata": {}} | header
    path.write_bytes(safetensors.numpy.save(tensors, {"handgrad": json.dumps(content)}))
    return path


GOOD = {"weight": np.ones((2, 1)), "bias": np.ones(1)}
LINEAR = describe(hg.Linear(2, 1))[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99, and this Handgrad reads 1"),
        ({"version": None}, "version None"),
        ({"architecture": None}, "list of layers"),
        ({"architecture": []}, "list of layers"),
        ({"architecture": [1]}, "unknown type 1"),
        ({"architecture": [LINEAR | {"type": "Convolution"}]}, "unknown type 'Convolution'"),
        ({"architecture": [LINEAR | {"type": ["Linear"]}]}, "unknown type"),
        ({"architecture": [LINEAR | {"n_in": 3}]}, r"'weight' must have shape \(3, 1\)"),
        ({"architecture": [LINEAR | {"n_in": 10**30}]}, "must have shape"),
        ({"architecture": [LINEAR | {"n_in": "2"}]}, "n_in must be of type int"),
        ({"architecture": [LINEAR | {"n_in": True}]}, "n_in must be of type int"),
        ({"architecture": [LINEAR | {"n_in": -2}]}, "at least 1"),
        ({"architecture": [LINEAR | {"bias": 1}]}, "bias must be of type bool"),
        ({"architecture": [LINEAR | {"bias": False}]}, r"unknown \['bias'\]"),
        ({"architecture": [LINEAR | {"layout": "sideways"}]}, "layout"),
        ({"architecture": [LINEAR | {"initializer": "os.system"}]}, "initializer"),
        ({"architecture": [LINEAR | {"initializer": {"constant": 10**400}}]}, "layer 0"),
        ({"architecture": [LINEAR | {"colour": 1}]}, r"unknown \['colour'\]"),
        ({"architecture": [{"type": "Linear"}]}, "missing"),
        ({"architecture": [{"type": "Sequential", "layers": [0]}]}, "refers to 0"),
        ({"architecture": [{"type": "Sequential", "layers": [-1]}]}, "refers to -1"),
        ({"architecture": [LINEAR, {"type": "Sequential", "layers": 0}]}, "refers to"),
        ({"architecture": [LINEAR, {"type": "Residual", "layer": False}]}, "refers to False"),
        ({"architecture": [LINEAR, {"type": "Residual", "layer": 0}]}, "layer 1"),
        ({"metadata": []}, "not a mapping"),
    ],
)
def test_files_that_are_no_models(tmp_path, change, message):
    header = {"architecture": [LINEAR]} | change
    path = write(tmp_path / "m.safetensors", header.pop("architecture"), GOOD, **header)
    with pytest.raises(FormatError, match=message) as caught:
        load(path)
    assert "m.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "without an architecture"),
        ({"format": "pt"}, "without an architecture"),
        ({"handgrad": "{"}, "not JSON"),
        ({"handgrad": "[" * 100_000}, "not JSON"),
        ({"handgrad": "1"}, "version None"),
    ],
)
def test_metadata_that_is_of_no_model(tmp_path, metadata, message):
    (tmp_path / "m").write_bytes(safetensors.numpy.save(GOOD, metadata))
    with pytest.raises(FormatError, match=message):
        load(tmp_path / "m")


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = hg.mlp([3, 4, 2])
    for name in "ab":
        save(model, model.init(0), tmp_path / name, a=1, b=2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_parameters_missing_and_unknown_are_named(tmp_path):
    path = write(tmp_path / "m.safetensors", [LINEAR], {"weight": GOOD["weight"], "scale": np.ones(1)})
    with pytest.raises(FormatError, match=r"missing \['bias'\], unknown \['scale'\]"):
        load(path)


def test_parameters_of_mixed_or_odd_types(tmp_path):
    path = write(tmp_path / "m.safetensors", [LINEAR], GOOD | {"bias": np.ones(1, np.float32)})
    with pytest.raises(FormatError, match="all of one type"):
        load(path)
    path = write(tmp_path / "m.safetensors", [LINEAR], {name: array.astype(int) for name, array in GOOD.items()})
    with pytest.raises(FormatError, match="I64"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff" * 64, b"\x80\x00\x00\x00\x00\x00\x00\x00{}"])
def test_files_that_are_no_safetensors(tmp_path, content):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="not a readable safetensors file"):
        load(path)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.safetensors")
    with pytest.raises(FormatError, match="folder"):
        load(tmp_path)


def test_shared_containers_do_not_blow_up():
    entries = [{"type": "ReLU"}]
    entries += [{"type": "Sequential", "layers": [i, i]} for i in range(60)]
    with pytest.raises(FormatError, match="places"):
        build(entries)
    entries = [{"type": "ReLU"}, *({"type": "Sequential", "layers": [i]} for i in range(5000))]
    with pytest.raises(FormatError, match="deep"):
        build(entries)


@settings(max_examples=examples(300))
@given(st.data())
def test_a_damaged_file_is_refused_or_right(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    model = hg.Sequential([hg.Linear(2, 3, init="ones"), hg.Residual(hg.LeakyReLU(0.1)), hg.Linear(3, 1)])
    save(model, model.init(0), folder / "m", note="x")
    content = bytearray((folder / "m").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    (folder / "m").write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(flags) else content)
    try:
        loaded, params, _ = load(folder / "m")
    except FormatError:
        return
    assert {name: array.shape for name, array in params.items()} == {
        name: spec.shape for name, spec in loaded.parameters().items()
    }


def test_replacing_keeps_the_old_file_on_a_failure(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.write("text where bytes belong")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_replacing_gives_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    with replacing(tmp_path / "new") as file:
        file.write(b"x")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    os.chmod(tmp_path / "new", stat.S_IRUSR | stat.S_IWUSR)
    with replacing(tmp_path / "new") as file:
        file.write(b"y")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_a_place_where_no_file_can_be_is_named_as_it_was_given(tmp_path):
    model = hg.Linear(2, 1)
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*none' to write to: '.*none/m.safetensors'$"):
        save(model, model.init(0), tmp_path / "none" / "m.safetensors")
    with pytest.raises(IsADirectoryError, match="is a folder; expected the name of a file") as caught:
        save(model, model.init(0), tmp_path)
    assert caught.value.filename == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_that_are_not_finite_are_kept_bit_for_bit(tmp_path, dtype):
    model = hg.Linear(2, 2)
    params = model.init(0, dtype)
    params["weight"][...] = [[np.nan, -np.inf], [np.inf, -0.0]]
    params["weight"].view(np.uint8)[0, 0] ^= 1  # a payload of its own
    save(model, params, tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors")[1].flat.tobytes() == params.flat.tobytes()
