"""Tables that Ray Data reads: looked at once by the driver, then streamed to the workers, a share to each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from handgrad.checks import by_name
from handgrad.engines.group import Group
from handgrad.errors import DTypeError, ShapeError, ValueRangeError
from handgrad.scale.files import dataset_of
from handgrad.training.streams import Stream

BLOCK = 65536  # rows that a worker is handed at once
SAMPLE = 64  # rows that the driver looks at


@dataclass(frozen=True)
class Shards:
    """A Ray dataset whose rows the workers share, and which of its columns are what.

    rows: of all. sample: its first, as an Arrow table. weight_mean: of the column of weights.
    """

    dataset: Any
    target: str
    weight: str | None
    features: tuple[str, ...]
    rows: int
    sample: Any
    weight_mean: float | None
    buffer: int | str = "256 MB"

    def without_dataset(self) -> Shards:
        """What a worker is sent: Ray Train hands it its share of the dataset."""
        return Shards(None, *(getattr(self, name) for name in list(self.__dataclass_fields__)[1:]))

    def stream(self, group: Group, batch_size: int) -> tuple[Stream, int]:
        """In a worker: the stream of its share, and how many rows of a batch of all are its own.

        Each worker has as many steps in an epoch; rows beyond the last whole batch of all are left out of it.
        """
        from ray.train import get_dataset_shard

        own, steps = batch_size // group.size, self.rows // batch_size
        passes = Passes(get_dataset_shard("train"), self.sample, steps * own)
        return (
            Stream(
                passes,
                target=self.target,
                weight=self.weight,
                features=self.features,
                rows=steps * own,
                buffer=self.buffer,
                weight_mean=self.weight_mean,
            ),
            own,
        )


class Passes:
    """A function that gives a share's rows anew each time; first of all the sample, for which none need be read."""

    def __init__(self, shard: Any, sample: Any, rows: int):
        self.shard, self.sample, self.rows = shard, sample, rows
        self.looked = False

    def __call__(self) -> Any:
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.sample.schema, self._batches())

    def _batches(self) -> Iterator[Any]:
        if not self.looked:
            self.looked = True
            yield from self.sample.to_batches()
            return
        left, schema = self.rows, self.sample.schema
        for table in self.shard.iter_batches(batch_size=BLOCK, batch_format="pyarrow", prefetch_batches=1):
            # what is left over is read and passed by, so that all workers come to the end
            taken = fitted(table.slice(0, left), schema)
            left -= taken.num_rows
            yield from taken.to_batches()


def fitted(table: Any, schema: Any) -> Any:
    """The table's columns as the schema has them. Raises ShapeError or DTypeError, which name the column."""
    import pyarrow as pa

    if missing := [name for name in schema.names if name not in table.column_names]:
        raise ShapeError(
            f"a block of the dataset lacks the column {missing[0]!r}; it has {', '.join(map(repr, table.column_names))}"
        )
    table = table.select(schema.names)
    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        for field in schema:
            try:
                table.column(field.name).cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise DTypeError(
                    f"column {field.name!r} is {field.type} in the first block of the dataset, and "
                    f"{table.schema.field(field.name).type} in another: {error}"
                ) from None
        raise


def is_sharded(data: Any) -> bool:
    """Whether `data` is (a Ray dataset or paths of files, "target"[, "weight"])."""
    if not isinstance(data, tuple | list) or len(data) not in (2, 3) or not isinstance(data[1], str):
        return False
    return _is_dataset(data[0]) or isinstance(data[0], str | os.PathLike | list)


def shards_of(data: Any, batch_size: int, counts: tuple[int, int], buffer: int | str) -> Shards:
    """The shares, Ray being connected. Raises for columns or numbers that do not fit, before any worker starts."""
    import ray
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False
    source, target, weight = (*data, None)[:3]
    dataset = source if _is_dataset(source) else dataset_of(ray, source)
    rows = dataset.count()
    if rows < counts[1]:
        raise ShapeError(f"{rows} rows cannot be shared by {counts[1]} workers; give fewer workers")
    if rows < batch_size:
        raise ShapeError(f"batch_size={batch_size} is more than the {rows} rows of the dataset; give a smaller one")
    for size in range(counts[0], counts[1] + 1):
        if batch_size % size:
            raise ValueRangeError(
                f"batch_size={batch_size} cannot be shared evenly by {size} workers; give a multiple of {size}"
            )
    names = dataset.schema().names
    table = {name: name for name in names}
    by_name("target", target, table)
    if weight is not None:
        by_name("weight", weight, table)
    features = tuple(name for name in names if name not in (target, weight))
    sample = _table(dataset.limit(SAMPLE), [*features, target, *([weight] if weight else [])])
    _check_numbers(sample.schema)
    mean = None if weight is None else float(dataset.mean(weight))
    if mean == 0:
        raise ValueRangeError(f"the column of weights, {weight!r}, has the mean 0; some rows must count")
    return Shards(dataset, target, weight, features, rows, sample, mean, buffer)


def in_order() -> Any:
    """How Ray Data is to read: the same rows in the same order each time, an equal share for each worker."""
    from ray.data import ExecutionOptions
    from ray.train import DataConfig

    return DataConfig(datasets_to_split=["train"], execution_options=ExecutionOptions(preserve_order=True))


def held_of(data: Any, shards: Shards) -> Any:
    """Validation data as `fit` takes them, of the same forms, brought to memory: the first worker looks at them."""
    import ray

    if not is_sharded(data):
        return data
    source, target, weight = (*data, None)[:3]
    dataset = source if _is_dataset(source) else dataset_of(ray, source)
    table = _table(dataset, [*shards.features, target, *([weight] if weight else [])])
    return Stream(table, target=target, weight=weight, features=shards.features)


def _is_dataset(source: Any) -> bool:
    return type(source).__module__.startswith("ray.data") and hasattr(source, "streaming_split")


def _table(dataset: Any, names: Sequence[str]) -> Any:
    """All rows of a dataset in memory."""
    import pyarrow as pa
    import ray

    blocks = ray.get(dataset.to_arrow_refs())
    schema = next(block.schema for block in blocks if block.num_columns)
    first = pa.schema([schema.field(name) for name in names if name in schema.names])
    return pa.concat_tables([fitted(block, first) for block in blocks if block.num_rows])


def _check_numbers(schema: Any) -> None:
    import pyarrow as pa

    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    wrong = [field for field in schema if not any(kind(field.type) for kind in kinds)]
    if wrong:
        raise DTypeError(
            f"column {wrong[0].name!r} of the dataset holds {wrong[0].type}, and numbers are needed; encode it first, "
            "or leave it out with select_columns"
        )
