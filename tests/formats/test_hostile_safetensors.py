"""Models, graphs, checkpoints and estimators in safetensors files of another making: refused, or read as they are."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import handgrad as hg
from formats.hostile import Target, attack
from formats.mutators import safetensors_of, unpacked
from handgrad.cli.presets.ensemble import Frame
from handgrad.errors import HandgradError
from handgrad.estimators.tabular import TabularClassifier, TabularRegressor, files
from handgrad.formats.architecture import describe
from handgrad.formats.checkpoint import _digest, read_checkpoint
from handgrad.formats.container import KEY
from models.graph.test_as_layer import highway
from soak import examples
from training.trainings import train

NUMPY = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8"}  # of what the library writes
MODELS = [
    hg.mlp([3, 6, 2], "swiglu", layer_norm=True, dropout=0.1),
    hg.Sequential([hg.Linear(3, 3, layout="out_in"), hg.Residual(hg.Sequential([hg.GELU(), hg.Linear(3, 3)]))]),
    hg.Sequential([hg.Swish(0.5), hg.LeakyReLU(0.3), hg.Linear(3, 2, bias=False), hg.Softmax(2.0)]),
    hg.Sequential([hg.Flatten(), hg.Identity(), hg.Sigmoid()]),
]


def graph() -> hg.Graph:
    """With constants and options of every kind that a file holds."""
    g = hg.Graph()
    x = g.input("x")
    h = hg.ops.reshape(x * np.array([1.0, 2.0, 3.0]), (-1, 3)) + g.constant(np.ones((1, 3)), "one")
    h = hg.ops.softmax(hg.Linear(3, 3)(h), temperature=2.0) + hg.ops.sum(h, axis=(0, 1))
    g.output(h * [1.0, 2.0, 3.0] + True)
    return g


def bytes_of(models: list[hg.Layer], dtype: type) -> list[bytes]:
    with TemporaryDirectory() as folder:
        found = []
        for i, model in enumerate(models):
            path = Path(folder) / "m"
            hg.save(model, model.init(i, dtype), path, note={"rows": [1, 2.5]})
            found.append(path.read_bytes())
        return found


def tensors_of(header: dict[str, Any], data: bytes) -> dict[str, tuple[tuple[int, ...], bytes]]:
    """(shape, bytes) of each tensor, read without any library."""
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    return {name: (tuple(e["shape"]), data[slice(*e["data_offsets"])]) for name, e in entries.items()}


def equal(one: Any, two: Any) -> bool:
    """Whether two values of JSON are one; NaN is NaN."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two or (one != one and two != two)


def unfolded(entries: list[Any], place: int = -1) -> dict[str, Any]:
    """An entry of an architecture with the layers within it in the place of their numbers."""

    def within(key: str, value: Any) -> Any:
        if key == "layers":
            return [unfolded(entries, i) for i in value]
        if key == "nodes":
            return [{name: within(name, each) for name, each in node.items()} for node in value]
        return unfolded(entries, value) if key == "layer" else value

    return {key: within(key, value) for key, value in entries[place].items()}


def check_model(found: tuple[hg.Layer, Any, Any], data: bytes, path: Path) -> None:
    model, params, metadata = found
    header, tensors = unpacked(data)
    content = json.loads(header["__metadata__"][KEY])
    assert equal(metadata, content["metadata"])
    assert {name: (a.shape, a.tobytes()) for name, a in params.items()} == tensors_of(header, tensors)
    assert {name: a.shape for name, a in params.items()} == {n: spec.shape for n, spec in model.parameters().items()}
    again = json.loads(json.dumps(describe(model)))
    assert len(again) == len(content["architecture"])  # what is shared is shared
    assert equal(unfolded(again), unfolded(content["architecture"]))
    with (
        np.errstate(all="ignore"),
        suppress(ValueError, TypeError, ArithmeticError, LookupError),
    ):  # such as a text in a sum
        model.forward(params, np.ones((2, 3), params.flat.dtype))


def checkpoints() -> list[bytes]:
    """One between epochs, one within, of either engine."""
    found = []
    for engine in ("eager", "compiled"):
        with TemporaryDirectory() as folder:
            train(TRAINING, engine=engine, checkpoint=folder, every="3 steps", keep=100, epochs=2)
            found += [path.read_bytes() for path in sorted(Path(folder).glob("step-*"))[-2:]]
    return found


TRAINING = "dropout, schedule, early stopping"


def check_checkpoint(found: tuple[dict[str, np.ndarray], dict[str, Any]], data: bytes, path: Path) -> None:
    """It is what stands there, and a training goes on from it."""
    arrays, content = found
    header, tensors = unpacked(data)
    assert equal(content, json.loads(header["__metadata__"][KEY])["content"])
    assert {name: (a.shape, a.tobytes()) for name, a in arrays.items()} == tensors_of(header, tensors)
    place = path.with_name("training")
    place.mkdir(exist_ok=True)
    for left in place.iterdir():
        left.unlink()
    step = content.get("step")
    number = step if isinstance(step, int) and 0 <= step < 10**18 else 5
    path.rename(place / f"step-{number:010d}.safetensors")
    engine = "compiled" if "compiled" in str(content.get("setup")) else "eager"
    result = train(TRAINING, engine=engine, checkpoint=place, resume=True, epochs=3, every="1 hour")
    assert np.isfinite(result.params.flat).all()
    assert len(result.history) <= 3


def signed(content: Any, header: dict[str, Any], tensors: bytes) -> Any:
    """The content with the digest of what it holds, without which it is not looked at."""
    if isinstance(content, dict) and isinstance(content.get("content"), dict):
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        parts = {
            name: np.frombuffer(part, NUMPY[entries[name]["dtype"]])
            for name, (_, part) in tensors_of(header, tensors).items()
        }
        arrays = {name: part.reshape(entries[name]["shape"]) for name, part in parts.items()}
        content["digest"] = _digest(arrays, json.loads(json.dumps(content["content"])))
    return content


def table() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    size, colour = rng.lognormal(size=60), rng.choice(np.array(["red", "blue", None], object), 60)
    size[::9] = np.nan
    return {"size": size, "colour": colour, "when": np.arange(60).astype("datetime64[D]")}


def estimators() -> list[bytes]:
    """A classifier and a regressor, of two members each."""
    columns = table()
    frame, colour = Frame(columns), columns["colour"] == "red"
    found = []
    for kind, y in ((TabularClassifier, np.where(colour, "yes", "no")), (TabularRegressor, colour * 1.5)):
        made = kind(n_ensemble=2, epochs=1, hidden_layer_sizes=4, random_state=0).fit(frame, y)
        with TemporaryDirectory() as folder:
            files.save(made, Path(folder) / "m", note=[1, 2])
            found.append((Path(folder) / "m").read_bytes())
    return found


def check_estimator(found: tuple[Any, Any], data: bytes, path: Path) -> None:
    estimator, metadata = found
    header, tensors = unpacked(data)
    content = json.loads(header["__metadata__"][KEY])
    assert equal(metadata, content["metadata"])
    stored = tensors_of(header, tensors)
    for name, array in estimator.model_.parameters().items():
        assert stored[f"members.{name}"][0] == (len(estimator.members_), *array.shape)
    kept = b"".join(member.flat.tobytes() for member in estimator.members_)
    assert len(kept) == sum(len(part) for name, (_, part) in stored.items() if name.startswith("members."))
    with np.errstate(all="ignore"):
        estimator.predict(Frame(table()))


GRAPHS = [graph(), highway(), hg.Sequential([highway(), hg.Residual(hg.Graph.of(hg.Linear(2, 2)))])]
OTHERS = partial(safetensors_of, key=KEY)
TARGETS = [
    Target("models", partial(bytes_of, MODELS, np.float32), OTHERS, hg.load, check_model, (HandgradError,)),
    Target("graphs", partial(bytes_of, GRAPHS, np.float64), OTHERS, hg.load, check_model, (HandgradError,)),
    Target(
        "checkpoints", checkpoints, partial(OTHERS, sign=signed), read_checkpoint, check_checkpoint, (HandgradError,)
    ),
    Target("estimators", estimators, OTHERS, files.load, check_estimator, (HandgradError,)),
]


def test_hostile_files_are_refused_or_read_as_they_are(tmp_path):
    """400 files, and 8,000 in `make soak`, beside those of the other hostile tests."""
    for name, found in attack(__file__, examples(400), tmp_path).items():
        assert found["faults"] == [], name
        assert found["read"] >= 2, name  # the right ones, at least
        assert found["refused"] > 20, name
