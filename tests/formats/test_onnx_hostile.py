"""ONNX files that somebody has damaged or made to harm: an error or a model, within bounded memory, no code run."""

import subprocess
import sys
import tracemalloc

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

import handgrad as hg
from formats.test_from_onnx import MIDDLES, B, V, W, file, node, torch_nodes
from handgrad.formats.onnx.operators import OPERATORS
from soak import examples

MOST = 2**26  # bytes that reading any of these small files may take
CHAINS = [
    hg.mlp([4, 6, 3], "swiglu", layer_norm=True, dropout=0.1),
    hg.Sequential([hg.Linear(4, 4, layout="out_in"), hg.Residual(hg.Sequential([hg.GELU(), hg.Linear(4, 4)]))]),
    hg.Sequential([hg.Swish(0.5), hg.LeakyReLU(0.3), hg.Linear(4, 2), hg.Softmax(2.0)]),
]
FILES = [
    *(hg.to_onnx(model, model.init(0, np.float32)) for model in CHAINS),
    hg.to_onnx(CHAINS[2], CHAINS[2].init(0), dtype="float64"),
    *(file(torch_nodes(*middle), {"w": W, "b": B, "v": V}, x=("batch", 2, 2)) for middle in MIDDLES.values()),
]


def read(source):
    """Read it; whatever is wrong must be a FormatError, and what is read must be a whole model."""
    tracemalloc.start()
    try:
        model, params = hg.from_onnx(source)
    except hg.FormatError:
        return None
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < MOST
    assert {name: array.shape for name, array in params.items()} == {
        name: spec.shape for name, spec in model.parameters().items()
    }
    return model


@pytest.mark.parametrize("made", FILES, ids=range(len(FILES)))
def test_they_are_read_before_they_are_damaged(made):
    assert read(made.SerializeToString()) is not None


@settings(max_examples=examples(300))
@given(st.data())
def test_damaged_bytes(data):
    content = bytearray(data.draw(st.sampled_from(FILES)).SerializeToString())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    read(bytes(content))


NUMBERS = st.sampled_from([0, 1, -1, 2, 3, 2**31, -(2**63), 2**63 - 1])
FLOATS = st.sampled_from([0.0, -0.0, 1.0, 1e-38, 3e38, float("nan"), float("inf"), -2.5])


def names(graph):
    made = [name for each in graph.node for name in each.output]
    return st.sampled_from(["", "x", "y", "nowhere", *made, *(each.name for each in graph.initializer)])


def change_node(draw, graph):
    node = draw(st.sampled_from(list(graph.node)))
    kind = draw(st.sampled_from(["op", "input", "more", "less", "output", "attribute", "again", "gone"]))
    if kind == "op":
        node.op_type = draw(st.sampled_from([*OPERATORS, "Conv", "ConstantOfShape", "If", "Loop", "Tile"]))
    elif kind == "input" and node.input:
        node.input[draw(st.integers(0, len(node.input) - 1))] = draw(names(graph))
    elif kind == "more":
        node.input.append(draw(names(graph)))
    elif kind == "less" and node.input:
        node.input.pop()
    elif kind == "output" and node.output:
        node.output[0] = draw(names(graph))
    elif kind == "again":
        graph.node.add().CopyFrom(node)
    elif kind == "gone":
        graph.node.remove(node)
    elif node.attribute:
        attribute = draw(st.sampled_from(list(node.attribute)))
        attribute.i, attribute.f = draw(NUMBERS), draw(FLOATS)
        attribute.type = draw(st.sampled_from([attribute.type, 1, 2, 3, 4, 5, 6, 7, 11]))


def change_tensor(draw, graph):
    if not graph.initializer:
        return
    tensor = draw(st.sampled_from(list(graph.initializer)))
    kind = draw(st.sampled_from(["dims", "type", "raw", "name", "typed", "values"]))
    if kind == "dims":
        tensor.dims[:] = draw(st.lists(NUMBERS, max_size=9))
    elif kind == "type":
        tensor.data_type = draw(st.integers(0, 25))
    elif kind == "raw":
        tensor.raw_data = tensor.raw_data[: draw(st.integers(0, 40))]
    elif kind == "name":
        tensor.name = draw(names(graph))
    elif kind == "typed":
        tensor.ClearField("raw_data")
        tensor.float_data.extend(draw(st.lists(FLOATS, max_size=25)))
    else:
        array = np.frombuffer(draw(st.binary(min_size=len(tensor.raw_data), max_size=len(tensor.raw_data))), np.uint8)
        tensor.raw_data = array.tobytes()


def change_shape(draw, graph):
    shape = graph.input[0].type.tensor_type.shape
    shape.ClearField("dim")
    for length in draw(st.lists(NUMBERS, max_size=4)):
        shape.dim.add().dim_value = length


@settings(max_examples=examples(300))
@given(st.data())
def test_graphs_of_another_making(data):
    model = onnx.ModelProto()
    model.CopyFrom(data.draw(st.sampled_from(FILES)))
    for _ in range(data.draw(st.integers(1, 6))):
        change = data.draw(st.sampled_from([change_node, change_node, change_tensor, change_shape]))
        if model.graph.node:
            change(data.draw, model.graph)
    read(model.SerializeToString())


SQUARE = np.eye(256, dtype=np.float32)  # 256 KiB


def test_one_tensor_in_many_layers_takes_no_more_than_its_own():
    """Biases that are all names of one tensor make layers that share their weight, and would each have a copy."""
    biases = {f"b{i}": np.zeros(256, np.float32) for i in range(400)}
    nodes = [node("Gemm", f"h{i} w b{i}", f"h{i + 1}") for i in range(400)]
    nodes[0].input[0] = "x"
    made = file(nodes, {"w": SQUARE, **biases}, x=("batch", 256), output="h400")
    with pytest.raises(hg.FormatError, match="far larger than the file"):
        hg.from_onnx(made)


def test_constants_worked_out_again_and_again_are_counted():
    nodes = [node("Cast", "w" if i == 0 else f"c{i}", f"c{i + 1}", to=11 - 10 * (i % 2)) for i in range(400)]
    made = file([*nodes, node("MatMul", "x c400", "y")], {"w": SQUARE}, x=("batch", 256))
    with pytest.raises(hg.FormatError, match="far larger than the file"):
        hg.from_onnx(made)


def test_residual_layers_within_one_another_without_end():
    nodes = [node("Relu", "x", "h0")]
    for i in range(300):
        nodes += [node("Add", f"x h{i}", f"h{i + 1}")]
    with pytest.raises(hg.FormatError, match="nested 100 deep at most"):
        hg.from_onnx(file(nodes, {}, output="h300"))


def test_residual_layers_over_the_same_long_way_again_and_again():
    nodes = [node("Tanh", "x" if i == 0 else f"h{i}", f"h{i + 1}") for i in range(2000)]
    nodes += [node("Add", f"x h{1000 + i}", f"r{i}") for i in range(1000)]
    nodes += [node("Sum", " ".join(f"r{i}" for i in range(1000)), "y")]
    with pytest.raises(hg.FormatError, match=r"node 2019 \(Add\): residual layers must hold at most 20000 layers"):
        hg.from_onnx(file(nodes, {}))


def test_a_long_chain_is_no_recursion():
    nodes = [node("Tanh", "x" if i == 0 else f"h{i}", f"h{i + 1}") for i in range(4000)]
    model, _ = hg.from_onnx(file(nodes, {}, output="h4000"))
    assert len(model.layers) == 4000


def test_messages_within_messages_without_end():
    made = onnx.ModelProto()
    graph = made.graph
    for _ in range(30):
        graph = graph.node.add().attribute.add().g
    content = made.SerializeToString()
    inner = content
    for _ in range(200):
        inner = onnx.AttributeProto(name="g", type=5, g=onnx.GraphProto(name="g")).SerializeToString() + inner
    read(inner)
    read(content)


def test_reading_opens_nothing_and_runs_nothing(tmp_path):
    """No file beside the one given is opened, no process started, no module of the file's choosing imported."""
    made = file([node("MatMul", "x w", "y")], {})
    tensor = made.graph.initializer.add()
    tensor.CopyFrom(TensorProto(name="w", data_type=1, dims=[4, 5], data_location=TensorProto.EXTERNAL))
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "secret"
    (tmp_path / "secret").write_bytes(numpy_helper.from_array(W).raw_data)
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    code = """
import sys, handgrad as hg
import handgrad.formats.onnx, onnx
onnx.helper, onnx.numpy_helper, onnx.defs.onnx_opset_version()
seen = []
sys.addaudithook(lambda name, args: seen.append((name, str(args[:1]))))
try:
    hg.from_onnx("m.onnx")
except hg.FormatError as error:
    print("refused" if "another file" in str(error) else error)
bad = [each for each in seen if each[0] in ("exec", "os.system", "subprocess.Popen", "socket.connect")]
print([each for each in seen if each[0] == "open"], bad)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "refused"
    assert "secret" not in done.stdout
    assert done.stdout.count("open") == 1, done.stdout
    assert done.stdout.rstrip().endswith("[]")
