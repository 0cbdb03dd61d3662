"""`handgrad train --workers`: the network trained by several processes on a Ray cluster, its epochs told here."""

from __future__ import annotations

from typing import Any

from handgrad.cli.faults import InputError
from handgrad.cli.moments import Moments
from handgrad.cli.options import Plain
from handgrad.cli.presets import Keeping
from handgrad.cli.tasks import Task
from handgrad.layers import Layer
from handgrad.training import EpochEnd, Result


def fit_by_workers(model: Layer, task: Task, options: Plain, keeping: Keeping, **settings: Any) -> Result:
    """As `fit`. What keeps the training hears of each epoch in this process; a slider of moments there is not.

    Raises InputError for a table that is streamed, ClusterError for a cluster that cannot be used.
    """
    from handgrad.scale import fit

    if task.streamed:
        raise InputError(
            "--workers needs a table that memory holds; handgrad.scale.fit streams Parquet files and Ray datasets of "
            "numbers to workers, and one worker streams any table: leave out --workers"
        )
    callbacks = [each for each in keeping.callbacks(None) if not isinstance(each, Moments)]
    unknown = model.init(options.seed)  # the parameters stay with the workers until the end

    def heard(row: dict[str, Any]) -> None:
        for callback in callbacks:
            callback(EpochEnd(row, unknown, model))

    result = fit(
        model, task.training, workers=options.workers, address=options.address, heard=heard, resume=True, **settings
    )
    for callback in callbacks:
        if callable(tell := getattr(callback, "end", None)):
            tell(result)
    return result
