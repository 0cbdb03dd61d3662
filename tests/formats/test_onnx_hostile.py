"""ONNX files that somebody has damaged or made to harm: an error or the right model, within bounds, no code run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import tracemalloc
import warnings
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

import handgrad as hg
from formats.hostile import Target, attack
from formats.mutators import bytes_of
from formats.test_from_onnx import MIDDLES, B, V, W, file, node, torch_nodes
from handgrad.formats.onnx.operators import OPERATORS
from soak import examples

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
INPUTS = [np.random.default_rng(0).standard_normal((3, 4)), np.random.default_rng(1).standard_normal((3, 2, 2))]


@cache
def seeds() -> list[bytes]:
    return [made.SerializeToString() for made in FILES]


def read(path: Path) -> tuple[hg.Layer, Any]:
    return hg.from_onnx(path)


def check(found: tuple[hg.Layer, Any], data: bytes, path: Path) -> None:
    """A whole model; where ONNX's own evaluator runs the file too, of the same numbers."""
    model, params = found
    shapes = {name: spec.shape for name, spec in model.parameters().items()}
    assert {name: array.shape for name, array in params.items()} == shapes
    if not (np.abs(params.flat) < 1e6).all():
        return  # NaN, or numbers whose squares are not finite, with which LayerNorm here goes on and ONNX's does not
    for x in INPUTS:
        expected = evaluated(data, x.astype(params.flat.dtype))
        if expected is None or not np.isfinite(expected).all():
            continue
        with np.errstate(all="ignore"):
            out, _ = model.forward(params, x.astype(params.flat.dtype))
        if np.isfinite(out).all():
            np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3 * max(1.0, np.abs(expected).max()))


def evaluated(data: bytes, x: np.ndarray) -> np.ndarray | None:
    """What the file gives of x by ONNX's own evaluator; None where it does not run it."""
    try:
        made = onnx.load_from_string(data)
        onnx.checker.check_model(made)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (out,) = ReferenceEvaluator(made).run(None, {made.graph.input[0].name: x})
    except Exception:  # whatever it raises of such files
        return None
    return out


NUMBERS = [0, 1, -1, 2, 3, 2**31, -(2**63), 2**63 - 1]
FLOATS = [0.0, -0.0, 1.0, 1e-38, 3e38, float("nan"), float("inf"), -2.5]


def names(graph: Any) -> list[str]:
    made = [name for each in graph.node for name in each.output]
    return ["", "x", "y", "nowhere", *made, *(each.name for each in graph.initializer)]


def change_node(draw: Random, graph: Any) -> None:
    node = draw.choice(list(graph.node))
    kind = draw.choice(["op", "input", "more", "less", "output", "attribute", "again", "gone"])
    if kind == "op":
        node.op_type = draw.choice([*OPERATORS, "Conv", "ConstantOfShape", "If", "Loop", "Tile"])
    elif kind == "input" and node.input:
        node.input[draw.randrange(len(node.input))] = draw.choice(names(graph))
    elif kind == "more":
        node.input.append(draw.choice(names(graph)))
    elif kind == "less" and node.input:
        node.input.pop()
    elif kind == "output" and node.output:
        node.output[0] = draw.choice(names(graph))
    elif kind == "again":
        graph.node.add().CopyFrom(node)
    elif kind == "gone":
        graph.node.remove(node)
    elif node.attribute:
        attribute = draw.choice(list(node.attribute))
        attribute.i, attribute.f = draw.choice(NUMBERS), draw.choice(FLOATS)
        attribute.type = draw.choice([attribute.type, 1, 2, 3, 4, 5, 6, 7, 11])


def change_tensor(draw: Random, graph: Any) -> None:
    if not graph.initializer:
        return
    tensor = draw.choice(list(graph.initializer))
    kind = draw.choice(["dims", "type", "raw", "name", "typed", "values"])
    if kind == "dims":
        tensor.dims[:] = [draw.choice(NUMBERS) for _ in range(draw.randint(0, 9))]
    elif kind == "type":
        tensor.data_type = draw.randint(0, 25)
    elif kind == "raw":
        tensor.raw_data = tensor.raw_data[: draw.randint(0, 40)]
    elif kind == "name":
        tensor.name = draw.choice(names(graph))
    elif kind == "typed":
        tensor.ClearField("raw_data")
        tensor.float_data.extend(draw.choice(FLOATS) for _ in range(draw.randint(0, 25)))
    else:
        tensor.raw_data = draw.randbytes(len(tensor.raw_data))


def change_shape(draw: Random, graph: Any) -> None:
    shape = graph.input[0].type.tensor_type.shape
    shape.ClearField("dim")
    for _ in range(draw.randint(0, 4)):
        shape.dim.add().dim_value = draw.choice(NUMBERS)


def graphs_of(draw: Random, seeds: list[bytes]) -> bytes:
    """One of the files with a few changes that respect its form."""
    model = onnx.load_from_string(draw.choice(seeds))
    for _ in range(draw.choice([1, 1, 2, 3, 6])):
        if model.graph.node:
            draw.choice([change_node, change_node, change_tensor, change_shape])(draw, model.graph)
    return model.SerializeToString()


TARGETS = [
    Target("onnx bytes", seeds, bytes_of, read, check, (hg.FormatError,), ".onnx"),
    Target("onnx graphs", seeds, graphs_of, read, check, (hg.FormatError,), ".onnx"),
]


def test_hostile_files_are_refused_or_read_as_they_are(tmp_path):
    """600 files, and 12,000 in `make soak`, beside those of the other hostile tests."""
    for name, found in attack(__file__, examples(600), tmp_path).items():
        assert found["faults"] == [], name
        assert found["read"] >= len(FILES), name  # the right ones, at least
        assert found["refused"] > 50, name


def small(content: bytes) -> hg.Layer | None:
    """The model in the file; None for a FormatError. Either takes no more memory than such a file may."""
    tracemalloc.start()
    try:
        return hg.from_onnx(content)[0]
    except hg.FormatError:
        return None
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**26


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
    assert small(inner) is None
    assert small(content) is None


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are of POSIX")
def test_from_a_pipe(tmp_path):
    """Whose size nobody knows before."""
    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(seeds()[0],))
    thread.start()
    found, params = hg.from_onnx(tmp_path / "pipe")
    thread.join()
    model, expected = hg.from_onnx(seeds()[0])
    assert repr(found) == repr(model)
    np.testing.assert_array_equal(params.flat, expected.flat)
