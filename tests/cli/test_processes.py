"""The command as its own process: signals, pipes, start-up."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

import warm

COMMAND = [sys.executable, "-W", "error", "-m", "handgrad.cli.app"]
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def test_predictions_go_through_a_pipe(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i % 9},{'ab'[i % 9 > 4]}\n" for i in range(90)))
    run = subprocess.run(
        [*COMMAND, "train", "t.csv", "--target", "y", "--quiet", "--epochs", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "runs/t-1\n", "")
    run = subprocess.run(
        [*COMMAND, "predict", "t-1", "t.csv"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0
    assert len(run.stdout.splitlines()) == 91


@posix
def test_ctrl_c_keeps_what_was_learnt(tmp_path):
    process = warm.start("train", "--epochs", 100_000, "--patience", 100_000, cwd=tmp_path)
    folder = tmp_path / "runs/digits-1"
    try:
        while not (folder / "history.jsonl").exists() and process.poll() is None:  # kernels may be compiled first
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.end()
    assert process.returncode == 0, err
    assert "interrupted" in out
    config = json.loads((folder / "config.json").read_text())
    assert config["stopped"] == "interrupted"
    assert config["epochs"] == len((folder / "history.jsonl").read_text().splitlines()) > 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits-1"]
    assert "handgrad train --resume digits-1" in out
    assert list((folder / "checkpoints").glob("step-*"))


LONG = ("train", "--hidden", "16", "--epochs", 400, "--patience", 400)


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    """The files of the run that signals do not stop."""
    folder = tmp_path_factory.mktemp("whole")
    ran = warm.run(*LONG, "--quiet", cwd=folder, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return files(folder / "runs/digits-1")


def files(folder):
    """The model's bytes, the history without what a clock gives, and which files there are."""
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    for row in history:
        del row["seconds"]
    return (folder / "model.safetensors").read_bytes(), history, sorted(path.name for path in folder.iterdir())


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_signal_cuts_off_goes_on_to_the_same_model(tmp_path, never_stopped, number):
    process = warm.start(*LONG, "--checkpoint", "3 epochs", cwd=tmp_path)
    checkpoints = tmp_path / "runs/digits-1/checkpoints"
    try:
        while len(list(checkpoints.glob("step-*"))) < 3 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.end()
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert err == "error: stopped by SIGTERM; to go on: handgrad train --resume digits-1\n"
    assert not (tmp_path / "runs/digits-1/model.safetensors").exists()
    run = warm.run("train", "--resume", "digits-1", "--quiet", cwd=tmp_path, timeout=120)
    assert (run.returncode, run.stdout, run.stderr) == (0, "runs/digits-1\n", "")
    assert files(tmp_path / "runs/digits-1") == never_stopped


def test_the_command_starts_without_the_heavy_libraries():
    code = "import sys, handgrad.cli.app; print([m for m in ('numpy', 'sklearn', 'duckdb') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout == "[]\n"


STOPS_WHILE_WRITING = """
import sys, time
from handgrad.cli.presets import ensemble, plain
from handgrad.cli.app import main

def save(*args, **metadata):
    path = args[-1]
    path.write_bytes(b"half a mod")
    print("writing", file=sys.stderr, flush=True)
    time.sleep(600)

plain.save = ensemble.files.save = save
main()
"""


QUICK = ("train", "t.csv", "--target", "y", "--quiet", "--epochs", 2, "--hidden", 4)

STOPS_WHILE_CLAIMING = """
import sys, time
from handgrad.cli.runs import folders as runs
from handgrad.cli.app import main

def rename(*args):
    print("claiming", file=sys.stderr, flush=True)
    time.sleep(600)

runs.os.rename = rename
main()
"""


@pytest.fixture
def table(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i % 9},{'ab'[i % 9 > 4]}\n" for i in range(90)))


@posix
def test_what_a_killed_run_left_is_removed_by_the_next_one_and_no_other(tmp_path, table):
    """Killed before it has its name."""
    claiming = [warm.start(*QUICK, code=STOPS_WHILE_CLAIMING, cwd=tmp_path) for _ in range(2)]
    try:
        assert [process.stderr.readline() for process in claiming] == ["claiming\n"] * 2
        assert len(list((tmp_path / "runs").glob(".unfinished-*"))) == 2
        claiming[0].end()  # SIGKILL
        for expected in ("runs/t-1\n", "runs/t-2\n"):
            run = warm.run(*QUICK, cwd=tmp_path)
            assert (run.returncode, run.stdout, run.stderr) == (0, expected, "")
            assert len(list((tmp_path / "runs").glob(".unfinished-*"))) == 1  # that of the one that lives
        claiming[1].end()
        assert warm.run(*QUICK, cwd=tmp_path).returncode == 0
        assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["t-1", "t-2", "t-3"]
    finally:
        for process in claiming:
            process.end()


KILLED_AFTER_THE_LINE = """
import os, signal
from handgrad.cli.app import main
from handgrad.training.checkpoints import Folder

def kill(self, training):
    if len(training.history) == 3:  # its line is written, and its checkpoint is not
        os.kill(os.getpid(), signal.SIGKILL)
    before(self, training)

before, Folder.epoch = Folder.epoch, kill
main()
"""


@posix
@pytest.mark.parametrize("preset", ["plain", "tabular"])
def test_the_history_has_each_epoch_once(tmp_path, table, preset):
    ensemble = ("--preset", "tabular", "--ensemble", 2) if preset == "tabular" else ()
    options = (*QUICK, "--epochs", 5, "--checkpoint", 1, *ensemble)
    assert warm.run(*options, code=KILLED_AFTER_THE_LINE, cwd=tmp_path).returncode == -signal.SIGKILL
    folder = tmp_path / "runs/t-1"
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert max(row["epoch"] for row in rows) == 3
    assert len({(row.get("member"), row["epoch"]) for row in rows}) == len(rows)
    config = json.loads((folder / "config.json").read_text())
    assert config["seed"] == 0
    assert "handgrad" in config["versions"]
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"epoch": 4, "lo')  # and half a line of the next
    assert warm.run("train", "--resume", "t-1", "--quiet", cwd=tmp_path).returncode == 0
    assert warm.run(*options, cwd=tmp_path).returncode == 0
    assert files(folder) == files(tmp_path / "runs/t-2")


LINES_ALONE = """
import os, signal
from handgrad.cli.app import main
from handgrad.cli import train
train.linear_model = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


@posix
def test_lines_are_written_as_the_epochs_end(tmp_path, table):
    """Killed once after an epoch that the next one repeats, and again when all are done: what is there is the lines."""
    options = (*QUICK, "--epochs", 5, "--checkpoint", 1)
    assert warm.run(*options, code=KILLED_AFTER_THE_LINE, cwd=tmp_path).returncode == -signal.SIGKILL
    resume = ("train", "--resume", "t-1", "--quiet")
    assert warm.run(*resume, code=LINES_ALONE, cwd=tmp_path).returncode == -signal.SIGKILL
    rows = [json.loads(line) for line in (tmp_path / "runs/t-1/history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert warm.run(*resume, cwd=tmp_path).returncode == 0
    again = [json.loads(line) for line in (tmp_path / "runs/t-1/history.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in again] == [row["loss"] for row in rows]


STOPS_AT = """
import sys, time
from handgrad.cli import train
from handgrad.cli.app import main

def stop(*args):
    print("there", file=sys.stderr, flush=True)
    time.sleep(600)

train.{} = stop
main()
"""


@posix
@pytest.mark.parametrize(
    ("place", "said"),
    [("prepare", "error: stopped by SIGTERM\n")]
    + [
        (place, "error: stopped by SIGTERM; to go on: handgrad train --resume t-1\n")
        for place in ("linear_model", "constant_guess", "_write")
    ],
)
def test_sigterm_at_any_place_has_its_word(tmp_path, table, place, said):
    process = warm.start(*QUICK, code=STOPS_AT.format(place), cwd=tmp_path)
    try:
        assert process.stderr.readline() == "there\n"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.end()
    assert (process.returncode, err) == (143, said)
    if place == "prepare":
        assert not (tmp_path / "runs").exists()
    else:
        run = warm.run("train", "--resume", "t-1", "--quiet", cwd=tmp_path)
        assert (run.returncode, run.stdout, run.stderr) == (0, "runs/t-1\n", "")


TABULAR = ("train", "t.csv", "--target", "y", "--preset", "tabular", "--ensemble", 3, "--epochs", 300, "--hidden", 4)


@pytest.fixture(scope="module")
def whole_ensemble(tmp_path_factory):
    """The files of an ensemble that nothing stops."""
    folder = tmp_path_factory.mktemp("ensemble")
    (folder / "t.csv").write_text("x,y\n" + "".join(f"{i % 9},{'ab'[i % 9 > 4]}\n" for i in range(90)))
    ran = warm.run(*TABULAR, "--quiet", cwd=folder, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return files(folder / "runs/t-1")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_ensemble_goes_on_to_the_same_model(tmp_path, table, whole_ensemble, number):
    process = warm.start(*TABULAR, "--quiet", "--checkpoint", "20 epochs", cwd=tmp_path)
    checkpoints = tmp_path / "runs/t-1/checkpoints"
    try:
        while len(list(checkpoints.glob("member-*/step-*"))) < 5 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.end()
    if number != signal.SIGKILL:
        what, code = ("interrupted", 130) if number == signal.SIGINT else ("stopped by SIGTERM", 143)
        assert (process.returncode, err) == (code, f"error: {what}; to go on: handgrad train --resume t-1\n")
    assert not (tmp_path / "runs/t-1/model.safetensors").exists()
    run = warm.run("train", "--resume", "t-1", "--quiet", cwd=tmp_path, timeout=120)
    assert (run.returncode, run.stdout, run.stderr) == (0, "runs/t-1\n", "")
    assert files(tmp_path / "runs/t-1") == whole_ensemble


@posix
def test_two_that_resume_one_run(tmp_path, table):
    first = warm.start(*QUICK, code=STOPS_AT.format("linear_model"), cwd=tmp_path)
    try:
        assert first.stderr.readline() == "there\n"
    finally:
        first.end()
    resume = ("train", "--resume", "t-1", "--quiet")
    second = warm.start(*resume, code=STOPS_AT.format("linear_model"), cwd=tmp_path)
    try:
        assert second.stderr.readline() == "there\n"
        third = warm.run(*resume, cwd=tmp_path)
        assert third.returncode == 1
        assert third.stderr == "error: the run 'runs/t-1' is being trained by another process; wait for it to end\n"
    finally:
        second.end()
    assert warm.run(*resume, cwd=tmp_path).returncode == 0


FULL = """
import resource, sys
from handgrad.cli.app import main
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
main()
"""


@posix
def test_a_full_disk_before_the_training_leaves_nothing(tmp_path, table):
    run = warm.run(*QUICK, code=FULL, cwd=tmp_path)
    assert run.returncode == 1
    assert re.fullmatch(r"error: runs/.*config\.json: file too large\n", run.stderr)
    assert not (tmp_path / "runs").exists()


@posix
def test_killed_while_it_writes_the_model_it_goes_on(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i % 9},{'ab'[i % 9 > 4]}\n" for i in range(90)))
    arguments = ["train", "t.csv", "--target", "y", "--quiet", "--epochs", "2"]
    process = warm.start(*arguments, code=STOPS_WHILE_WRITING, cwd=tmp_path)
    try:
        assert process.stderr.readline() == "writing\n"
        resume = ["train", "--resume", "t-1", "--quiet"]
        run = warm.run(*resume, cwd=tmp_path)
        assert run.returncode == 1
        assert run.stderr == "error: the run 'runs/t-1' is being trained by another process; wait for it to end\n"
    finally:
        process.end()
    run = warm.run(*resume, cwd=tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (0, "runs/t-1\n", "")


@posix
def test_a_terminal_shows_what_is_being_done(tmp_path):
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm"}
    process = warm.start("train", "--epochs", 2, cwd=tmp_path, environment=terminal)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.end()
    assert process.returncode == 0, err
    for phase in ("reading the table", "encoding the columns", "fitting the baseline", "checking the gradients"):
        assert phase in err
        assert phase not in out
    process = warm.start("train", "--epochs", 2, "--no-progress", cwd=tmp_path, environment=terminal)
    try:
        assert process.communicate(timeout=60)[1] == ""
    finally:
        process.end()
