"""What a search goes on from, when it was killed while Ray Tune copied it."""

import pickle

import pytest

pytest.importorskip("ray", reason="searches need Ray")

from handgrad.cli.tune.states import Keeper, mend

STATES = {
    "tuner.pkl": pickle.dumps({"a": list(range(100))}),
    "basic-variant-state-2026-01-01_00-00-00.json": pickle.dumps("first"),
    "basic-variant-state-2026-01-01_00-00-09.json": pickle.dumps("second" * 50),
    "experiment_state-2026-01-01_00-00-00.json": b'{"first": 1}',
    "experiment_state-2026-01-01_00-00-09.json": b'{"second": 2}',
}
NEWEST = [name for name in STATES if "00-00-00" not in name]


@pytest.fixture
def folder(tmp_path):
    for name, content in STATES.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def held(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("left", [0, 5, -1])
@pytest.mark.parametrize("name", NEWEST)
def test_half_a_state_is_the_last_whole_one_again(folder, name, left):
    keeper = Keeper()
    keeper.keep(folder)
    (folder / name).write_bytes(STATES[name][:left])
    keeper.keep(folder)  # half of it is not kept
    mend(folder)
    assert held(folder) == STATES


@pytest.mark.parametrize("name", NEWEST)
def test_half_a_state_without_a_copy_gives_way_to_an_older_one(folder, name):
    (folder / name).write_bytes(STATES[name][:-1])
    mend(folder)
    assert held(folder) == {other: content for other, content in STATES.items() if other != name}


def test_what_changes_is_kept_anew(folder):
    keeper = Keeper()
    keeper.keep(folder)
    for content in (b"[1]", b"[1, 2]"):
        (folder / NEWEST[-1]).write_bytes(content)
        keeper.keep(folder)
        (folder / NEWEST[-1]).write_bytes(b"")
        mend(folder)
        assert (folder / NEWEST[-1]).read_bytes() == content
