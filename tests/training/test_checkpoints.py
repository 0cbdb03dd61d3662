"""Checkpoints: a training that goes on from any of them is to the bit the one that never stopped."""

import shutil

import numpy as np
import pytest

import handgrad as hg
from handgrad.engines.compiled import engine as compiled
from handgrad.errors import CheckpointError, CheckpointWarning, DivergenceError, ValueRangeError
from handgrad.formats import FormatError
from handgrad.formats.checkpoint import read_checkpoint, write_checkpoint
from handgrad.training.checkpoints import Every
from training.trainings import TRAININGS, X, Y, kept, newest, options_of, same, train

SCHEDULED = "dropout, schedule, early stopping"
ENGINES = ["eager", "compiled"]
CASES = [(name, engine) for name in TRAININGS for engine in ENGINES if (name, engine) != ("private", "compiled")]


@pytest.fixture
def short_parts(monkeypatch):
    """The compiled engine stops after each step to ask, as it does after a tenth of a second of them."""
    monkeypatch.setattr(compiled, "PART_SECONDS", 1e-9)
    monkeypatch.setattr(compiled, "FIRST_STEPS", 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "engine"), CASES)
def test_from_any_step_it_goes_on_to_the_same_bits(tmp_path, short_parts, name, engine, dtype):
    how = {"engine": engine}
    whole = train(name, dtype, **how)
    first = tmp_path / "first"
    same(train(name, dtype, **how, checkpoint=first, every="1 step", keep=1000), whole)
    files = sorted(first.glob("step-*"))
    assert len(files) > 15
    assert sum(read_checkpoint(path)[1]["begun"] is not None for path in files) > 10
    end = kept(first)
    for path in {*files[::3], files[-1]}:
        folder = tmp_path / path.stem
        folder.mkdir()
        shutil.copy(path, folder)
        same(train(name, dtype, **how, checkpoint=folder, resume=True), whole)
        assert kept(folder) == end


@pytest.mark.parametrize("engine", ENGINES)
def test_it_goes_on_again_and_again(tmp_path, engine):
    whole = train(SCHEDULED, engine=engine)

    class Cut(Exception):
        pass

    for cut in (1, 2, 3):

        def callback(end, cut=cut):
            if end.row["epoch"] > cut:
                raise Cut

        with pytest.raises(Cut):
            train(SCHEDULED, engine=engine, checkpoint=tmp_path, resume=True, callbacks=callback)
        assert read_checkpoint(newest(tmp_path))[1]["columns"][0] == "epoch"
    same(train(SCHEDULED, engine=engine, checkpoint=tmp_path, resume=True), whole)


def test_nothing_there_is_the_beginning_and_a_finished_one_the_end(tmp_path):
    folder = tmp_path / "new" / "folder"
    whole = train(SCHEDULED, checkpoint=folder, resume=True)
    same(whole, train(SCHEDULED))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    calls = []
    same(train(SCHEDULED, checkpoint=folder, resume=True, callbacks=[calls.append]), whole)
    assert not calls
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_a_callback_stopped_stays_stopped(tmp_path):
    stopped = train("regression", checkpoint=tmp_path, callbacks=lambda end: end.row["epoch"] == 2)
    same(train("regression", checkpoint=tmp_path, resume=True), stopped)
    assert stopped.stopped == "callback"


def test_more_epochs_go_on_and_fewer_are_refused(tmp_path):
    train("regression", checkpoint=tmp_path)
    same(train("regression", checkpoint=tmp_path, resume=True, epochs=7), train("regression", epochs=7))
    with pytest.raises(CheckpointError, match=r"of epoch 7, and epochs=3 asks for fewer"):
        train("regression", checkpoint=tmp_path, resume=True, epochs=3)


def test_more_patience_goes_on(tmp_path):
    impatient = {"monitor": "loss", "min_delta": 100.0, "epochs": 9}  # no epoch is better than the first
    assert train("regression", checkpoint=tmp_path, patience=2, **impatient).stopped == "patience"
    goes_on = train("regression", checkpoint=tmp_path, patience=5, resume=True, **impatient)
    same(goes_on, train("regression", patience=5, **impatient))
    assert len(goes_on.history) == 6


OTHERS = {
    "model": (
        {"model": hg.mlp([4, 8, 2], dropout=0.4)},
        r"model is .*rate=0\.3.* in the checkpoint, .*rate=0\.4",
    ),
    "width": ({"model": hg.mlp([4, 9, 2], dropout=0.3)}, r"model is .*; parameters is .*\(4, 8\).*\(4, 9\)"),
    "loss": ({"loss": "hinge"}, r"loss is CrossEntropy.* in the checkpoint, Hinge.* now"),
    "optimizer": ({"optimizer": hg.AdamW(hg.OneCycle(0.03))}, r"optimizer is .*peak=0\.02.*peak=0\.03"),
    "batch_size": ({"batch_size": 15}, r"batch_size is 16 in the checkpoint, 15 now"),
    "regularizer": ({"regularizer": hg.L2(0.1)}, r"regularizer is None in the checkpoint, L2\(strength=0\.1\) now"),
    "clip_norm": ({"clip_norm": 1}, r"clip_norm is None in the checkpoint, 1\.0 now"),
    "seed": ({"seed": 1}, r"seed is 0 in the checkpoint, 1 now"),
    "engine": ({"engine": "eager"}, r"engine is compiled in the checkpoint, eager now"),
    "patience": ({"patience": None}, r"monitor is validation_loss in the checkpoint, None now"),
    "metrics": ({"metrics": []}, r"metrics is \['accuracy'\] in the checkpoint, \[\] now"),
    "private": ({"per_sample_clip": 1.0}, r"per_sample_clip is None in the checkpoint, 1\.0 now"),
    "rows": ({"data": (X[:80], Y[:80])}, r"data is X \(72, 4\) float64.* in the checkpoint, X \(64, 4\)"),
    "values": ({"data": (X + 1e-9, Y)}, r"the values of data are others"),
    "labels": ({"data": (X, 1 - Y)}, r"the values of data are others"),
    "held out": ({"validation": (X, Y)}, r"validation is X \(18, 4\)"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_training_is_refused_by_what_differs(tmp_path, what):
    options, said = OTHERS[what]
    train(SCHEDULED, checkpoint=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=said) as caught:
        train(SCHEDULED, checkpoint=tmp_path, resume=True, **options)
    assert str(newest(tmp_path)) in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_dtype_is_refused(tmp_path):
    train(SCHEDULED, "float32", checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="dtype is float32 in the checkpoint, float64 now"):
        train(SCHEDULED, "float64", checkpoint=tmp_path, resume=True)


def test_other_versions_go_on_and_say_so(tmp_path):
    whole = train(SCHEDULED, checkpoint=tmp_path)
    arrays, content = read_checkpoint(newest(tmp_path))
    content["surroundings"]["numpy"] = "1.0"
    write_checkpoint(newest(tmp_path), arrays, content)
    with pytest.warns(CheckpointWarning, match=r"numpy is 1\.0 in the checkpoint, .* its last bits may be others"):
        same(train(SCHEDULED, checkpoint=tmp_path, resume=True), whole)


def test_a_layer_of_ones_own(tmp_path):
    class Doubled(hg.Layer):
        def forward(self, params, x, *, train=False, rng=None):
            return 2 * x, None

        def backward(self, dout, cache):
            return 2 * dout, {}

    def run(epochs, **how):
        model = hg.Sequential([hg.Linear(4, 8), Doubled(), hg.Dropout(0.2), hg.Linear(8, 2)])
        return hg.fit(model, (X, Y), epochs=epochs, progress=False, **how)

    run(2, checkpoint=tmp_path)
    same(run(5, checkpoint=tmp_path, resume=True), run(5))


def test_arrays_of_another_library(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: make test EXTRA=torch==2.13.0")
    data = torch.tensor(X), torch.tensor(Y)
    whole = train(SCHEDULED, data=(X, Y), engine="eager")
    model, _, options = options_of(SCHEDULED)
    for epochs in (2, 4):
        # the schedule has its length from the start, as epochs differ
        options["optimizer"] = hg.AdamW(hg.OneCycle(0.02, steps=20))
        result = hg.fit(model, data, **options | {"epochs": epochs}, checkpoint=tmp_path, resume=True)
    assert isinstance(result.params.flat, torch.Tensor)
    np.testing.assert_allclose(result.params.flat.numpy(), whole.params.flat, rtol=1e-9, atol=1e-12)


class Smoothed:
    """A callback with a memory."""

    def __init__(self):
        self.mean = 0.0
        self.seen = []

    def __call__(self, end):
        self.mean = 0.9 * self.mean + 0.1 * end.row["loss"]
        self.seen.append(self.mean)

    def state(self):
        return {"mean": self.mean}

    def resume(self, state):
        self.mean = state["mean"]


def test_a_callback_may_keep_its_state(tmp_path):
    whole, before, after = Smoothed(), Smoothed(), Smoothed()
    train("regression", callbacks=[whole], epochs=5)
    train("regression", callbacks=[before], epochs=2, checkpoint=tmp_path)
    train("regression", callbacks=[after], epochs=5, checkpoint=tmp_path, resume=True)
    assert before.seen + after.seen == whole.seen


def test_a_state_that_json_cannot_hold_is_refused_before_training(tmp_path):
    smoothed = Smoothed()
    smoothed.mean = np.zeros(2)
    with pytest.raises(FormatError, match="must hold what JSON can"):
        train("regression", callbacks=[smoothed], checkpoint=tmp_path)
    assert not smoothed.seen


def test_a_metric_that_is_no_number_is_kept(tmp_path):
    how = {"metrics": [lambda scores, y: float("nan")], "validation": 0.2}
    train("regression", checkpoint=tmp_path, epochs=2, **how)
    result = train("regression", checkpoint=tmp_path, resume=True, **how)
    assert np.isnan(result.history.column("validation_<lambda>")).all()
    assert [type(value) for value in result.history.column("epoch")] == [int] * 4


@pytest.mark.parametrize("engine", ENGINES)
def test_divergence_after_going_on_gives_the_parameters_it_went_on_from(tmp_path, engine):
    class Jump(hg.optim.Schedule):
        def at(self, step):
            return 1e-3 if step < 12 else 1e300

        def __repr__(self):
            return "Jump()"

    how = {"optimizer": hg.SGD(Jump()), "engine": engine, "checkpoint": tmp_path}
    before = train("regression", epochs=2, **how)
    with pytest.raises(DivergenceError) as caught:
        train("regression", epochs=4, resume=True, **how)
    good = caught.value.result.params.flat
    assert np.isfinite(good).all()
    assert len(caught.value.result.history) == len(before.history)
    assert read_checkpoint(newest(tmp_path))[1]["step"] == 12  # none of what diverged


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (1, Every(1, "epoch")),
        (np.int64(5), Every(5, "epoch")),
        ("3 epochs", Every(3, "epoch")),
        ("5", Every(5, "epoch")),
        ("500 steps", Every(500, "step")),
        ("1 step", Every(1, "step")),
        ("1.5 minutes", Every(90, "second")),
        ("2 hours", Every(7200, "second")),
        (" 30 seconds ", Every(30, "second")),
    ],
)
def test_every(every, expected):
    assert Every.of(every) == expected


@pytest.mark.parametrize("every", [0, -1, True, 1.5, None, "", "often", "0 steps", "1.5 epochs", "10 days", "-1 hour"])
def test_every_is_checked(tmp_path, every):
    with pytest.raises(ValueRangeError, match=r"every must be a number of epochs, or text such as '500 steps'"):
        train("regression", checkpoint=tmp_path / "none", every=every)
    assert not list(tmp_path.iterdir())


def test_when_and_how_many(tmp_path, short_parts):
    def steps(**how):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        train("regression", checkpoint=folder, **how)
        return [int(path.stem.removeprefix("step-")) for path in sorted(folder.glob("step-*"))]

    assert steps() == [12, 18, 24]  # an epoch has 6 steps
    assert steps(keep=100) == [0, 6, 12, 18, 24]
    assert steps(every=3, keep=2) == [18, 24]
    assert steps(every="5 steps", keep=100) == [0, 5, 10, 15, 20, 24]
    assert steps(every="1 hour", keep=100) == [0, 24]
    assert steps(every="0.000001 seconds", keep=100) == list(range(25))
    with pytest.raises(ValueRangeError, match="keep must be a whole number of at least 1, got 0"):
        steps(keep=0)


def test_resume_needs_a_folder():
    with pytest.raises(ValueRangeError, match="resume=True goes on from a folder of checkpoints; give checkpoint="):
        train("regression", resume=True)


def test_an_earlier_training_is_not_written_over(tmp_path):
    train("regression", checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match=r"holds the checkpoints of a training; give resume=True"):
        train("regression", checkpoint=tmp_path)


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    others = ["notes.txt", "step-1.safetensors", "best.safetensors", ".step-x.tmp.keep"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".step-0000000003.safetensors.abc.tmp").write_text("half a file")
    train("regression", checkpoint=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} - {".lock"} == {
        *others,
        *(f"step-{step:010d}.safetensors" for step in (12, 18, 24)),
    }
