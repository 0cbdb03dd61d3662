"""What a search goes on from, when it was killed while Ray Tune copied it."""

import json
import pickle

import pytest

pytest.importorskip("ray", reason="searches need Ray")

from handgrad.cli.faults import InputError
from handgrad.cli.tune.states import COPIES, TO_TRY, TRIALS, Keeper, mend

OLD, NEW = "2026-01-01_00-00-00", "2026-01-01_00-00-09"
STATES = {
    TRIALS.format(OLD): b'{"trials": 1}',
    TO_TRY.format(OLD): pickle.dumps("first" * 20),
    TRIALS.format(NEW): b'{"trials": 2}',
    TO_TRY.format(NEW): pickle.dumps("second" * 50),
}
NEWEST = [TRIALS.format(NEW), TO_TRY.format(NEW)]
half = pytest.mark.parametrize("name", NEWEST)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "trial").mkdir()
    for name, content in {**STATES, "tuner.pkl": b"of a class that is nowhere", "trial/result.json": b"{}"}.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def states(folder):
    """The files that Ray finds."""
    paths = (path for pattern in (TRIALS, TO_TRY) for path in folder.glob(pattern.format("*")))
    return {path.name: path.read_bytes() for path in paths}


@half
@pytest.mark.parametrize("left", [0, 5, -1])
def test_half_a_state_is_the_last_whole_one_again(folder, name, left):
    keeper = Keeper()
    keeper.keep(folder)
    for _ in range(2):  # it may be cut off once more before it has changed
        (folder / name).write_bytes(STATES[name][:left])
        keeper.keep(folder)  # half of it is not kept
        mend(folder)
        assert states(folder) == STATES
    assert (folder / "tuner.pkl").exists()


@half
def test_both_files_are_of_one_moment(folder, name):
    """One that had gone on would know of trials that the other does not."""
    Keeper().keep(folder)
    for each in NEWEST:
        (folder / each).write_bytes(b'{"trials": 3}' if each.startswith("exp") else pickle.dumps("third"))
    (folder / name).write_bytes(b"")
    mend(folder)
    assert states(folder) == STATES


@half
@pytest.mark.parametrize("gone", [False, True])
def test_without_a_copy_the_session_before_counts(folder, name, gone):
    (folder / name).unlink() if gone else (folder / name).write_bytes(STATES[name][:-1])
    mend(folder)
    assert states(folder) == {other: content for other, content in STATES.items() if other not in NEWEST}


def test_trials_are_not_given_up_for_half_a_state(folder):
    for name in STATES:
        (folder / name).write_bytes(STATES[name][:-1])
    with pytest.raises(InputError, match=r"was cut off while it was written; the trials are kept there; begin another"):
        mend(folder)
    assert (folder / "trial/result.json").exists()


def test_what_changes_is_kept_anew(folder):
    keeper = Keeper()
    keeper.keep(folder)
    for content in (b"[1]", b"[1, 2]"):
        (folder / NEWEST[0]).write_bytes(content)
        keeper.keep(folder)
        (folder / NEWEST[0]).write_bytes(b"")
        mend(folder)
        assert (folder / NEWEST[0]).read_bytes() == content


def test_a_copy_that_can_not_be_written_ends_nothing(folder):
    class Storage:
        experiment_fs_path = str(folder)

    class Trial:
        storage = Storage()

    (folder / COPIES).write_text("a file, where the folder should be")
    keeper = Keeper()
    keeper.on_step_end(1, [Trial()])
    (folder / COPIES).unlink()
    keeper.on_step_end(2, [Trial()])
    assert len(json.loads((folder / COPIES / f"{NEW}.json").read_text())) == 2
