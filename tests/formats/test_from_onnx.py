"""ONNX files as models: those that to_onnx wrote, and those written as PyTorch's and scikit-learn's exporters do."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import handgrad as hg
from formats.layers import close, samples
from formats.test_to_onnx import X, run

F = TensorProto.FLOAT
RNG = np.random.default_rng(0)


def node(op, inputs, outputs, domain="", **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), domain=domain, **attributes)


def file(nodes, constants, x=("batch", 4), output="y", opset=17, kind=F):
    """A model with the input "x", as an exporter would write it."""
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    kinds = {"label": TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, x)],
        [helper.make_tensor_value_info(name, kinds.get(name, F), [None, None]) for name in output.split()],
        tensors,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def check(made, x, model=None, **options):
    """The model read gives what ONNX Runtime does; returns it and its parameters."""
    onnx.checker.check_model(made)
    found, params = hg.from_onnx(made, **options)
    expected = run(made, x=x)[options.get("output", "y")]
    close(found.forward(params, x)[0], expected, 2e-6)
    if model is not None:
        assert repr(found) == f"Sequential([{model}])"
    return found, params


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("place", range(len(samples(np.float32))), ids=[str(each) for each in samples(np.float32)])
def test_what_to_onnx_wrote_comes_back(place, dtype):
    sample = samples(dtype)[place]
    made = hg.to_onnx(sample.layer, sample.params, shape=sample.x.shape[1:], dtype=np.dtype(dtype).name)
    model, params = hg.from_onnx(made.SerializeToString())
    assert params.flat.dtype == dtype or not params
    assert len(params.flat) == len(sample.params.flat)
    out, cache = sample.layer.forward(sample.params, sample.x)
    again, cache_again = model.forward(params, sample.x)
    close(again, out, 1e-6 if dtype == np.float32 else 1e-12)
    dx, _ = sample.layer.backward(np.ones_like(out), cache)
    close(model.backward(np.ones_like(out), cache_again)[0], dx, 2e-5 if dtype == np.float32 else 1e-11)


def test_sharing_and_names_come_back(tmp_path):
    layer, unit = hg.Linear(4, 4, layout="out_in"), hg.SwiGLU(4, 4)
    model = hg.Sequential([layer, hg.Tanh(), layer, hg.Residual(unit), unit])
    params = model.init(0, np.float32)
    hg.to_onnx(model, params, tmp_path / "m.onnx")
    found, taken = hg.from_onnx(tmp_path / "m.onnx")
    assert repr(found) == repr(model)
    assert found.layers[0] is found.layers[2]
    assert found.layers[3].layer is found.layers[4]
    assert taken == params


W, B, V = normal(5, 4), normal(5), normal(3, 5)


def torch_nodes(*middle):
    """Linear, what is given, Linear, as PyTorch writes them: weights (n_out, n_in), the second without bias."""
    return [
        node("Flatten", "x", "flat", axis=1),
        node("Gemm", "flat w b", "h", alpha=1.0, beta=1.0, transB=1),
        *middle,
        node("Transpose", "v", "turned", perm=[1, 0]),
        node("MatMul", "a turned", "y"),
    ]


ROOT, TANH = np.float32(np.sqrt(2)), np.float32(np.sqrt(2 / np.pi))
MIDDLES = {
    "ReLU()": [node("Relu", "h", "a")],
    "Swish()": [node("Sigmoid", "h", "s"), node("Mul", "h s", "a")],
    "Dropout()": [node("Constant", "", "rate", value_float=0.5), node("Dropout", "h rate", "a")],
    "GELU()": [
        node("Constant", "", "root", value=numpy_helper.from_array(ROOT)),
        node("Constant", "", "one", value=numpy_helper.from_array(np.float32(1))),
        node("Constant", "", "half", value=numpy_helper.from_array(np.float32(0.5))),
        node("Div", "h root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "f"),
        node("Mul", "h f", "m"),
        node("Mul", "m half", "a"),
    ],
    "GELU(approximate='tanh')": [
        node("Constant", "", "three", value_float=3.0),
        node("Constant", "", "cubic", value_float=0.044715),
        node("Constant", "", "tanh", value_float=float(TANH)),
        node("Constant", "", "one", value_float=1.0),
        node("Constant", "", "half", value_float=0.5),
        node("Pow", "h three", "p"),
        node("Mul", "p cubic", "q"),
        node("Add", "h q", "r"),
        node("Mul", "r tanh", "s"),
        node("Tanh", "s", "t"),
        node("Add", "t one", "u"),
        node("Mul", "h half", "n"),
        node("Mul", "n u", "a"),
    ],
    "LeakyReLU(alpha=0.2)": [node("LeakyRelu", "h", "a", alpha=0.2)],
    "Identity": [node("Identity", "h", "i"), node("Cast", "i", "a", to=F)],
}


@pytest.mark.parametrize("name", MIDDLES)
def test_as_pytorch_writes_it(name):
    made = file(torch_nodes(*MIDDLES[name]), {"w": W, "b": B, "v": V}, x=("batch", 2, 2))
    middle = "" if name == "Identity" else f"{name}, "
    expected = f"Flatten(), Linear(4, 5, layout='out_in'), {middle}Linear(5, 3, bias=False, layout='out_in')"
    _, params = check(made, normal(6, 2, 2), expected)
    np.testing.assert_array_equal(params["1.weight"], W)
    np.testing.assert_array_equal(params["3.weight" if middle else "2.weight"], V)


def test_batch_normalization_and_layer_normalization():
    constants = {"w": W, "b": B, "v": V, "s": normal(5), "t": normal(5), "m": normal(5), "u": abs(normal(5))}
    middle = [
        node("BatchNormalization", "h s t m u", "n", epsilon=1e-3),
        node("Relu", "n", "r"),
        node("LayerNormalization", "r s", "a", epsilon=1e-5),
    ]
    expected = "Flatten(), Linear(4, 5), ReLU(), LayerNorm(5), Linear(5, 3, bias=False, layout='out_in')"
    check(file(torch_nodes(*middle), constants), normal(6, 4), expected)


@pytest.mark.parametrize("shape", [[0, -1], [-1, 4], [0, 4]])
def test_reshape_that_flattens(shape):
    constants = {"to": np.array(shape), "w": W.T}
    nodes = [node("Reshape", "x to", "flat"), node("MatMul", "flat w", "y")]
    check(file(nodes, constants, x=("batch", 2, 2)), normal(3, 2, 2), "Flatten(), Linear(4, 5, bias=False)")


def test_as_skl2onnx_writes_it():
    """A scaler, casts, biases with two axes, labels beside the probabilities."""
    constants = {
        "coefficient": W.T,
        "intercepts": B[None],
        "coefficient1": V.T,
        "intercepts1": normal(1, 3),
        "classes": np.arange(3),
    }
    nodes = [
        node("Scaler", "x", "scaled", domain="ai.onnx.ml", offset=[0.5, 1.0, 0.0, -1.0], scale=[2.0, 1.0, 0.5, 3.0]),
        node("Cast", "scaled", "cast", to=F),
        node("MatMul", "cast coefficient", "m"),
        node("Add", "m intercepts", "a"),
        node("Tanh", "a", "t"),
        node("MatMul", "t coefficient1", "m1"),
        node("Add", "m1 intercepts1", "a1"),
        node("Softmax", "a1", "y", axis=1),
        node("ArgMax", "y", "place", axis=1),
        node("ArrayFeatureExtractor", "classes place", "label", domain="ai.onnx.ml"),
    ]
    made = file(nodes, constants, output="label y")
    with pytest.raises(hg.FormatError, match="outputs 'label', 'y'; choose one by output="):
        hg.from_onnx(made)
    expected = "Linear(4, 5), Tanh(), Linear(5, 3), Softmax()"
    check(made, normal(6, 4), expected, output="y")
    scores, _ = hg.from_onnx(made, output="a1")
    assert type(scores.layers[-1]) is hg.Linear
    with pytest.raises(hg.FormatError, match=r"node 9 \(ai.onnx.ml.ArrayFeatureExtractor\)|ArgMax"):
        hg.from_onnx(made, output="label")


def test_a_scaler_that_to_onnx_put_before():
    from sklearn.preprocessing import StandardScaler

    model = hg.mlp([4, 6, 2])
    params = model.init(0, np.float32)
    check(hg.to_onnx(model, params, before=StandardScaler().fit(X)), X, "Linear(4, 6), ReLU(), Linear(6, 2)")


def test_gemm_with_factors():
    made = file([node("Gemm", "x w b", "y", alpha=0.5, beta=2.0)], {"w": W.T, "b": B[:1]})
    _, params = check(made, normal(3, 4), "Linear(4, 5)")
    np.testing.assert_allclose(params["0.weight"], W.T / 2)


@pytest.mark.parametrize(("opset", "axis"), [(11, 1), (13, -1), (20, 1)])
def test_softmax_of_each_operator_set(opset, axis):
    check(file([node("Softmax", "x", "y", axis=axis)], {}, opset=opset), normal(3, 4), "Softmax()")


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_precisions(kind):
    number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    made = file([node("Gemm", "x w b", "y", transB=1)], {"w": W.astype(kind), "b": B.astype(kind)}, kind=number)
    _, params = hg.from_onnx(made)
    assert params.flat.dtype == kind
    np.testing.assert_array_equal(params["0.weight"], W.astype(kind))


GEMM = {"w": W.T, "b": B}
AWAY = TensorProto(name="w", data_type=F, dims=[4, 5], data_location=TensorProto.EXTERNAL)


def external():
    made = file([node("MatMul", "x w", "y")], {})
    tensor = made.graph.initializer.add()
    tensor.CopyFrom(AWAY)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return made


def external_constant():
    made = file([node("Constant", "", "w", value=numpy_helper.from_array(W)), node("MatMul", "x w", "y")], {})
    made.graph.node[0].attribute[0].t.CopyFrom(AWAY)
    return made


def huge():
    made = file([node("MatMul", "x w", "y")], {"w": W.T})
    made.graph.initializer[0].dims[:] = [2**40, 2**40]
    return made


def one(op, inputs="x", constants=None, **attributes):
    return lambda: file([node(op, inputs, "y", **attributes)], constants or {})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (one("Conv", "x w", {"w": normal(1, 1, 1)}), r"node 0 \(Conv\): no layer does this; from_onnx knows Add, "),
        (one("Relu", domain="com.acme"), r"node 0 \(com\.acme\.Relu\): no layer does this"),
        (one("Gemm", "x w b", {"w": W.T, "b": normal(3, 5)}), r"node 0 \(Gemm\): its bias must have 5 numbers"),
        (one("Gemm", "x w b", GEMM, transA=1), "it transposes the samples"),
        (one("Gemm", "x w b", GEMM | {"w": W.T.astype(int)}), "input 1 must hold floating-point numbers, got int64"),
        (one("Gemm", "x w b", GEMM | {"b": B.astype(float)}), "must be all of one type, got float32 in .* float64"),
        (one("Gemm", "x x b", GEMM), "its input 1 must be a constant"),
        (one("MatMul", "w x", {"w": W}), "its input 1 must be a constant"),
        (one("MatMul", "x w", {"w": W[0]}), r"must have two axes, got shape \(4,\)"),
        (one("MatMul", "x w", {"w": normal(0, 4)}), "n_in must be a whole number of at least 1, got 0"),
        (one("MatMul", "x gone", {}), r"node 0 \(MatMul\): it reads 'gone', which nothing before it makes"),
        (one("Add", "x c", {"c": B[:4]}), r"node 0 \(Add\): it is part of no layer"),
        (one("Add", "x c", {"c": normal(2, 1, 4)}), "a constant must have one number, or one for each feature"),
        (one("Erf"), r"node 0 \(Erf\): it is part of no layer"),
        (one("Mul", "x x"), r"node 0 \(Mul\): it is part of no layer"),
        (one("Softmax", axis=0.5), "attribute axis must be a int, got 0.5"),
        (one("Flatten", axis=2), "it must keep the axis of samples alone, got axis 2"),
        (one("Reshape", "x to", {"to": np.array([2, 2])}), r"must flatten each sample, with the shape \[0, -1\]"),
        (one("Dropout", "x r t", {"r": np.float32(0.5), "t": np.array(True)}), "set to drop numbers"),
        (one("Dropout", "x r", {"r": np.float32(1.5)}), r"rate"),
        (one("Cast", to=7), "must be to a floating-point type, got ONNX's type 7"),
        (one("Relu", "w", {"w": W}), "the graph's input"),
        (one("LayerNormalization", "x s", {"s": B}, axis=0), "over the last axis alone, got axis 0"),
        (one("LeakyRelu", alpha=float("nan")), r"node 0 \(LeakyRelu\): .*alpha must be a finite number"),
        (one("Greater", "x c", {"c": np.float32(2)}), "it must compare with 0"),
        (lambda: file([], {"y": W}), "the output 'y' does not depend on an input"),
        (lambda: file([node("Relu", "x", "z")], {}), "does not depend on an input"),
        (lambda: file([node("Relu", "y", "z"), node("Relu", "x", "y")], {}, output="z"), "reads 'y', which nothing"),
        (lambda: file([node("Relu", "x", "y"), node("Tanh", "x", "y")], {}), "the value 'y' is made twice"),
        (lambda: file([node("Relu", "x", "y")] * 6000, {}), "at most 5000 nodes, got 6000"),
        (lambda: file([node("Relu", "x", "y")], {}, opset=6), "operator set must be 7 to .*, got 6"),
        (lambda: file([node("Relu", "x", "y")], {}, opset=999), "got 999"),
        (external, "keeps its data in another file, which is never opened"),
        (external_constant, "keeps its data in another file, which is never opened"),
        (
            huge,
            r"'w' has shape \(1099511627776, .*\), which is 1208925819614629174706176 numbers, and holds",
        ),
        (lambda: b"junk", "not a readable ONNX file"),
        (lambda: b"", "operator set must be"),
        (lambda: 3, "takes a path, bytes or a ModelProto, got int"),
    ],
)
def test_files_that_are_no_mlps(make, message):
    with pytest.raises(hg.FormatError, match=message):
        hg.from_onnx(make())


def test_layers_that_do_not_fit():
    nodes = [node("MatMul", "x w", "h"), node("MatMul", "h w", "y")]
    with pytest.raises(hg.FormatError, match="its layers do not fit: layer '1': Linear takes 4 features"):
        hg.from_onnx(file(nodes, {"w": W.T}))


def test_the_file_is_named(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"junk")
    with pytest.raises(hg.FormatError, match=r"m\.onnx': not a readable ONNX file"):
        hg.from_onnx(tmp_path / "m.onnx")
    with pytest.raises(hg.FormatError, match="got a folder"):
        hg.from_onnx(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        hg.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(hg.FormatError, match="no value 'z'; its outputs are 'y'"):
        hg.from_onnx(file([node("Relu", "x", "y")], {}), output="z")
