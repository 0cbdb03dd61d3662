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


def start(tmp_path, *arguments):
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(process, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


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
        assert process.stdout is not None
        plan = iter(process.stdout.readline, "")
        assert any(line.lstrip().startswith("model ") for line in plan)  # printed right before training
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "interrupted" in out
    folder = tmp_path / "runs/digits-1"
    config = json.loads((folder / "config.json").read_text())
    assert config["stopped"] == "interrupted"
    assert config["epochs"] == len((folder / "history.jsonl").read_text().splitlines()) > 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits-1"]


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_other_signals_leave_nothing(tmp_path, number):
    process = start(tmp_path, "train", "--epochs", 100_000, "--patience", 100_000)
    try:
        wait_for(process, lambda: any((tmp_path / "runs").glob(".unfinished-*")))
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert not (tmp_path / "runs").exists()


def test_the_command_starts_without_the_heavy_libraries():
    code = "import sys, handgrad.cli.app; print([m for m in ('numpy', 'sklearn', 'duckdb') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout == "[]\n"
