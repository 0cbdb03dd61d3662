"""`handgrad train --workers` and `handgrad tune`, on a Ray cluster."""

import json
import signal
import time
from base64 import b64decode
from contextlib import suppress
from dataclasses import asdict

import numpy as np
import pytest

import warm
from cli.conftest import handgrad  # noqa: F401
from handgrad.cli.options import Plain
from handgrad.cli.tune.search import SEARCH
from scale.keeper import CPUS

SECONDS = 300.0
TRIALS = 6


@pytest.fixture
def table(tmp_path):
    """A CSV of 160 rows, two numbers and the class that their product has the sign of."""
    return signs(tmp_path, 160)


def signs(tmp_path, rows):
    rng = np.random.default_rng(1)
    lines = ["a,b,sign"]
    for a, b in rng.standard_normal((rows, 2)):
        lines.append(f"{a},{b},{'plus' if a * b > 0 else 'minus'}")
    path = tmp_path / "signs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def come_free(address):
    """Whether all of a cluster's processors are free again soon: Ray learns of a worker's end a little later."""
    import ray

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        until = time.monotonic() + 60
        while ray.available_resources().get("CPU", 0) < CPUS and time.monotonic() < until:
            time.sleep(0.1)
        return ray.available_resources().get("CPU", 0) == CPUS
    finally:
        ray.shutdown()


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def cut(number, when, *arguments, cwd, **environment):
    """Begin the command, and send it a signal as soon as it is `when`; its exit code and what it said."""
    process = warm.start(*arguments, cwd=cwd, environment=environment)
    try:
        until = time.monotonic() + SECONDS
        while not when() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(SECONDS)
    finally:
        process.end()
    return process.returncode, out + err


def test_train_by_two_workers_cut_off_by_ctrl_c(cluster, handgrad, table, tmp_path):  # noqa: F811
    """The run is that of one process, in float64 to rounding, and its epochs are kept as they come."""
    history = tmp_path / "runs" / "two" / "history.jsonl"
    options = ("train", table, "--target", "sign", "--epochs", 300, "--patience", 300, "--hidden", "8")
    options += ("--batch-size", 8, "--dtype", "float64", "--checkpoint", "1 epochs")
    code, said = cut(
        signal.SIGINT,
        lambda: history.exists() and len(history.read_text().splitlines()) > 10,
        *(*options, "--name", "two", "--workers", 2, "--address", cluster),
        cwd=tmp_path,
    )
    assert code == 130, said
    assert "error: interrupted; to go on: handgrad train --resume" in said
    assert "Traceback" not in said
    assert come_free(cluster)
    assert len(rows_of(history)) < 300
    resumed = handgrad("train", "--resume", "two")
    assert resumed.code == 0, resumed.err
    assert handgrad(*options, "--name", "one").code == 0
    two, one = (rows_of(tmp_path / "runs" / name / "history.jsonl") for name in ("two", "one"))
    assert [row["epoch"] for row in two] == list(range(1, 301))
    np.testing.assert_allclose([row["loss"] for row in two], [row["loss"] for row in one], rtol=1e-7)


def test_a_streamed_table_by_two_workers(cluster, handgrad, table, tmp_path):  # noqa: F811
    """Its rows are encoded once, into the cluster's store, and shared from there."""
    options = ("--target", "sign", "--epochs", 2, "--hidden", "8", "--batch-size", 16, "--name", "streamed")
    ran = handgrad("train", table, *options, "--stream", "--workers", 2, "--address", cluster)
    assert ran.code == 0, ran.err
    rows = rows_of(tmp_path / "runs" / "streamed" / "history.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["loss"] < rows[0]["loss"]


def statuses(folder):
    """Of the trials that Ray has written down."""
    found = []
    for path in sorted(folder.glob("trials/experiment_state-*.json")):  # one each time that it was gone on with
        with suppress(ValueError):  # half of it
            found = states_in(path.read_text())
    return found


def states_in(state):
    """Of the trials, by Ray's file of them."""
    return [json.loads(trial)["status"] for trial, _ in json.loads(state)["trial_data"]]


def test_tune_cut_off_twice(cluster, handgrad, tmp_path):  # noqa: F811
    """By Ctrl-C, and by a kill while it goes on: trials that had ended are kept, and all are tried in the end."""
    from handgrad.cli.tune.states import COPIES, mend

    table = signs(tmp_path, 3000)
    folder = tmp_path / "runs" / "tune-signs"
    options = ("tune", table, "--target", "sign", "--address", cluster, "--at-once", 1)
    often = {"TUNE_GLOBAL_CHECKPOINT_S": "0.2"}

    def ended(count):
        return lambda: statuses(folder).count("TERMINATED") >= count

    def kept_of(count):
        """Whether so many have ended in the copy of the newest state too."""
        return lambda: any(
            states_in(b64decode(json.loads(path.read_text())[0])).count("TERMINATED") >= count
            for path in folder.glob(f"trials/{COPIES}/*.json")
        )

    given = (*options, "--epochs", 40, "--trials", TRIALS)
    code, said = cut(signal.SIGINT, ended(1), *given, cwd=tmp_path, **often)
    assert code == 130, said
    assert f"of {TRIALS} trials are done and kept in {str(folder)!r}; to go on, give the same command with" in said
    assert not (folder / "best.json").exists()
    again = handgrad(*given)
    assert again.code == 1
    assert "holds a search; give --resume" in again.err
    other = handgrad(*options, "--epochs", 41, "--resume")
    assert other.code == 1
    assert "was begun with epochs 40, not 41" in other.err

    before = statuses(folder).count("TERMINATED")
    code, said = cut(signal.SIGKILL, kept_of(before + 1), *given, "--resume", cwd=tmp_path, **often)
    assert code == -signal.SIGKILL, said
    for pattern in ("experiment_state-*", "basic-variant-state-*"):  # killed while it copied them, as may be
        max(folder.glob(f"trials/{pattern}")).write_bytes(b"")
    mend(folder / "trials")
    kept = {path: path.read_text() for path in folder.glob("trials/*/result.json")}
    before = statuses(folder).count("TERMINATED")
    assert 2 <= before < TRIALS

    ran = handgrad(*options, "--resume")
    assert ran.code == 0, ran.err
    assert ran.err.count("trial ") == TRIALS - before
    best = json.loads((folder / "best.json").read_text())
    assert best["trials"] == TRIALS
    assert sum(path.read_text() == text for path, text in kept.items()) >= before
    losses = [row["validation_loss"] for path in folder.glob("trials/*/result.json") for row in rows_of(path)]
    assert best["validation_loss"] == min(losses)
    assert f"--batch-size {best['options']['batch_size']}" in best["command"] or best["options"]["batch_size"] == 64
    assert best["command"].startswith("handgrad train ")


def test_a_search_that_is_not_to_be_gone_on_with(handgrad, table, tmp_path):  # noqa: F811
    """None is there, it can't be read, or the table is another by now."""
    pytest.importorskip("ray", reason="searches need Ray")
    options = ("tune", table, "--target", "sign", "--resume")
    assert "holds no search to go on with" in handgrad(*options).err
    folder = tmp_path / "runs" / "tune-signs"
    folder.mkdir(parents=True)
    (folder / SEARCH).write_text('{"options": {}, "trials": 3}')
    assert "holds no options of a training" in handgrad(*options).err
    kept = {"options": asdict(Plain(data=str(table), target="sign")), "trials": 3, "rows": 5}
    (folder / SEARCH).write_text(json.dumps(kept))
    assert "is not the table any more" in handgrad(*options).err


def test_a_search_cut_off_before_its_first_trial_is_begun_anew(tmp_path):
    """Ray has written down nothing yet that a search could go on from."""
    from handgrad.cli.tune.search import TRIALS, can_go_on

    assert not can_go_on(tmp_path)
    (tmp_path / TRIALS).mkdir()
    (tmp_path / TRIALS / "tuner.pkl").touch()
    assert not can_go_on(tmp_path)
    (tmp_path / TRIALS / "experiment_state-2026.json").touch()
    assert can_go_on(tmp_path)
