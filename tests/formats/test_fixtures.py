"""Files that released versions wrote still open, and give the numbers they gave."""

from __future__ import annotations

import csv
import io
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import handgrad as hg
from formats.released import DATA, EPOCHS, GRAPHS, MODELS, TORCH, train
from handgrad.cli.runs.networks import open_networks
from handgrad.errors import CheckpointWarning
from handgrad.estimators.tabular import files

ROOT = Path(__file__).with_name("fixtures")
VERSIONS = sorted(path.name for path in ROOT.iterdir() if (path / "numbers.safetensors").exists())
TOLERANCE = 1e-6
MOST = 1_000_000  # bytes


@pytest.fixture(scope="module", params=VERSIONS)
def kept(request):
    """(the folder of a version, its numbers)."""
    folder = ROOT / request.param
    return folder, safetensors.numpy.load_file(folder / "numbers.safetensors")


def close(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_there_are_some_and_they_are_small():
    assert VERSIONS
    assert sum(path.stat().st_size for path in ROOT.rglob("*")) < MOST


@pytest.mark.parametrize("name", [*MODELS, *GRAPHS])
def test_models(kept, name):
    folder, numbers = kept
    model, params, metadata = hg.load(folder / f"{name}.safetensors")
    assert metadata == {"note": "kept", "rows": [1, 2.5]}
    close(hg.predict(model, params, numbers[f"{name}.x"]), numbers[f"{name}.y"])
    expected, _ = {**MODELS, **GRAPHS}[name]
    assert repr(model) == repr(expected)
    assert list(params) == list(expected.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_onnx(kept, name):
    folder, numbers = kept
    model, params = hg.from_onnx(folder / f"{name}.onnx")
    close(hg.predict(model, params, numbers[f"{name}.x"]), numbers[f"{name}.y"])


def test_pytorch(kept):
    torch = pytest.importorskip("torch", reason="needs PyTorch: make test EXTRA=torch==2.13.0")
    folder, numbers = kept
    model, _ = MODELS[TORCH]
    module = hg.to_torch(model, model.init(0, np.float32))
    module.load_state_dict(torch.load(folder / "torch.pt", weights_only=True))
    close(hg.predict(*hg.from_torch(module), numbers["torch.x"]), numbers["torch.y"])


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_training_goes_on(kept, tmp_path, engine):
    """From within an epoch, to the same end; on another processor, to rounding."""
    folder, numbers = kept
    place = tmp_path / "checkpoints"
    shutil.copytree(folder / f"checkpoints-{engine}", place)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)  # other versions of Python and NumPy may be here
        result = train(engine, place, resume=True)
    assert [row["epoch"] for row in result.history] == list(range(1, EPOCHS + 1))
    close(result.params.flat, numbers[f"{engine}.params"])


@pytest.fixture
def command(monkeypatch, kept):
    """command("predict", ...) -> what it wrote, in the version's folder."""
    from typer.testing import CliRunner

    from handgrad.cli.app import app

    monkeypatch.chdir(kept[0])

    def run(*arguments):
        ran = CliRunner().invoke(app, list(arguments))
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    return run


@pytest.mark.parametrize("preset", ["plain", "tabular"])
def test_runs(kept, command, preset):
    folder, numbers = kept
    header, *cells = csv.reader(io.StringIO(command("predict", preset, "table.csv", "--probabilities", "--runs", ".")))
    assert header == ["prediction", "probability of a", "probability of b"]
    close(np.array([row[1:] for row in cells], np.float64), numbers[f"{preset}.probabilities"])
    networks = open_networks(folder / preset / "model.safetensors")
    assert all(len(history) > 0 for history in networks.histories)


def test_estimators(kept):
    folder, numbers = kept
    estimator, metadata = files.load(folder / "estimator.safetensors")
    assert metadata == {"note": "kept"}
    close(estimator.predict(DATA[0]), numbers["estimator.y"])


def test_views(kept):
    folder, _ = kept
    view = hg.View.from_json((folder / "view.json").read_text())
    assert view.title == "Kept"
    assert "</html>" in view.to_html()
