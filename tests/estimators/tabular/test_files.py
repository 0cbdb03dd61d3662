"""Estimators written to a file and read back, and files that hold something else."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import handgrad as hg
from estimators.tabular.damage import damaged, put, say
from handgrad.estimators.tabular import TabularRegressor
from handgrad.estimators.tabular.encoding import Levels, Numbers
from handgrad.estimators.tabular.files import LAYOUT, load, save
from handgrad.formats import FormatError
from handgrad.formats import load as load_model


@pytest.fixture(scope="module")
def fitted():
    """A regressor with numbers, gaps and categories."""
    rng = np.random.default_rng(0)
    size, colour = rng.lognormal(size=120), rng.choice(np.array(["red", "blue", None], object), 120)
    size[::9] = np.nan
    X = pa.table({"size": size, "colour": colour})
    y = np.nan_to_num(size) + (colour == "red")
    return TabularRegressor(n_ensemble=2, epochs=2, hidden_layer_sizes=8, random_state=0).fit(X, y), X


def test_an_estimator_comes_back_as_it_was(fitted, tmp_path):
    estimator, X = fitted
    save(estimator, tmp_path / "m.safetensors", note="mine")
    loaded, metadata = load(tmp_path / "m.safetensors")
    assert metadata == {"note": "mine"}
    assert loaded.get_params() == estimator.get_params()
    assert loaded.columns_ == estimator.columns_
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X))
    save(loaded, tmp_path / "again.safetensors", note="mine")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()
    with pytest.raises(FormatError, match=r"holds an estimator for tables, which .* reads; expected a model"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [3, 8], np.array(["x", "y"], object)])
def test_labels_of_every_kind_come_back(tmp_path, labels):
    X, y = np.arange(40.0)[:, None], np.repeat(np.array(labels), 20)
    estimator = hg.TabularClassifier(n_ensemble=1, epochs=1, hidden_layer_sizes=4, random_state=0).fit(X, y)
    save(estimator, tmp_path / "m.safetensors")
    loaded, _ = load(tmp_path / "m.safetensors")
    assert loaded.classes_.dtype == estimator.classes_.dtype
    np.testing.assert_array_equal(loaded.predict_proba(X), estimator.predict_proba(X))


def test_what_can_not_be_saved(fitted, tmp_path):
    with pytest.raises(FormatError, match="not fitted"):
        save(TabularRegressor(), tmp_path / "m.safetensors")
    with pytest.raises(TypeError, match="estimator must be one of TabularClassifier, TabularRegressor, got dict"):
        save({}, tmp_path / "m.safetensors")
    X = pd.DataFrame({"pair": [(1, 2), (3, 4)] * 20})
    odd = TabularRegressor(n_ensemble=1, epochs=1, hidden_layer_sizes=4).fit(X, np.arange(40.0))
    with pytest.raises(FormatError, match="a level must be text, a number or a truth value to be saved, got tuple"):
        save(odd, tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_every_field_of_the_encoder_is_kept():
    for kind, layout in LAYOUT.items():
        assert {field.name for field in fields(kind)} - {"codes"} == layout.keys()
    assert LAYOUT.keys() == {Numbers, Levels}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays, content: arrays.pop("numbers.median"), "array 'numbers.median' is missing"),
        (put("more", np.zeros(1)), "unknown arrays: more"),
        (put("numbers.median", np.zeros(7)), "'numbers.median' must be F64 of 1, got F64 of shape"),
        (put("numbers.median", np.zeros(1, np.float32)), "'numbers.median' must be F64"),
        (put("numbers.scale", np.array([np.nan])), "'numbers.scale' must be finite everywhere, got nan"),
        (put("numbers.plain", np.array([5])), "'numbers.plain' must be from 0 to 0 everywhere, got 5"),
        (put("numbers.source", np.array([0])), r"numbers.low' must be F64 of 1|Sequential from"),
        (put("levels.0.rows", np.full(4, -1)), "'levels.0.rows' must be from 0 to 3 everywhere, got -1"),
        (put("members.0.weight", np.zeros((2, 3, 8), np.float32)), "'members.0.weight' must be F32 of 2 x"),
        (lambda arrays, content: arrays.pop("members.0.bias"), "array 'members.0.bias' is missing"),
        (say("version", 9), "format version 9"),
        (say("kind", "tree"), "holds 'tree', which this Handgrad does not know"),
        (say("kind", ["tabular"]), "does not know"),
        (say("kind", "model"), "holds a model, which handgrad.load reads; expected an estimator for tables"),
        (say("metadata", []), "metadata is not a mapping"),
        (say("estimator", "Popen"), "estimator must be one of TabularClassifier, TabularRegressor, got 'Popen'"),
        (say("estimator", "TabularClassifier"), "its target must hold classes, kind, sharpness"),
        (say("arguments", {"command": "rm"}), "arguments are not those of TabularRegressor"),
        (say("columns", "size"), "columns must be a list"),
        (say("columns", [["size", "number"], ["size", "category"]]), "names of their own"),
        (say("columns", [["size", "number"], ["colour", "number"]]), "levels must be 0 lists"),
        (say("columns", [["size", "number"], [["x"], "category"]]), "a column must have a name and a role"),
        (say("columns", [["size"], ["colour"]]), "can't be read: ValueError"),
        (say("levels", [["red", "red", "blue"]]), "levels of category column 0 must be .* each once"),
        (say("levels", [["red", ["blue"], None]]), "can't be read: TypeError"),
        (say("levels", [["red", "blue"]]), "'levels.0.rows' must be I64 of 3, got I64 of shape"),
        (say("best_epochs", []), "best_epochs must be a whole number for each member, got"),
        (say("best_epochs", [1, -1]), "best_epochs must be a whole number"),
        (say("best_epochs", [1, 1, 1]), "'members.0.weight' must be F32 of 3 x"),
        (say("target", {"center": 0, "spread": 0, "range": [0, 1]}), "a spread above 0"),
        (say("target", {"center": 0, "spread": 1, "range": [1, 0]}), "a range that rises"),
        (say("target", {"center": "a", "spread": 1, "range": [0, 1]}), "center must be a finite number, got 'a'"),
        (say("target", {"center": 0, "spread": 1, "range": 7}), "can't be read: TypeError"),
        (say("architecture", [{"type": "os.system"}]), "unknown type 'os.system'"),
        (say("architecture", [{"type": "ReLU"}]), "must be a Sequential from .* inputs to 1 outputs, got ReLU"),
        (say("architecture", None), "the architecture must be a list"),
    ],
)
def test_damaged_files(fitted, tmp_path, change, message):
    path = tmp_path / "m.safetensors"
    save(fitted[0], path)
    damaged(path, change)
    with pytest.raises(FormatError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"classes": [0, 1], "kind": "i", "sharpness": -1}, "a sharpness above 0"),
        ({"classes": [0], "kind": "i", "sharpness": 1}, "two classes or more"),
        ({"classes": [0, 1], "kind": "V9", "sharpness": 1}, "two classes or more"),
        ({"classes": [0, 0], "kind": "i", "sharpness": 1}, "classes must differ"),
        ({"classes": ["a", 1], "kind": "i", "sharpness": 1}, "can't be read: ValueError"),
        ({"classes": [0, 1, 2], "kind": "i", "sharpness": 1}, "to 3 outputs"),
        ({"classes": ["x" * 10**5, *map(str, range(3000))], "kind": "U", "sharpness": 1}, "classes take more than"),
    ],
)
def test_damaged_targets(tmp_path, target, message):
    X, path = np.arange(40.0)[:, None], tmp_path / "m.safetensors"
    estimator = hg.TabularClassifier(n_ensemble=1, epochs=1, hidden_layer_sizes=4).fit(X, X[:, 0] > 20)
    save(estimator, path)
    damaged(path, say("target", target))
    with pytest.raises(FormatError, match=message):
        load(path)
