"""Models as ONNX files: the same numbers in ONNX Runtime, the file as stated, what cannot be written refused."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, PowerTransformer, RobustScaler, StandardScaler

import handgrad as hg
from formats.layers import EVERY, close, covered, samples
from formats.test_files import models
from handgrad.errors import DTypeError, ParameterError, ShapeError
from handgrad.formats.onnx.layers import sample_shape
from soak import examples

# attributes, such as epsilon, are float32 in ONNX, and so are the constants of GELU in ONNX Runtime
TOLERANCES = {np.float32: 1e-6, np.float64: 1e-8}


def run(model, **feeds):
    """The outputs by their names, from ONNX Runtime."""
    session = onnxruntime.InferenceSession(model if isinstance(model, str) else model.SerializeToString())
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, feeds), strict=True))


def needs_erf(layer):
    """Whether it has the exact GELU, for which ONNX Runtime has no float64."""
    return "GEGLU" in repr(layer) or "GELU" in repr(layer).replace("GELU(approximate='tanh')", "")


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("place", range(len(samples(np.float32))), ids=[str(each) for each in samples(np.float32)])
def test_onnx_runtime_gives_the_same(place, dtype):
    sample = samples(dtype)[place]
    made = hg.to_onnx(sample.layer, sample.params, shape=sample.x.shape[1:], dtype=np.dtype(dtype).name)
    onnx.checker.check_model(made, full_check=True)
    if dtype == np.float64 and needs_erf(sample.layer):
        return  # it is checked above; see docs/files.md
    expected = sample.layer.forward(sample.params, sample.x)[0]
    found = run(made, x=sample.x)["y"]
    assert found.dtype == dtype
    close(found, expected, TOLERANCES[dtype])
    one = run(made, x=sample.x[:1])["y"]  # any number of samples
    if getattr(sample.layer, "axis", -1) not in (0, -3):  # a softmax over the samples
        close(one, expected[:1], TOLERANCES[dtype])


def test_every_layer_is_in_the_table():
    assert EVERY - covered() == {hg.Layer, hg.Graph}


@settings(max_examples=examples(30))
@given(models(), st.integers(0, 99))
def test_any_model(model, seed):
    (n,) = sample_shape(model) or (3,)
    params = model.init(seed, np.float32)
    x = np.random.default_rng(seed).normal(size=(4, n)).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # products of products may grow past what float32 holds
        expected = model.forward(params, x)[0]
    if not np.abs(expected).max() < 1e4:
        return  # rounding of what grew so far is no longer 1e-6
    close(run(hg.to_onnx(model, params, shape=(n,)), x=x)["y"], expected, 1e-4)


def test_the_file_is_as_stated(tmp_path):
    model = hg.mlp([4, 5, 3], "swiglu", dropout=0.1)
    params = model.init(0)
    made = hg.to_onnx(model, params, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == made.SerializeToString(deterministic=True)
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
    assert made.ir_version == 9
    assert [(each.domain, each.version) for each in made.opset_import] == [("", 20)]
    assert {each.name: tuple(each.dims) for each in made.graph.initializer} == {
        name: spec.shape for name, spec in model.parameters().items()
    }
    (x,), (y,) = made.graph.input, made.graph.output
    for value, width in ((x, 4), (y, 3)):
        batch, features = value.type.tensor_type.shape.dim
        assert batch.dim_param == "batch"
        assert features.dim_value == width
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert list(tmp_path.iterdir()) == [tmp_path / "m.onnx"]
    again = hg.to_onnx(model, params)
    assert again.SerializeToString(deterministic=True) == (tmp_path / "m.onnx").read_bytes()


def test_a_shared_layer_is_kept_once():
    layer = hg.Linear(4, 4)
    model = hg.Sequential([layer, hg.Tanh(), layer, hg.Residual(layer)])
    assert [each.name for each in hg.to_onnx(model, model.init(0)).graph.initializer] == ["0.weight", "0.bias"]


X = np.random.default_rng(0).normal(3, 5, (30, 4)).astype(np.float32)
STEPS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler((-1, 2)),
    MinMaxScaler(clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False, with_scaling=False),
]


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_scaler_before_the_model(step):
    model = hg.mlp([4, 8, 2])
    params = model.init(0, np.float32)
    step.fit(X)
    rows = X * 1.5
    expected = model.forward(params, step.transform(rows).astype(np.float32))[0]
    close(run(hg.to_onnx(model, params, before=step), x=rows)["y"], expected, 2e-6)


def test_what_is_missing_is_filled_before_the_model():
    holes = np.where(X > 7, np.nan, X)
    steps = [SimpleImputer().fit(holes), StandardScaler().fit(X)]
    model = hg.mlp([4, 8, 2])
    params = model.init(0, np.float32)
    inside = steps[1].transform(steps[0].transform(holes)).astype(np.float32)
    close(run(hg.to_onnx(model, params, before=steps), x=holes)["y"], model.forward(params, inside)[0], 2e-6)


class Mine(hg.ReLU):
    pass


class OwnSequential(hg.Sequential):
    pass


def doubled():
    graph = hg.Graph()
    _ = graph.input("x") * 2.0
    return graph


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, p: hg.to_onnx(hg.Residual(Mine()), {}, shape=(3,)), hg.FormatError, r"layer 'layer': .* for Mine"),
        (lambda m, p: hg.to_onnx(OwnSequential([m]), {"0." + n: p[n] for n in p}), hg.FormatError, "OwnSequential"),
        (lambda m, p: hg.to_onnx(doubled(), {}, shape=(3,)), hg.FormatError, "no operator for Graph; it knows Linear"),
        (lambda m, p: hg.to_onnx(doubled(), {}), hg.FormatError, "no operator for Graph; it knows Linear"),
        (lambda m, p: hg.to_onnx(hg.ReLU(), {}), hg.FormatError, r"give shape=, such as"),
        (lambda m, p: hg.to_onnx(hg.Sequential([hg.Flatten(), m]), p), hg.FormatError, r"give shape="),
        (lambda m, p: hg.to_onnx(m, p, shape=(3,)), ShapeError, "takes 4 features"),
        (lambda m, p: hg.to_onnx(m, p, dtype="float16"), DTypeError, "dtype must be one of float32, float64"),
        (lambda m, p: hg.to_onnx(m), hg.FormatError, "give params"),
        (lambda m, p: hg.to_onnx(hg.Sequential([m, Mine()]), {f"0.{n}": p[n] for n in p}), hg.FormatError, "layer '1'"),
        (lambda m, p: hg.to_onnx(m, {"weight": p["weight"]}), ParameterError, r"missing \['bias'\]"),
        (lambda m, p: hg.to_onnx(m, p, before=StandardScaler()), hg.FormatError, "StandardScaler is not fitted"),
        (lambda m, p: hg.to_onnx(m, p, before=PowerTransformer().fit(X)), hg.FormatError, "for PowerTransformer; it"),
        (lambda m, p: hg.to_onnx(m, p, before=MaxAbsScaler().fit(X[:, :2])), ShapeError, "takes 2 features"),
        (lambda m, p: hg.to_onnx("model", p), hg.FormatError, "go with a Layer"),
        (lambda m, p: hg.to_onnx("model"), hg.FormatError, "got str"),
    ],
)
def test_what_cannot_be_written(call, error, message):
    model = hg.Linear(4, 2)
    params = model.init(0)
    with pytest.raises(error, match=message):
        call(model, params)


def test_nothing_is_written_on_a_failure(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"old")
    with pytest.raises(hg.FormatError):
        hg.to_onnx(Mine(), {}, tmp_path / "m.onnx", shape=(3,))
    with pytest.raises(IsADirectoryError):
        hg.to_onnx(hg.Linear(4, 2), hg.Linear(4, 2).init(0), tmp_path)
    with pytest.raises(FileNotFoundError):
        hg.to_onnx(hg.Linear(4, 2), hg.Linear(4, 2).init(0), tmp_path / "none" / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "m.onnx"]


def test_without_onnx_the_error_says_what_to_install():
    code = """
import sys
sys.modules["onnx"] = None
import handgrad as hg
for call in (lambda: hg.to_onnx(hg.Linear(2, 1), hg.Linear(2, 1).init(0)), lambda: hg.from_onnx(b"")):
    try:
        call()
    except ImportError as error:
        print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.count("needs onnx: pip install 'handgrad[onnx]'") == 2
