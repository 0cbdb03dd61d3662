"""Columns of a Ray dataset as the numbers that a network takes, learnt in one pass by Ray Data's own aggregates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from handgrad.checks import by_name
from handgrad.errors import DTypeError, ShapeError, ValueRangeError
from handgrad.scale.run import quiet

CLIP = 3.0  # standard deviations, within which a number is smoothly held
BAD = "not finite"  # a column beside the table's own
MOST_LEVELS = 50  # of a column of text; rarer values share one feature


@dataclass(frozen=True)
class Scale:
    """A column of numbers: mean 0 and standard deviation 1, and a second feature where cells were empty."""

    name: str
    mean: float
    std: float
    flags_missing: bool

    def features(self, column: Any) -> dict[str, np.ndarray]:
        """By name, of an Arrow column. Raises ValueRangeError for NaN and infinity."""
        missing = _numpy(column.is_null())
        z = _numpy(column.cast("float64").fill_null(self.mean))
        if not np.isfinite(z).all():
            raise _not_finite(self.name)
        z = (z - self.mean) / self.std
        found = {self.name: z / np.sqrt(1 + (z / CLIP) ** 2)}
        return found | ({f"{self.name} is empty": missing} if self.flags_missing else {})


@dataclass(frozen=True)
class Levels:
    """A column of text, one-hot: a feature for each level, and one for empty cells and for all else, where there were
    some."""

    name: str
    levels: tuple[str, ...]
    has_empty: bool
    has_other: bool

    def features(self, column: Any) -> dict[str, np.ndarray]:
        """By name, of an Arrow column."""
        places, missing = _places(column, self.levels), _numpy(column.is_null())
        found = {f"{self.name}={level}": places == place for place, level in enumerate(self.levels)}
        if self.has_empty:
            found[f"{self.name} is empty"] = missing
        if self.has_other:
            found[f"{self.name} is other"] = (places < 0) & ~missing
        return found


@dataclass(frozen=True)
class Encoders:
    """What `encoders` has learnt. Called with a dataset of those columns, it gives one of numbers, for `scale.fit`.

    columns: how each is encoded, all as `handgrad train` does. labels: of a target of text, in the order of their
    numbers, else (). kept: columns that stay as they are. left_out: those of one value.
    """

    columns: tuple[Scale | Levels, ...]
    target: str
    labels: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def width(self) -> int:
        """The number of features."""
        widths = (1 + c.flags_missing if isinstance(c, Scale) else len(c.levels) + c.has_empty + c.has_other
                  for c in self.columns)  # fmt: skip
        return sum(widths)

    def __call__(self, dataset: Any) -> Any:
        """The dataset of numbers, which Ray Data encodes block by block wherever it is read."""
        return dataset.map_batches(self.table, batch_format="pyarrow")

    def table(self, table: Any) -> Any:
        """An Arrow table's rows: the features in float32, then the target and what else is kept."""
        import pyarrow as pa

        table, found = _plain(table), dict[str, Any]()
        for encoder in self.columns:
            for name, values in encoder.features(table.column(encoder.name)).items():
                found[name] = pa.array(values.astype(np.float32))
        for name in self.kept:
            found[name] = table.column(name)
        if self.labels:
            places = _places(table.column(self.target), self.labels)
            if (places < 0).any():
                value = table.column(self.target)[int(places.argmin())].as_py()
                raise ValueRangeError(f"the target {self.target!r} holds {value!r}, which is none of its classes")
            found[self.target] = pa.array(places)
        return pa.table(found)


def encoders(dataset: Any, target: str, weight: str | None = None) -> Encoders:
    """Learn from a Ray dataset how its columns become numbers: means, deviations and categories, by one aggregation,
    which Ray Data does where the data are. Numbers are standardised and smoothly held within 3 deviations, an empty
    cell is the mean; text is one-hot, its 50 most frequent values; a target of text becomes the numbers of its classes.

    Leave out columns of text that name the rows first (`drop_columns`): each different value is counted.
    Raises DTypeError for a column of neither, ValueRangeError for NaN or infinity, and where target or weight is no
    column; ShapeError where no column is left to learn from.
    """
    from ray.data import DataContext
    from ray.data.aggregate import Count, Mean, Std, ValueCounter

    DataContext.get_current().enable_progress_bars = False
    schema = dataset.schema()
    names = dict.fromkeys(schema.names)
    by_name("target", target, {name: name for name in names})
    if weight is not None:
        by_name("weight", weight, {name: name for name in names})
    text = {name: _is_text(name, kind) for name, kind in zip(schema.names, schema.types, strict=True)}
    inputs = [name for name in names if name not in (target, weight)]
    wanted: list[Any] = [Count()]
    for name in inputs:
        if not text[name]:
            wanted += [Count(name, ignore_nulls=True), Mean(name), Std(name, ddof=0)]
    counted = [name for name in (*inputs, target) if text[name]]
    wanted += [ValueCounter(name) for name in (*counted, BAD)]
    looked = dataset.select_columns([*inputs, target]).map_batches(_looked_at, batch_format="pyarrow")
    with quiet():
        found = looked.aggregate(*wanted)
    if wrong := [name for name in _counts(found, BAD) if name is not None]:
        raise _not_finite(min(wrong))
    columns, left_out, rows = list[Scale | Levels](), [], int(found["count()"])
    for name in inputs:
        encoder = _levels(name, _counts(found, name)) if text[name] else _scale(name, rows, found)
        if encoder is None:
            left_out.append(name)
        else:
            columns.append(encoder)
    if not columns:
        raise ShapeError(f"no column is left to learn from; of one value: {', '.join(left_out) or 'none'}")
    labels = tuple(sorted(label for label in _counts(found, target) if label is not None)) if text[target] else ()
    kept = tuple(name for name in (weight, *([] if labels else [target])) if name is not None)
    return Encoders(tuple(columns), target, labels, kept, tuple(left_out))


def _scale(name: str, rows: int, found: Mapping[str, Any]) -> Scale | None:
    there = int(found[f"count({name})"] or 0)
    empty = there < rows
    if not there:
        return None
    mean, std = float(found[f"mean({name})"]), float(found[f"std({name})"])
    constant = not std > 1e-12 * max(1.0, abs(mean))
    return None if constant and not empty else Scale(name, mean, 1.0 if constant else std, empty)


def _levels(name: str, counts: Mapping[str | None, int]) -> Levels | None:
    if len(counts) < 2:
        return None
    there = [level for level in counts if level is not None]
    levels = sorted(sorted(there, key=lambda level: (-counts[level], level))[:MOST_LEVELS])
    return Levels(name, tuple(levels), None in counts, len(there) > MOST_LEVELS)


def _counts(found: Mapping[str, Any], name: str) -> dict[str | None, int]:
    counted = found[f"value_counter({name})"]
    return dict(zip(counted["values"], counted["counts"], strict=True))


def _looked_at(table: Any) -> Any:
    """A plain table, and which of its columns holds what is not finite, as aggregates pass over that in silence."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = _plain(table)
    floats = (field.name for field in table.schema if pa.types.is_floating(field.type))
    wrong = next((name for name in floats if pc.all(pc.is_finite(table.column(name))).as_py() is False), None)
    return table.append_column(BAD, pa.array([wrong] * table.num_rows, pa.string()))


def _plain(table: Any) -> Any:
    """An Arrow table's truth values and decimals as numbers, its codes as the text that they stand for."""
    import pyarrow as pa

    to = [
        (pa.types.is_boolean, pa.uint8()),
        (pa.types.is_decimal, pa.float64()),
        (pa.types.is_dictionary, pa.string()),
        (pa.types.is_large_string, pa.string()),
    ]
    kinds = [next((kind for is_kind, kind in to if is_kind(field.type)), field.type) for field in table.schema]
    return table.cast(pa.schema(list(zip(table.column_names, kinds, strict=True))))


def _is_text(name: str, kind: Any) -> bool:
    """Raises DTypeError for what is neither text nor numbers."""
    import pyarrow as pa

    types = pa.types
    if any(is_kind(kind) for is_kind in (types.is_string, types.is_large_string, types.is_dictionary)):
        return True
    if any(is_kind(kind) for is_kind in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)):
        return False
    raise DTypeError(f"column {name!r} holds {kind}; expected numbers or text, so turn it into these, or leave it out")


def _places(column: Any, levels: tuple[str, ...]) -> np.ndarray:
    """(rows,): which of the levels each cell is, -1 for none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return _numpy(pc.index_in(column, value_set=pa.array(levels, column.type)).fill_null(-1)).astype(np.int64)


def _numpy(column: Any) -> np.ndarray:
    return np.asarray(column.to_numpy())


def _not_finite(name: str) -> ValueRangeError:
    return ValueRangeError(f"column {name!r} holds NaN or infinity; numbers must be finite: leave such cells empty")
