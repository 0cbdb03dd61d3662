"""`handgrad train` killed at any moment, again and again, goes on to the files of the undisturbed run."""

import json
import os
import random
import signal
import time
from itertools import count

import pytest

import warm
from handgrad.formats.checkpoint import read_checkpoint
from soak import FACTOR

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")

ROWS = "x,y\n" + "".join(f"{i % 9},{'ab'[i % 9 > 4]}\n" for i in range(90))
OPTIONS = ("--target", "y", "--hidden", "8", "--epochs", 30, "--patience", 30, "--quiet", "--checkpoint", "3 steps")


def files(run):
    """What a run holds, without what a clock gives."""
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    config = json.loads((run / "config.json").read_text())
    for row in history:
        del row["seconds"]
    for name in ("started", "seconds"):
        config.pop(name, None)
    del config["files"]["written"]
    return (run / "model.safetensors").read_bytes(), history, config, sorted(path.name for path in run.iterdir())


def check_readable(run):
    """No file is half a one; a line of the history, which is appended to, may lack its end alone."""
    json.loads((run / "config.json").read_text())
    for path in (run / "checkpoints").glob("step-*"):
        read_checkpoint(path)
    if (run / "history.jsonl").exists():
        for line in (run / "history.jsonl").read_text().split("\n")[:-1]:
            json.loads(line)


def killed(command, folder, after):
    """Whether the command, killed after so many seconds unless it has ended, was killed."""
    process = warm.start(*command, cwd=folder)
    try:
        time.sleep(after)
        process.kill()
        _, err = process.communicate(timeout=120)
    finally:
        process.end()
    assert process.returncode in (0, -signal.SIGKILL), err
    return process.returncode != 0


def test_killed_at_random_moments_it_comes_to_the_same_files(tmp_path):
    """3 kills, and 60 in `make soak`."""
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "t.csv").write_text(ROWS)
    warm.run("--version", cwd=whole, timeout=300)  # the first of these commands waits for the library to be loaded
    began = time.monotonic()
    assert warm.run("train", "t.csv", *OPTIONS, cwd=whole, timeout=300).returncode == 0
    seconds, expected = time.monotonic() - began, files(whole / "runs/t-1")
    draw, kills, trainings = random.Random(), 0, 0
    while kills < 3 * FACTOR:
        folder = tmp_path / str(trainings)
        folder.mkdir()
        (folder / "t.csv").write_text(ROWS)
        run, trainings = folder / "runs/t-1", trainings + 1
        for attempt in count():
            begun = run.exists()  # a run that was killed before it had its name is begun anew
            command = ("train", "--resume", "t-1", "--quiet") if begun else ("train", "t.csv", *OPTIONS)
            # ever later, as a machine that has become slower might else never come as far as a checkpoint
            if killed(command, folder, draw.uniform(0, 0.7 * seconds * 1.5**attempt)):
                kills += 1
            if not run.exists():
                continue
            check_readable(run)
            if not (run / "checkpoints").exists():
                break
            if (run / "model.safetensors").exists():  # killed when it was complete, before it had tidied up
                assert warm.run("train", "--resume", "t-1", "--quiet", cwd=folder, timeout=300).returncode == 0
                break
        assert files(run) == expected


def test_half_a_file_of_a_killed_process_goes_when_the_run_goes_on(tmp_path):
    (tmp_path / "t.csv").write_text(ROWS)
    process = warm.start("train", "t.csv", *OPTIONS[:-3], "--epochs", 10**6, cwd=tmp_path)
    run = tmp_path / "runs/t-1"
    try:
        while not (run / "history.jsonl").exists() and process.poll() is None:
            time.sleep(0.01)
    finally:
        process.end()
    (run / ".config.json.x1y2z3.tmp").write_text('{"options": {"ta')
    config = json.loads((run / "config.json").read_text())
    config["options"]["epochs"] = 5
    (run / "config.json").write_text(json.dumps(config))
    for step in (run / "checkpoints").glob("step-*"):  # of more epochs than that
        step.unlink()
    assert warm.run("train", "--resume", "t-1", "--quiet", cwd=tmp_path, timeout=120).returncode == 0
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "history.jsonl", "model.safetensors"]
