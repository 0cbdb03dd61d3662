"""`fit` over several workers: the job made and sent by Ray Train, its result or its error brought back."""

from __future__ import annotations

import contextlib
import inspect
import logging
import math
import os
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from handgrad.checks import positive, whole
from handgrad.errors import ClusterError, DTypeError, ShapeError, ValueRangeError
from handgrad.layers import Layer
from handgrad.scale.cluster import check_nodes, cluster
from handgrad.scale.data import held_of, in_order, is_sharded, shards_of
from handgrad.scale.worker import Job, Notes, train
from handgrad.training import EpochEnd, Result
from handgrad.training import fit as fit_here
from handgrad.training.checkpoints import Every
from handgrad.training.data import rows

LOOKS = 0.5  # seconds between two looks at what the workers say
OWN = {"model", "data", "checkpoint", "resume", "callbacks", "progress", "threads"}  # of fit's options
TAKEN = tuple(name for name in inspect.signature(fit_here).parameters if name not in OWN)


def fit(
    model: Layer,
    data: Any,
    *,
    workers: int | tuple[int, int] = 2,
    address: str | None = None,
    threads: int = 1,
    callbacks: Iterable[Callable[[EpochEnd], object]] | Callable[[EpochEnd], object] = (),
    heard: Callable[[dict[str, Any]], object] | None = None,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    max_failures: int = 3,
    timeout: float = 300.0,
    buffer: int | str = "256 MB",
    **options: Any,
) -> Result:
    """As `handgrad.fit`, by several workers, which Ray starts on the machines of a cluster.

    Every batch is shared out, the workers' gradients are summed, and all take the same step: the result is that of
    `handgrad.fit` with the same options, to rounding, whatever the number of workers.

    data: (X, y) or (X, y, sample_weight) in memory, sent to each machine once. Or what is larger than memory,
        (source, "target") or (source, "target", "weight") with the names of columns: source is a Ray dataset of
        numbers, or the path of Parquet or CSV files, a pattern or a list of them. Each worker then streams as many
        rows, shuffled in a buffer of its own, `buffer` as in `handgrad.Stream`; batch_size must be a multiple of the
        workers.
    workers: how many; (least, most) takes as many as there are processors for, fewer when a machine is lost.
    address: a cluster's, such as "10.0.0.1:6379", or "auto" for the one on this machine; None takes the one that this
        process is connected to or RAY_ADDRESS names, else starts one here, for the while.
    threads: of each worker, for which Ray sets aside as many processors.
    callbacks: called in the first worker, to which they are sent. heard: called in this process with each row of the
        history, soon after its epoch. progress: a line an epoch.
    checkpoint: a folder that all machines see, such as one on NFS. resume: as in `handgrad.fit`. When a worker ends in
        the middle, all begin anew, `max_failures` times at most (-1 for any number), and go on from the last
        checkpoint; without a folder they begin at the beginning.
    timeout: seconds that workers wait for each other at most, in any step, validation or start.
    options: all others of `handgrad.fit`, per_sample_clip and noise_multiplier excepted.

    Ctrl-C ends the workers within seconds, and is raised as KeyboardInterrupt; checkpoints stay.
    Raises what `handgrad.fit` does, wherever it arose; and ClusterError where there is no cluster at the address, one
    of its machines lacks `handgrad[ray]` or has another version, or workers ended more often than `max_failures`.
    """
    if not isinstance(model, Layer):
        raise DTypeError(f"model must be a Layer, such as handgrad.mlp gives, got {type(model).__name__}")
    if unknown := options.keys() - set(TAKEN):
        raise TypeError(f"fit got unknown options: {', '.join(sorted(unknown))}; known are {', '.join(TAKEN)}")
    least, most = _counts(workers)
    threads = whole("threads", threads)
    timeout = positive("timeout", timeout)
    if not isinstance(max_failures, int) or max_failures < -1:
        raise ValueRangeError(f"max_failures must be a whole number, or -1 for any number, got {max_failures!r}")
    if resume and checkpoint is None:
        raise ValueRangeError("resume=True goes on from a folder of checkpoints; give checkpoint=FOLDER too")
    Every.of(options.get("every", 1))
    options = {"batch_size": 32, **options, "threads": threads}
    options["batch_size"] = whole("batch_size", options["batch_size"])
    given = None if is_sharded(data) else _in_memory(data, most)

    def tell(row: dict[str, Any]) -> None:
        if progress:
            print(_line(row), file=sys.stderr, flush=True)
        if heard is not None:
            heard(row)

    with quiet(), cluster(address, most * threads + (given is None)) as ray:
        check_nodes(ray, least * threads)
        shards = None
        if given is None:
            shards = shards_of(data, options["batch_size"], (least, most), buffer)
            options["validation"] = held_of(options.get("validation"), shards)
        job = Job(
            model,
            None if given is None else ray.put(given),
            options,
            (callbacks,) if callable(callbacks) else tuple(callbacks),
            None if checkpoint is None else str(Path(checkpoint).resolve()),
            resume,
            _notes(ray),
            shards,
        )
        return _run(ray, job, (least, most), threads, max_failures, timeout, tell)


def _notes(ray: Any) -> Any:
    """The actor of Notes, on this process's machine: those of the workers may be lost."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Notes).remote()


def _in_memory(data: Any, workers: int) -> tuple[Any, ...]:
    found = rows(data)
    if len(found) < workers:
        raise ShapeError(f"{len(found)} rows cannot be shared by {workers} workers; give fewer workers")
    return (found.x, found.y, *(() if found.weight is None else (found.weight,)))


def _counts(workers: Any) -> tuple[int, int]:
    if isinstance(workers, tuple | list) and len(workers) == 2:
        least, most = whole("workers", workers[0]), whole("workers", workers[1])
        if least <= most:
            return least, most
        raise ValueRangeError(f"workers must be a number, or (least, most), got {workers!r}")
    count = whole("workers", workers)
    return count, count


def _run(
    ray: Any, job: Job, counts: tuple[int, int], threads: int, max_failures: int, timeout: float, heard: Any
) -> Result:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError

    from handgrad.scale.network import Gloo, Trainer

    (least, most), cpus = counts, float(threads)
    datasets: dict[str, Any] = {}
    if job.shards is not None:
        most, cpus = places(float(ray.cluster_resources().get("CPU", 0)), counts, threads)
        datasets = {"datasets": {"train": job.shards.dataset}, "dataset_config": in_order()}
        job.shards = job.shards.without_dataset()
    storage = tempfile.mkdtemp(prefix="handgrad-")
    trainer = Trainer(
        train,
        train_loop_config=job,
        torch_config=Gloo(timeout_s=max(1, round(timeout))),
        scaling_config=ScalingConfig(
            num_workers=most if least == most else (least, most),
            resources_per_worker={"CPU": cpus},
        ),
        run_config=RunConfig(storage_path=storage, failure_config=FailureConfig(max_failures=max_failures)),
        **datasets,
    )
    try:
        with _hearing(ray, job.notes, heard):
            result = trainer.fit().return_value
    except KeyboardInterrupt:
        trainer.abort()
        kept = f"the last checkpoint in {job.checkpoint!r} is kept" if job.checkpoint else "nothing is kept"
        raise KeyboardInterrupt(f"interrupted, and the workers are ended; {kept}") from None
    except TrainingFailedError as error:
        if (noted := ray.get(job.notes.failed.remote())) is not None:
            raise noted from None
        raise ClusterError(_words(error)) from error
    finally:
        shutil.rmtree(storage, ignore_errors=True)
        for text, category in ray.get(job.notes.warned.remote()):
            warnings.warn(text, category, stacklevel=3)
    if (noted := ray.get(job.notes.failed.remote())) is not None:
        raise noted
    if result is None:
        raise ClusterError("the workers ended without a result")
    return result


def places(has: float, counts: tuple[int, int], threads: int) -> tuple[int, float]:
    """(the most workers, the processors that Ray sets aside for each) where one of `has` is left to read for them.

    Where there is none for the least number of workers, less is set aside for each than it uses.
    """
    least, most = counts
    if has >= least * threads + 1:
        return min(most, int((has - 1) // threads)), threads
    share = (has - 1) / least
    return least, math.floor(share) if share > 1 else share  # Ray takes parts of one processor, not of more


def _words(error: Exception) -> str:
    """Why the workers failed for good, a line each."""
    failures = getattr(error, "worker_failures", None)
    if not failures:
        return f"training by workers failed: {error}"
    lines = [f"worker {rank}: {str(each).strip().splitlines()[-1]}" for rank, each in sorted(failures.items())]
    return f"training by workers failed, and max_failures allows no more: {'; '.join(lines)}"


@contextlib.contextmanager
def _hearing(ray: Any, notes: Any, heard: Callable[[dict[str, Any]], object]) -> Iterator[None]:
    """Meanwhile, heard(row) of each epoch that the workers end, once, though they may do it again after a fault."""
    over, wrong = threading.Event(), list[Exception]()

    def listen() -> None:
        told = epoch = 0
        while not wrong:
            last = over.wait(LOOKS)
            for row in ray.get(notes.told.remote(told)):
                told += 1
                if row["epoch"] > epoch:
                    epoch = row["epoch"]
                    try:
                        heard(row)
                    except Exception as error:
                        wrong.append(error)
            if last:
                return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if wrong:
        raise wrong[0]


def _line(row: dict[str, Any]) -> str:
    """An epoch in a line."""
    columns = ", ".join(f"{name} {row[name]:.4g}" for name in row if name not in ("epoch", "seconds"))
    return f"epoch {row['epoch']}: {columns}; {row['seconds']:.1f} s"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Ray says only what is wrong, and the handler of Ctrl-C is the one from before afterwards."""
    logs = [logging.getLogger(name) for name in ("ray.train", "ray.data", "ray.tune")]
    levels, main = [log.level for log in logs], threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():  # of what is deprecated within Ray
            for category in (DeprecationWarning, FutureWarning, ResourceWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
        if main:
            signal.signal(signal.SIGINT, handler)
