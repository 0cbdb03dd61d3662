"""`handgrad train --workers`: the network trained by several processes on a Ray cluster, its epochs told here."""

from __future__ import annotations

from typing import Any

import numpy as np

from handgrad.cli.data.tasks import Task
from handgrad.cli.moments import Moments
from handgrad.cli.options import Plain
from handgrad.cli.presets.base import Keeping
from handgrad.layers import Layer
from handgrad.training import EpochEnd, Result, Stream

TARGET = "target"  # the name of a column beside the features' numbers


def fit_by_workers(model: Layer, task: Task, options: Plain, keeping: Keeping, **settings: Any) -> Result:
    """As `fit`. What keeps the training hears of each epoch in this process; a slider of moments there is not.

    Raises ClusterError for a cluster that cannot be used.
    """
    from handgrad.scale import fit
    from handgrad.scale.cluster import cluster

    callbacks = [each for each in keeping.callbacks(None) if not isinstance(each, Moments)]
    unknown = model.init(options.seed)  # the parameters stay with the workers until the end

    def heard(row: dict[str, Any]) -> None:
        for callback in callbacks:
            callback(EpochEnd(row, unknown, model))

    def train(data: Any, **more: Any) -> Result:
        return fit(model, data, workers=options.workers, heard=heard, resume=True, **settings, **more)

    if task.streamed:
        with cluster(options.address, options.workers + 1) as ray:
            result = train((stored(ray, task.training), TARGET), buffer=task.training.buffer)
    else:
        result = train(task.training, address=options.address)
    for callback in callbacks:
        if callable(tell := getattr(callback, "end", None)):
            tell(result)
    return result


def stored(ray: Any, rows: Stream) -> Any:
    """A Ray dataset of rows that are read and encoded once, block by block, into the cluster's store, which puts on the
    disks what its memory does not hold: this process holds a block, and no worker needs the files."""
    import pyarrow as pa

    from handgrad.scale.run import quiet

    blocks = []
    for x, y in rows.blocks():
        columns = {str(place): pa.array(column) for place, column in enumerate(x.T)}
        blocks.append(ray.put(pa.table(columns | {TARGET: pa.array(np.ravel(y))})))
    with quiet():
        return ray.data.from_arrow_refs(blocks)
