"""The command as its own process: signals, pipes, start-up."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-W", "error", "-m", "handgrad.cli.app"]
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


# A shell that runs the tests in the background has SIGINT ignored, which its children inherit. (Not with preexec_fn:
# from Python 3.12 on it warns where there are threads, as in pytest-xdist.)
HEEDS_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from handgrad.cli.app import main
main()
"""


def start(tmp_path, *arguments, environment=None):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", HEEDS_CTRL_C, *map(str, arguments)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
    )


def end(process):
    """Kill it, where it still runs, and close its pipes."""
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def wait_for_training(process):
    """Until the plan is printed, right before training."""
    assert any(line.lstrip().startswith("model ") for line in iter(process.stdout.readline, ""))


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
    process = start(tmp_path, "train", "--epochs", 100_000, "--patience", 100_000)
    try:
        wait_for_training(process)
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        end(process)
    assert process.returncode == 0, err
    assert "interrupted" in out
    folder = tmp_path / "runs/digits-1"
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
    subprocess.run([*COMMAND, *map(str, LONG), "--quiet"], cwd=folder, capture_output=True, timeout=120, check=True)
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
    process = start(tmp_path, *LONG, "--checkpoint", "3 epochs")
    checkpoints = tmp_path / "runs/digits-1/checkpoints"
    try:
        while len(list(checkpoints.glob("step-*"))) < 3 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        end(process)
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert err == "error: stopped by SIGTERM; to go on: handgrad train --resume digits-1\n"
    assert not (tmp_path / "runs/digits-1/model.safetensors").exists()
    run = subprocess.run(
        [*COMMAND, "train", "--resume", "digits-1", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "runs/digits-1\n", "")
    assert files(tmp_path / "runs/digits-1") == never_stopped


def test_the_command_starts_without_the_heavy_libraries():
    code = "import sys, handgrad.cli.app; print([m for m in ('numpy', 'sklearn', 'duckdb') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout == "[]\n"


STOPS_WHILE_WRITING = """
import sys, time
from handgrad.cli import ensemble, plain
from handgrad.cli.app import main

def save(*args, **metadata):
    path = args[-1]
    path.write_bytes(b"half a mod")
    print("writing", file=sys.stderr, flush=True)
    time.sleep(600)

plain.save = ensemble.files.save = save
main()
"""


@posix
def test_what_a_killed_run_left_is_removed_by_the_next_one_and_no_other(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i % 9},{'ab'[i % 9 > 4]}\n" for i in range(90)))
    arguments = [
        "train",
        "t.csv",
        "--target",
        "y",
        "--quiet",
        "--epochs",
        "2",
        "--preset",
        "tabular",
        "--ensemble",
        "1",
    ]
    code = [sys.executable, "-c", STOPS_WHILE_WRITING, *arguments]
    writing = [subprocess.Popen(code, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert [process.stderr.readline() for process in writing] == ["writing\n"] * 2
        assert len(list((tmp_path / "runs").glob(".unfinished-*"))) == 2
        end(writing[0])  # SIGKILL
        for expected in ("runs/t-1\n", "runs/t-2\n"):
            run = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert (run.returncode, run.stdout, run.stderr) == (0, expected, "")
            assert len(list((tmp_path / "runs").glob(".unfinished-*"))) == 1  # that of the one that lives
        end(writing[1])
        subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, timeout=60, check=True)
        assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["t-1", "t-2", "t-3"]
    finally:
        for process in writing:
            end(process)


@posix
def test_killed_while_it_writes_the_model_it_goes_on(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i % 9},{'ab'[i % 9 > 4]}\n" for i in range(90)))
    code = [sys.executable, "-c", STOPS_WHILE_WRITING, "train", "t.csv", "--target", "y", "--quiet", "--epochs", "2"]
    process = subprocess.Popen(code, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr.readline() == "writing\n"
        resume = [*COMMAND, "train", "--resume", "t-1", "--quiet"]
        run = subprocess.run(resume, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert run.returncode == 1
        assert run.stderr == "error: the run 'runs/t-1' is being trained by another process; wait for it to end\n"
    finally:
        end(process)
    run = subprocess.run(resume, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "runs/t-1\n", "")


@posix
def test_a_terminal_shows_what_is_being_done(tmp_path):
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm"}
    process = start(tmp_path, "train", "--epochs", 2, environment=terminal)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        end(process)
    assert process.returncode == 0, err
    for phase in ("reading the table", "encoding the columns", "fitting the baseline", "checking the gradients"):
        assert phase in err
        assert phase not in out
    process = start(tmp_path, "train", "--epochs", 2, "--no-progress", environment=terminal)
    try:
        assert process.communicate(timeout=60)[1] == ""
    finally:
        end(process)
