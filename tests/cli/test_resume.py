"""`handgrad train --resume RUN`: a run that was cut off goes on with its own options, or says why it cannot."""

import json
import shutil

import pytest

import handgrad as hg

QUICK = ("--epochs", 4, "--hidden", "8", "--quiet", "--checkpoint", 1)


@pytest.fixture
def cut_off(handgrad, flowers, monkeypatch, tmp_path):
    """The folder of a run whose model the disk had no room for."""

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "runs/x")

    with monkeypatch.context() as patch:
        patch.setattr("handgrad.cli.presets.plain.save", full)
        ran = handgrad("train", flowers, "--target", "kind", *QUICK)
    assert ran.code == 1
    assert ran.err == "error: runs/x: no space left on device; to go on: handgrad train --resume flowers-1\n"
    return tmp_path / "runs/flowers-1"


def test_a_run_that_the_disk_had_no_room_for_goes_on(handgrad, cut_off, flowers, tmp_path):
    assert (cut_off / "checkpoints").is_dir()
    ran = handgrad("train", "--resume", "flowers-1", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "runs/flowers-1\n", "")
    assert sorted(path.name for path in cut_off.iterdir()) == ["config.json", "history.jsonl", "model.safetensors"]
    handgrad("train", flowers, "--target", "kind", *QUICK)
    whole = tmp_path / "runs/flowers-2"
    assert (whole / "model.safetensors").read_bytes() == (cut_off / "model.safetensors").read_bytes()
    first, second = (json.loads((folder / "config.json").read_text()) for folder in (whole, cut_off))
    for config in (first, second):
        del config["seconds"], config["started"]
    assert first == second


def test_in_another_folder_and_by_its_path(handgrad, cut_off, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "runs").rename(elsewhere)
    assert handgrad("train", "--resume", "flowers-1", "--runs", "elsewhere", "--quiet").out == "elsewhere/flowers-1\n"


def test_it_shows_what_it_does(handgrad, cut_off):
    ran = handgrad("train", "--resume", cut_off, "--no-progress", "--report")
    assert ran.code == 0
    for words in ("flowers.csv", "this MLP", "worst relative error", "handgrad predict"):
        assert words in ran.out
    assert (cut_off / "report.html").exists()


def test_until_then_it_is_no_run_to_predict_with(cut_off, flowers, refused):
    refused(
        "predict", "flowers-1", flowers, saying="is not complete; handgrad train --resume flowers-1 goes on with it"
    )


def test_other_options_beside_it_are_refused(cut_off, refused):
    said = r"--resume goes on with the options that the run has; leave out DATA and --learning-rate"
    refused("train", "x.csv", "--resume", "flowers-1", "--learning-rate", 1, saying=said, code=2)
    refused("train", "--resume", "flowers-1", "--epochs", 4, saying="leave out --epochs", code=2)


def test_a_run_that_is_none(cut_off, refused, tmp_path):
    refused(
        "train",
        "--resume",
        "flower-1",
        saying="there is no run 'flower-1'; did you mean 'flowers-1'.; the unfinished runs in 'runs' are flowers-1",
    )
    (tmp_path / "empty").mkdir()
    refused("train", "--resume", "empty", saying="'empty' is no run to resume")


def test_a_complete_run_has_nothing_left(handgrad, refused, flowers):
    handgrad("train", flowers, "--target", "kind", *QUICK)
    refused("train", "--resume", "flowers-1", saying="'runs/flowers-1' is complete: nothing is left to do")


def test_other_data_are_refused(cut_off, refused, flowers):
    lines = flowers.read_text().splitlines()
    for i in range(1, len(lines), 3):
        lines[i] = lines[i].replace("0.", "0.9")
    flowers.write_text("\n".join(lines) + "\n")
    refused("train", "--resume", "flowers-1", saying="flowers.csv is not the table any more that")


def test_until_it_is_complete_its_config_says_what_it_is(cut_off):
    config = json.loads((cut_off / "config.json").read_text())
    assert config["seed"] == 0
    assert {"handgrad", "numpy", "python"} <= set(config["versions"])
    assert (config["task"], config["target"]) == ("classification", "kind")


def test_it_began_when_it_did(handgrad, cut_off):
    path = cut_off / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"started": "2020-02-02T02:02:02+00:00"}))
    handgrad("train", "--resume", "flowers-1", "--quiet")
    assert json.loads(path.read_text())["started"] == "2020-02-02T02:02:02+00:00"


def test_a_run_that_is_removed_while_it_is_trained(handgrad, flowers, monkeypatch, tmp_path):
    def remove(*args, **kwargs):
        shutil.rmtree(tmp_path / "runs/flowers-1")
        raise OSError(2, "No such file or directory", "x")

    monkeypatch.setattr("handgrad.cli.presets.plain.save", remove)
    ran = handgrad("train", flowers, "--target", "kind", *QUICK)
    assert (ran.code, ran.err) == (
        1,
        "error: the run's folder 'runs/flowers-1' has been removed while it was trained\n",
    )


@pytest.fixture
def no_memory(monkeypatch):
    """The first epoch is done, where that is said, and then there is no memory for a step."""

    def fail(epochs):
        def fit(*args, callbacks, **kwargs):
            for epoch in range(1, 1 + epochs):
                for callback in callbacks:
                    callback(hg.EpochEnd({"epoch": epoch, "loss": 1.0}, None, None))
            raise hg.errors.OutOfMemoryError(
                "out of memory: a step of batch_size=64 needs 9 GB; batch_size=32 would fit"
            )

        monkeypatch.setattr("handgrad.cli.presets.plain.fit", fit)

    return fail


def test_no_memory_for_the_first_step(no_memory, refused, flowers):
    no_memory(0)
    said = "memory: a step of --batch-size 64 needs 9 GB; --batch-size 32 would fit; nothing was written$"
    refused("train", flowers, "--target", "kind", *QUICK, saying=said)


def test_no_memory_for_a_later_step(no_memory, handgrad, flowers, tmp_path):
    no_memory(1)
    ran = handgrad("train", flowers, "--target", "kind", *QUICK)
    assert ran.code == 1
    assert ran.err.endswith("--batch-size 32 would fit; to go on: handgrad train --resume flowers-1\n")
    assert (tmp_path / "runs/flowers-1/history.jsonl").exists()


def test_the_table_is_gone(cut_off, refused, flowers):
    flowers.unlink()
    refused("train", "--resume", "flowers-1", saying=r"flowers\.csv")


def change(path, **options):
    config = json.loads(path.read_text())
    config["options"].update(options)
    return json.dumps(config)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: "{", r"config.json' can't be read"),
        (lambda path: "[" * 100_000, r"config.json' can't be read"),
        (lambda path: "[]", "it holds no options of a training"),
        (lambda path: "{}", "it holds no options of a training"),
        (lambda path: change(path, preset="new"), "it holds no options of a training"),
        (lambda path: change(path, preset=[]), "it holds no options of a training"),
        (lambda path: change(path, epochs="4"), r"its option epochs must be int, got '4'"),
        (lambda path: change(path, epochs=True), r"its option epochs must be int, got True"),
        (lambda path: change(path, epochs=None), r"its option epochs must be int, got None"),
        (lambda path: change(path, hidden=[8, "x"]), r"its option hidden must be tuple\[int, ...\], got \(8, 'x'\)"),
        (lambda path: change(path, hidden=8.5), r"its option hidden must be tuple\[int, ...\], got 8.5"),
        (lambda path: change(path, depth=3), r"it has the options depth, which this version does not know"),
        (lambda path: change(path, dropout=2.0), r"--dropout must be at least 0 and below 1, got 2"),
    ],
)
def test_a_damaged_config(cut_off, refused, damage, said):
    path = cut_off / "config.json"
    path.write_text(damage(path))
    refused("train", "--resume", "flowers-1", saying=said, code=2 if said.startswith("--") else 1)


def test_a_damaged_checkpoint_is_a_note(handgrad, cut_off):
    newest = max((cut_off / "checkpoints").glob("step-*"))
    newest.write_bytes(newest.read_bytes()[:-1])
    ran = handgrad("train", "--resume", "flowers-1", "--quiet")
    assert ran.code == 0
    assert ran.err.startswith("note: ")
    assert "Training goes on from step-" in ran.err
    assert ran.err.count("\n") == 1


def test_how_often_is_checked(refused, flowers):
    said = "--checkpoint must be a number of epochs, or text such as '500 steps', .*, got 'often'"
    refused("train", flowers, "--target", "kind", "--checkpoint", "often", saying=said, code=2)


def test_a_training_that_diverges_leaves_nothing(refused, flowers):
    refused(
        *("train", flowers, "--target", "kind", "--optimizer", "sgd", "--learning-rate", 1e30, *QUICK),
        saying="training diverged",
    )


def test_the_checkpoint_s_numbers_are_those_of_the_model(handgrad, cut_off):
    from handgrad.formats.checkpoint import read_checkpoint

    arrays, _ = read_checkpoint(max((cut_off / "checkpoints").glob("step-*")))
    handgrad("train", "--resume", "flowers-1", "--quiet")
    _, params, _ = hg.load(cut_off / "model.safetensors")
    assert (arrays["best_params"] == params.flat).all()
