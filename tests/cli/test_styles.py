"""How cells of text files are written: decided by all cells of the training's file, and kept for those to predict."""

import json

import pytest

from handgrad.cli.data.sources import Data, open_source, read_table
from handgrad.cli.faults import InputError
from handgrad.formats import load

QUICK = ("--epochs", 2, "--hidden", "4", "--quiet")
DAYS = [f"{1 + i % 28:02}/{1 + i % 12:02}/2024" for i in range(60)]  # the day first, which only those above 12 tell
GOOD = [f"{i % 7},{i / 4},{DAYS[i]},{'true' if i % 3 else 'false'},{i % 5}" for i in range(60)]


def table(header="n,x,day,yes,y", **rows):
    """With other text in the place of the rows of those numbers (the first is row0)."""
    return "\n".join([header, *(rows.get(f"row{i}", line) for i, line in enumerate(GOOD))]) + "\n"


def kinds(path, **options):
    with open_source(Data(str(path), **options)) as source:
        return source.kinds, source.notes


@pytest.fixture
def trained(handgrad, tmp_path):
    """A run that learnt from dates with the day first."""
    (tmp_path / "t.csv").write_text(table())
    assert handgrad("train", "t.csv", "--target", "y", "--task", "regression", *QUICK).code == 0
    return "t-1"


def test_a_file_to_predict_is_read_as_that_of_the_training(handgrad, trained, tmp_path):
    few = [line for line in GOOD if int(line.split(",")[2][:2]) <= 12]  # which alone would have the month first
    (tmp_path / "few.csv").write_text("\n".join(["n,x,day,yes,y", *few]) + "\n")
    own = Data(str(tmp_path / "few.csv"))
    with open_source(own) as source:
        assert source.styles["day"] == "%m/%d/%Y"
        assert "day is read as month/day/year, and may be day/month/year" in source.notes[0]
    whole = handgrad("predict", trained, "t.csv").out.splitlines()[1:]
    found = handgrad("predict", trained, "few.csv").out.splitlines()[1:]
    assert found == [each for each, line in zip(whole, GOOD, strict=True) if line in few]
    metadata = load(tmp_path / "runs/t-1/model.safetensors")[2]
    assert metadata["preprocessing"]["styles"] == {"x": "decimal point", "day": "%d/%m/%Y"}


@pytest.mark.parametrize(
    ("row", "saying", "rows"),
    [
        ("1,2.5,12/13/2024,true,1", "'day' holds '12/13/2024', and the training read it as times as %d/%m/%Y", 59),
        ("1,2.5,2024-12-13,true,1", "'day' holds '2024-12-13', and the training read it as times as %d/%m/%Y", 59),
        ("1,often,02/12/2024,true,1", "'x' holds 'often', and the training read it as numbers", 59),
    ],
)
def test_a_cell_that_the_training_could_not_have_read(handgrad, refused, trained, tmp_path, row, saying, rows):
    (tmp_path / "p.csv").write_text(table(row6=row))
    way = "correct the cell, leave it empty, or skip such rows with --skip-bad-rows$"
    refused("predict", trained, "p.csv", saying=rf"p\.csv, line 8: column {saying}; {way}")
    ran = handgrad("predict", trained, "p.csv", "--skip-bad-rows")
    assert (ran.code, len(ran.out.splitlines())) == (0, rows + 1)
    assert f"{60 - rows} of 60 rows skipped, as --skip-bad-rows says" in ran.err


def test_a_decimal_comma_is_kept_too(handgrad, refused, tmp_path):
    lines = [f"{i / 4:.2f};{i % 5}\n".replace(".", ",") for i in range(60)]
    (tmp_path / "t.csv").write_text("x;y\n" + "".join(lines))
    assert handgrad("train", "t.csv", "--target", "y", *QUICK).code == 0
    (tmp_path / "p.csv").write_text("x;y\n" + "".join(lines[:30]) + "1.500;2\n")
    saying = r"p\.csv, line 32: column 'x' holds '1\.500', and the training read it as numbers with a decimal comma"
    refused("predict", "t-1", "p.csv", saying=saying)
    (tmp_path / "p.csv").write_text("x;y\n0,25;1\n7;2\n")
    found = handgrad("predict", "t-1", "p.csv").out.splitlines()[1:]
    assert found == [handgrad("predict", "t-1", "t.csv").out.splitlines()[i] for i in (2, 29)]


def test_explain_reads_as_the_training_did(refused, trained, tmp_path):
    (tmp_path / "p.csv").write_text(table(row6="1,2.5,12/13/2024,true,1"))
    refused("explain", trained, "p.csv", saying="column 'day' holds '12/13/2024', and the training read it as times")


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
@pytest.mark.parametrize(
    ("column", "row"),
    [("day", "1,2.5,soon,true,1"), ("day", "1,2.5,31/11/2024,true,1"), ("yes", "1,2.5,02/12/2024,oui,1")],
)
def test_one_bad_cell_makes_no_text_of_its_column(handgrad, refused, tmp_path, column, row, stream):
    (tmp_path / "t.csv").write_text(table(row6=row))
    held = row.split(",")[2 if column == "day" else 3]
    called = "times as %d/%m/%Y" if column == "day" else "true or false"
    saying = rf"t\.csv, line 8: column '{column}' holds '{held}', and 59 of its 60 cells are {called}; correct the cell"
    refused("train", "t.csv", "--target", "y", stream, *QUICK, saying=saying)
    ran = handgrad("train", "t.csv", "--target", "y", stream, "--skip-bad-rows", *QUICK)
    assert ran.code == 0, ran.err
    config = json.loads((tmp_path / "runs/t-1/config.json").read_text())
    assert sum(config["rows"].values()) == 59
    assert "1 of 60 rows skipped, as --skip-bad-rows says" in config["notes"][0]
    (feature,) = (
        each
        for each in load(tmp_path / "runs/t-1/model.safetensors")[2]["preprocessing"]["features"]
        if each["name"] == column
    )
    assert (feature["type"], feature["kind"]) == ("Number", "time" if column == "day" else "boolean")
    assert kinds(tmp_path / "t.csv", text=frozenset([column]))[0][column] == "text"


def test_dates_that_become_something_else_half_way(tmp_path):
    rows = {f"row{i}": GOOD[i].replace(DAYS[i], f"week {i}") for i in range(40, 60)}
    (tmp_path / "t.csv").write_text(table(**rows))
    with pytest.raises(InputError, match="line 42: column 'day' holds 'week 40', and 40 of its 60 cells are times"):
        kinds(tmp_path / "t.csv")


def test_a_third_word_beside_true_and_false_is_text(tmp_path):
    rows = {f"row{i}": GOOD[i].replace("true", "unknown") for i in range(0, 60, 10)}
    (tmp_path / "t.csv").write_text(table(**rows))
    assert kinds(tmp_path / "t.csv")[0]["yes"] == "text"


def test_a_model_of_before_has_no_styles(trained, tmp_path):
    from handgrad.cli.presets.base import preprocessing
    from handgrad.formats import FormatError

    path = tmp_path / "runs/t-1/model.safetensors"
    metadata = load(path)[2]
    del metadata["preprocessing"]["styles"]
    assert preprocessing(metadata, path)[2] == {}
    for damaged in ([], {"x": 1}):
        metadata["preprocessing"]["styles"] = damaged
        with pytest.raises(FormatError, match="its styles can't be read"):
            preprocessing(metadata, path)


def write_lines(path, cells):
    path.write_text("".join(json.dumps({"at": cell, "y": i % 5}) + "\n" for i, cell in enumerate(cells)))


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["2024-03-01", "2024-02-13"], "time"),
        (["2024-03-01T10:00:00Z", "2024-02-13 10:00:00+02:00", None], "time"),
        (["01-02-2024", "13-02-2024"], "text"),  # in another file the month may be first
        (["2024-03-01", "soon"], "text"),
    ],
)
def test_times_in_json_are_iso_8601_alone(tmp_path, cells, kind):
    write_lines(tmp_path / "t.jsonl", cells * 20)
    assert kinds(tmp_path / "t.jsonl")[0]["at"] == kind
    if cells[0].startswith("2024-03-01T"):
        values = read_table(tmp_path / "t.jsonl").columns["at"].present
        assert values[:2] == pytest.approx([19783 + 10 / 24, 19766 + 8 / 24])


@pytest.mark.parametrize(
    "text", ['[{"x": 1, "y": 2}, {"x": 2, "y": 3}]\n', '{"x": 1, "y": 2}\n[{"x": 2, "y": 3}]\n', "3\n4\n"]
)
def test_lines_that_are_no_objects(refused, tmp_path, text):
    (tmp_path / "t.jsonl").write_text(text)
    line = 2 if text.startswith("{") else 1
    refused("train", "t.jsonl", "--target", "y", *QUICK, saying=rf"t\.jsonl, line {line}: it holds .*, and no object")


def test_a_key_called_json_is_a_column(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"json": 1, "y": 2}\n' * 3)
    assert kinds(tmp_path / "t.jsonl")[0] == {"json": "integer", "y": "integer"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_empty_lines_of_one_column_are_empty_cells(tmp_path, end):
    (tmp_path / "t.csv").write_bytes(end.join(["a", "1", "", "2", "3", ""]).encode())
    column = read_table(tmp_path / "t.csv").columns["a"]
    assert (column.present.tolist(), column.missing.tolist()) == ([1, 2, 3], [False, True, False, False])


@pytest.mark.parametrize("text", ["a\r\n1\r\n2\n", "a\n1\n" + "1\n" * 70_000 + "2\r\n"])
def test_of_one_column_all_lines_end_alike(tmp_path, text):
    (tmp_path / "t.csv").write_bytes(text.encode())
    with pytest.raises(InputError, match=r"t\.csv: its lines end in different ways, which a table of one column"):
        read_table(tmp_path / "t.csv")


def described(tmp_path, text, name="t.csv"):
    """The days of the first column, since 1970, as they are read, and how they were written."""
    path = tmp_path / name
    path.write_text(text)
    with open_source(Data(str(path))) as source:
        return source.read().columns["d"].cells.tolist(), source.styles.get("d"), source.notes


@pytest.mark.parametrize(
    ("cells", "style", "days"),
    [
        (("31/12/24", "01/02/25", "15/03/25"), "%d/%m/%y", [20088, 20120, 20162]),
        (("31-12-98", "01-02-00", "15-03-01"), "%d-%m-%y", [10591, 10988, 11396]),
        (("31.12.24", "01.02.25", "15.03.25"), "%d.%m.%y", [20088, 20120, 20162]),
        (("12/31/24", "01/02/25", "03/15/25"), "%m/%d/%y", [20088, 20090, 20162]),
        (("31/12/2024 12:00:00", "01/02/2025 00:00:00"), "%d/%m/%Y %H:%M:%S", [20088.5, 20120]),
    ],
)
def test_years_of_two_digits_and_days_first_with_a_clock(tmp_path, cells, style, days):
    found, how, _ = described(tmp_path, "d,y\n" + "".join(f"{cell},1\n" for cell in cells * 10))
    assert how == style
    assert found == days * 10


def test_a_note_where_the_month_may_be_the_day_with_a_clock(tmp_path):
    *_, notes = described(tmp_path, "d,y\n" + "03/04/2024 10:00:00,1\n" * 30)
    assert any("may be day/month/year" in note for note in notes)


def test_words_are_no_dates(tmp_path):
    with pytest.raises(InputError, match="'infinity'"):
        described(tmp_path, "d,y\n" + "31/12/2024,1\n" * 30 + "infinity,1\n")


def test_a_target_that_is_not_known_yet_is_no_fault(handgrad, trained, tmp_path):
    """To predict it is what the file is for."""
    (tmp_path / "new.csv").write_text(table().replace("true,0\n", "true,?\n"))
    ran = handgrad("predict", trained, "new.csv")
    assert ran.code == 0, ran.err
    assert len(ran.out.splitlines()) == 61


@pytest.mark.parametrize(
    ("style", "read", "other"),
    [
        ("{m:02}/{d:02}/2024", "month/day/year", "day/month/year"),
        ("{m}/{d}/24", "month/day/year", "day/month/year"),
        ("{m:02}/{d:02}/2024 10:20:30", "month/day/year", "day/month/year"),
        ("{d:02}-{m:02}-2024", "day-month-year", "month-day-year"),
        ("{d}-{m}-24", "day-month-year", "month-day-year"),
    ],
)
def test_dates_without_a_day_above_12_may_be_read_in_two_ways(tmp_path, style, read, other):
    cells = [style.format(d=1 + i % 12, m=1 + i % 11) for i in range(60)]
    (tmp_path / "t.csv").write_text("day,y\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells)))
    found, notes = kinds(tmp_path / "t.csv")
    assert found["day"] == "time"
    assert notes == [f"day is read as {read}, and may be {other}; if it is, write it as 2024-12-31"]
    cells[30] = style.format(d=13, m=1)  # which tells
    (tmp_path / "t.csv").write_text("day,y\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells)))
    assert kinds(tmp_path / "t.csv") == ({"day": "time", "y": "integer"}, [])
    cells[30] = style.format(d=1, m=13)
    (tmp_path / "t.csv").write_text("day,y\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells)))
    assert kinds(tmp_path / "t.csv") == ({"day": "time", "y": "integer"}, [])


@pytest.mark.parametrize("style", ["%d/%m/%Y", "%Y-%m-%d"])
def test_a_word_among_dates_is_named_with_its_count(handgrad, tmp_path, style):
    """More often than a fault would be: the column is text, which is not what most people want of dates."""
    cells = DAYS if style == "%d/%m/%Y" else ["-".join(reversed(day.split("/"))) for day in DAYS]
    cells = ["unknown" if i % 5 == 0 else "soon" if i == 7 else cell for i, cell in enumerate(cells)]
    (tmp_path / "t.csv").write_text("day,x,y\n" + "".join(f"{cell},{i % 7},{i % 3}\n" for i, cell in enumerate(cells)))
    found, notes = kinds(tmp_path / "t.csv")
    assert found["day"] == "text"
    called = "%d/%m/%Y" if style == "%d/%m/%Y" else "2024-12-31"
    assert notes == [
        f"day is taken as text: 47 of its 60 cells are times as {called}, and 13 not, such as 'unknown' (12); "
        "leave those empty, and it is read as times"
    ]
    assert kinds(tmp_path / "t.csv", text=frozenset(["day"])) == (found, [])
    ran = handgrad("train", "t.csv", "--target", "y", *QUICK[:-1])
    assert ran.code == 0
    assert "day is taken as text: 47 of its 60 cells are times" in " ".join(ran.out.split())
    cells = ["unknown" if i % 5 < 3 else cell for i, cell in enumerate(cells)]  # text, in which some dates are
    (tmp_path / "t.csv").write_text("day,y\n" + "".join(f"{cell},{i % 3}\n" for i, cell in enumerate(cells)))
    assert kinds(tmp_path / "t.csv")[1] == []
