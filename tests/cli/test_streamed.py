"""Tables that are streamed: what is learnt from them, training and predicting block by block."""

import csv
import io
import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import handgrad.cli.data.memory as memory
import handgrad.cli.data.streamed as streamed
from handgrad.cli.data.columns import Features, summary_of
from handgrad.cli.data.sources import Data, open_source
from handgrad.cli.data.streamed import TEST, TRAIN, VALIDATION, Draw
from handgrad.cli.data.summaries import Moments, Texts
from handgrad.cli.data.targets import Classes
from handgrad.cli.data.tasks import prepare
from handgrad.cli.options import Plain
from handgrad.cli.presets.baselines import linear_model
from handgrad.errors import HandgradError

QUICK = ("--epochs", 4, "--hidden", "16", "--no-progress")


def table(rows, seed=0):
    """Numbers in float32 and float64 with gaps, whole ones, truth values, times, text with gaps, an id; two targets."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    word = rng.integers(0, 70, rows) // 2
    gap = rng.random(rows) < 0.05
    return pa.table(
        {
            "a": x[:, 0].astype(np.float32),
            "b": pa.array(1e6 + 3 * x[:, 1], mask=gap),
            "c": rng.integers(0, 9, rows),
            "yes": x[:, 2] > 0,
            "at": pa.array(rng.integers(0, 10**9, rows), pa.timestamp("s")),
            "word": pa.array([f"w{i}" for i in word], mask=rng.random(rows) < 0.03),
            "id": [f"row {i}" for i in range(rows)],
            "one": np.ones(rows),
            "number": x[:, 0] * 2 - x[:, 1] + (word % 5) + rng.normal(0, 0.1, rows),
            "kind": np.array(["ash", "bay", "elm"])[np.digitize(x[:, 0] + x[:, 1], [-0.5, 0.5])],
        }
    )


@pytest.fixture
def parquet(tmp_path):
    pq.write_table(table(6000), tmp_path / "t.parquet", row_group_size=700)
    return tmp_path / "t.parquet"


def test_a_stream_learns_the_encoders_that_memory_does(parquet):
    with open_source(Data(str(parquet))) as source:
        whole = source.read()
        rows = np.arange(whole.rows)
        inputs = whole.without(["number", "kind"])
        for train in (rows, rows[rows % 3 > 0]):
            summaries = {}
            first = 0
            for block in source.blocks(512):
                here = train[(train >= first) & (train < first + block.rows)] - first
                for name, column in block.without(["number", "kind"]).columns.items():
                    summaries.setdefault(name, summary_of(column)).add(column, here)
                first += block.rows
            expected, notes = Features.learn(inputs, train)
            found, same_notes = Features.of(summaries.values(), "t")
            assert notes == same_notes
            assert [type(c) for c in found.columns] == [type(c) for c in expected.columns]
            for mine, theirs in zip(found.to_json(), expected.to_json(), strict=True):
                for key, value in theirs.items():
                    exact = not isinstance(value, float)
                    assert mine[key] == (value if exact else pytest.approx(value, rel=1e-12, abs=1e-12)), key
        blocks = np.concatenate([expected.encode(block, np.float32) for block in source.blocks(999)])
        np.testing.assert_array_equal(blocks, expected.encode(whole, np.float32))
        assert np.abs(blocks.mean(axis=0)[:1]).max() < 0.05


@given(
    st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), max_size=9), min_size=1, max_size=6)
)
def test_moments_of_parts_are_those_of_the_whole(parts):
    whole, joined = Moments(), Moments()
    everything = np.array([value for part in parts for value in part])
    whole.add(everything)
    for part in parts:
        joined.add(np.array(part))
    assert joined.count == whole.count
    assert (joined.low, joined.high) == (whole.low, whole.high)
    size, tiny = whole.largest, 1e-150  # of which the squares are 0
    assert joined.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-12 * size)
    assert joined.std == pytest.approx(whole.std, rel=1e-6, abs=1e-7 * size + tiny)
    if len(everything) and size < 1e100:
        assert joined.std == pytest.approx(everything.std(), rel=1e-6, abs=1e-7 * size + tiny)


def test_of_very_many_texts_the_rare_ones_are_forgotten(monkeypatch):
    monkeypatch.setattr("handgrad.cli.data.summaries.MOST_VALUES", 10)
    common, names = Texts(), Texts()
    for start in range(0, 60, 6):
        common.add(table_of_counts(["often"] * 20 + ["twice"] * 5 + [f"rare {i}" for i in range(start, start + 6)]))
        names.add(table_of_counts([f"name {i}" for i in range(start, start + 6)]))
    assert common.forgot
    assert not common.unique
    assert common.counts["often"] == 200
    assert len(common.counts) <= 10
    assert names.unique


def table_of_counts(texts):
    return Counter(texts)


@given(st.integers(0, 2**40), st.integers(1, 300), st.integers(0, 9))
def test_a_row_is_in_the_same_part_in_each_pass(first, rows, seed):
    draw = Draw(seed, 0.2, 0.1, 0.5)
    whole, sampled = draw.parts(first, rows), draw.sampled(first, rows)
    cut = rows // 3
    np.testing.assert_array_equal(np.r_[draw.parts(first, cut), draw.parts(first + cut, rows - cut)], whole)
    np.testing.assert_array_equal(np.r_[draw.sampled(first, cut), draw.sampled(first + cut, rows - cut)], sampled)


def test_parts_have_their_shares_and_other_seeds_give_others():
    parts = Draw(0, 0.2, 0.1, 0.5).parts(0, 100_000)
    assert [np.mean(parts == p) for p in (TRAIN, VALIDATION, TEST)] == pytest.approx([0.7, 0.1, 0.2], abs=0.01)
    others = Draw(1, 0.2, 0.1, 0.5).parts(0, 100_000)
    assert np.mean(parts == others) == pytest.approx(0.54, abs=0.01)
    sample = Draw(0, 0.2, 0.1, 0.5).sampled(0, 100_000)
    assert np.mean(sample[parts == TEST]) == pytest.approx(0.5, abs=0.02)  # drawn by another hash


def test_each_row_is_in_one_part(parquet, monkeypatch):
    task = prepare(Plain(data=str(parquet), target="number", stream=True))
    try:
        assert task.streamed
        assert sum(task.counts.values()) == 6000 == task.rows
        x, y = (np.concatenate(arrays) for arrays in zip(*task.training.blocks(), strict=True))
        assert x.dtype == y.dtype == np.float32
        assert len(x) == task.counts["train"] == task.training.rows
        assert task.counts["test"] == len(task.test[1]) == len(task.parts.test)
        seen = np.concatenate([y, task.validation[1], task.test[1]])[:, 0]
        assert len(np.unique(seen)) == 6000
        whole = pq.read_table(parquet)["number"].to_numpy()
        np.testing.assert_allclose(np.sort(task.target.decode(np.sort(seen)[:, None])), np.sort(whole), rtol=1e-4)
        again = np.concatenate([block for block, _ in task.training.blocks()])
        np.testing.assert_array_equal(again, x)
        assert {row.tobytes() for row in task.train[0]} <= {row.tobytes() for row in x}
    finally:
        task.close()


@pytest.mark.parametrize(("target", "metric", "more"), [("number", "R2", 0.8), ("kind", "accuracy", 0.85)])
def test_streamed_or_not_it_learns_as_well(handgrad, tmp_path, parquet, target, metric, more):
    for stream in ("--stream", "--no-stream"):
        other = "kind" if target == "number" else "number"
        ran = handgrad("train", parquet, "--target", target, "--ignore", other, *QUICK, stream)
        assert ran.code == 0, ran.err
    configs = [json.loads((tmp_path / f"runs/t-{n}/config.json").read_text()) for n in (1, 2)]
    scores = [config["test"]["this MLP"][metric] for config in configs]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)
    assert min(scores) > more
    assert configs[0]["columns"] == configs[1]["columns"]
    assert [config["options"]["stream"] for config in configs] == [True, False]
    assert any("streamed" in note and "baselines learn from" in note for note in configs[0]["notes"])
    assert sum(configs[0]["rows"].values()) == 6000
    for command in ("explain", "view"):
        options = ["--html", "v.html", "--no-browser"] if command == "view" else ["--out", tmp_path]
        assert handgrad(command, "t-1", "--rows", 40, *options).code == 0


def test_a_large_table_is_streamed_by_itself(handgrad, tmp_path, parquet, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 3_000_000)
    monkeypatch.setattr(memory, "LEAST", 0)
    monkeypatch.setattr("handgrad.cli.presets.plain.check_memory", lambda *args: None)
    ran = handgrad("train", parquet, "--target", "number", *QUICK)
    assert ran.code == 0, ran.err
    assert "streamed: read anew for each epoch" in ran.out
    assert json.loads((tmp_path / "runs/t-1/config.json").read_text())["options"]["stream"] is True


def test_held_parts_are_capped_and_it_says_so(handgrad, tmp_path, parquet, monkeypatch):
    monkeypatch.setattr(streamed, "MOST_HELD", 300)
    monkeypatch.setattr(streamed, "MOST_ROWS", 500)
    ran = handgrad("train", parquet, "--target", "number", "--stream", *QUICK)
    rows = json.loads((tmp_path / "runs/t-1/config.json").read_text())["rows"]
    assert 200 < rows["test"] < 400
    assert rows["train"] > 5000
    assert "held in memory, not more; all others are trained on" in " ".join(ran.out.split())


def test_an_ensemble_needs_memory(refused, parquet, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 500_000)
    saying = "t.parquet has 6,000 rows, to train on which takes .* --preset plain streams it .* on a sample: --sql"
    refused("train", parquet, "--target", "number", "--preset", "tabular", "--quiet", saying=saying)
    refused("train", parquet, "--target", "number", "--no-stream", "--quiet", saying="--preset plain streams it")
    options = ("--preset", "tabular", "--stream")
    refused("train", parquet, "--target", "number", *options, saying="does not take --stream", code=2)


def test_a_cut_off_stream_goes_on_to_the_same_model(handgrad, tmp_path, parquet, monkeypatch):
    options = ("--target", "number", "--stream", "--checkpoint", 1, *QUICK)
    assert handgrad("train", parquet, *options).code == 0
    cut_off(handgrad, monkeypatch, parquet, options)
    assert handgrad("train", "--resume", "t-2", "--quiet").code == 0
    first, second = ((tmp_path / f"runs/t-{n}/model.safetensors").read_bytes() for n in (1, 2))
    assert first == second


def cut_off(handgrad, monkeypatch, path, options):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "runs/x")

    with monkeypatch.context() as patch:
        patch.setattr("handgrad.cli.presets.plain.save", full)
        assert "to go on: handgrad train --resume t-2" in handgrad("train", path, *options).err


def test_it_goes_on_with_the_same_table_alone(handgrad, refused, tmp_path, parquet, monkeypatch):
    options = ("--target", "number", "--stream", "--checkpoint", 1, *QUICK)
    handgrad("train", parquet, *options)
    cut_off(handgrad, monkeypatch, parquet, options)
    rows = table(6000)
    a = rows["a"].to_numpy().copy()
    a[77] += 0.001
    pq.write_table(rows.set_column(0, "a", pa.array(a)), parquet, row_group_size=700)
    refused("train", "--resume", "t-2", "--quiet", saying="t.parquet is not the table any more that 'runs/t-2' was tr")


def test_a_table_that_changes_or_goes_while_it_is_read(parquet):
    task = prepare(Plain(data=str(parquet), target="number", stream=True))
    try:
        blocks = task.training.blocks()
        next(blocks)
        blocks.close()
        pq.write_table(table(6000, seed=1), parquet)
        with pytest.raises(HandgradError, match=r"t.parquet' has changed since the reading began"):
            list(task.training.blocks())
        parquet.unlink()
        with pytest.raises(HandgradError, match=r"t.parquet' is gone: it was there when the reading began"):
            list(task.training.blocks())
    finally:
        task.close()


def test_what_a_stream_raises_ends_the_command_in_one_line(refused, parquet, monkeypatch):
    from handgrad.cli.faults import InputError

    def gone(self):
        yield from ()
        raise InputError("'t.parquet' is gone")

    monkeypatch.setattr(streamed.Rows, "blocks", gone)
    refused("train", parquet, "--target", "number", "--stream", *QUICK, "--quiet", saying="'t.parquet' is gone")


def test_a_select_whose_rows_change_their_order_is_refused(tmp_path, parquet):
    data = f"SELECT * FROM '{parquet}' ORDER BY random()"
    task = prepare(Plain(sql=data, target="number", ignore=("id", "kind"), stream=True))
    try:
        list(task.training.blocks())
        with pytest.raises(HandgradError, match=r"gave other rows than in the pass before; .* give it an ORDER BY"):
            list(task.training.blocks())
    finally:
        task.close()


def test_a_training_part_of_one_class_is_refused_by_its_name(refused, tmp_path):
    rows = 4000
    parts = Draw(0, 0.2, 0.1 * 0.8, 1.0).parts(0, rows)
    rare = np.flatnonzero(parts == TEST)[:20]
    y = np.where(np.isin(np.arange(rows), rare), "rare", "usual")
    pq.write_table(pa.table({"x": np.arange(rows) % 17, "y": y}), tmp_path / "t.parquet")
    saying = r"the 2,8\d\d rows to train on hold one class of y, 'usual', of 2; .* leave out --stream"
    refused("train", "t.parquet", "--target", "y", "--stream", *QUICK, "--quiet", saying=saying)


def test_few_rows_are_not_streamed(refused, flowers):
    few = flowers.read_text().splitlines()[:6]
    flowers.write_text("\n".join(few))
    refused("train", flowers, "--target", "width", "--stream", "--quiet", saying="too few to be streamed")


def test_predictions_are_written_block_by_block(handgrad, tmp_path, parquet, monkeypatch):
    handgrad("train", parquet, "--target", "kind", "--ignore", "number", *QUICK)
    whole = handgrad("predict", "t-1", parquet, "--probabilities")
    monkeypatch.setattr("handgrad.cli.data.sources.base.BLOCK", 500)
    monkeypatch.setattr("handgrad.cli.data.sources.base.Source.blocks.__defaults__", (500,))
    blocks = handgrad("predict", "t-1", parquet, "--probabilities")
    rows, same = (list(csv.reader(io.StringIO(ran.out))) for ran in (whole, blocks))
    assert len(rows) == len(same) == 6001
    assert rows[0] == same[0]
    assert [row[0] for row in rows] == [row[0] for row in same]
    assert blocks.err == whole.err


def test_the_baseline_of_a_sample_of_one_class():
    target, x = Classes("y", ("p", "q")), np.zeros((4, 1))
    found = linear_model(target, (x, np.zeros(4, int)), (x, np.array([0, 0, 0, 1])))
    assert found.model == "logistic regression"
    assert found.values == {"accuracy": 0.75, "cross-entropy": 25.0}


def test_long_texts_are_forgotten_by_their_letters(monkeypatch):
    monkeypatch.setattr("handgrad.cli.data.summaries.MOST_LETTERS", 100)
    common = Texts()
    for _ in range(3):
        common.add(Counter({"a" * 20: 5, "b" * 20: 4, "c" * 20: 3, "d" * 20: 2}))
    assert (len(common.counts), common.forgot) == (4, False)  # 80 letters
    common.add(Counter({"e" * 30: 1}))
    assert common.counts == {"a" * 20: 15, "b" * 20: 12}  # half as many, the most frequent
    assert common.forgot
    assert not common.unique
    names = Texts()
    names.add(Counter({f"{i:050}": 1 for i in range(3)}))
    assert names.unique
    assert sum(map(len, names.counts)) <= 50
