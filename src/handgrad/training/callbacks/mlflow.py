"""Runs of MLflow, by its own client."""

from __future__ import annotations

import os
import posixpath
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from handgrad.errors import DTypeError
from handgrad.formats.extras import extra
from handgrad.training.callbacks.log import Log, numbers
from handgrad.training.fit import EpochEnd
from handgrad.training.history import Result

T = TypeVar("T")

ENDED = {"interrupted": "KILLED", "terminated": "KILLED", "diverged": "FAILED", "failed": "FAILED"}  # else FINISHED
MOST, LONGEST = 6000, 250  # characters that MLflow keeps of a parameter's value, and takes of a name
PARAMS, METRICS = 100, 1000  # that it takes at once


def key(name: str) -> str:
    """A name that MLflow takes in place of that one: a metric may be called "<lambda>"."""
    found = re.sub(r"[^/\w.\- :]", "_", str(name))[:LONGEST]
    is_path = posixpath.normpath(found) == found and not found.startswith(("/", "."))
    return found if is_path else re.sub(r"[/.]", "_", found) or "_"


def batched(items: Iterable[T], most: int) -> Iterator[list[T]]:
    """So many of them at a time."""
    rest = iter(items)
    return iter(lambda: list(islice(rest, most)), [])


class MLflow(Log):
    """A callback that logs each column of the history as a metric of a run of MLflow, with the epoch as its step.

    uri: of the tracking server, or what else MLflow takes; by default what MLFLOW_TRACKING_URI says. experiment: made
    where there is none of that name. name: of the run; MLflow makes one up. params: what to keep as its parameters.

    A training that is resumed from a checkpoint goes on in the same run, each point once; another one that is given the
    same callback has a run of its own. Where the server is lost
    during the training, that goes on without it, with a LogWarning. Needs `pip install 'handgrad[mlflow]'`.
    """

    def __init__(
        self,
        uri: str | None = None,
        *,
        experiment: str = "handgrad",
        name: str | None = None,
        params: Mapping[str, Any] | None = None,
    ):
        for argument, value in (("uri", uri), ("experiment", experiment), ("name", name)):
            if not isinstance(value, str) and (value is not None or argument == "experiment"):
                raise DTypeError(f"{argument} must be text, got {value!r}")
        self._client = extra("mlflow", "MLflow").MlflowClient(tracking_uri=uri)
        self._entities = extra("mlflow.entities", "MLflow")
        self.experiment, self.name, self.params = experiment, name, dict(params or {})
        self.run_id: str | None = None  # when it has one
        self._known: int | None = None  # epochs that the run has already
        self._epoch, self._over = 0, False  # whether the run's training has ended

    def __call__(self, end: EpochEnd) -> None:
        self._begin()
        self._epoch = end.row["epoch"]
        if self._known is None:  # before the first, what is wrong with the server is worth an error
            self._known = self._logged() if self.run_id else 0
            self.start()
        if self._epoch > self._known:
            self.attempt(self.scores, numbers(end.row))

    def state(self) -> dict[str, Any]:
        """Which run it is, which is made where there is none yet."""
        self._begin()
        return {"run_id": self.start()}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on in that run."""
        self.run_id, self._known, self._over = str(state["run_id"]), None, False
        self._client.update_run(self.run_id, status="RUNNING")

    def check(self) -> None:
        """See that the server answers, and has the experiment. Raises what MLflow does where it does not."""
        self._experiment()

    def start(self) -> str:
        """The run's id. The run is made when it is first asked for."""
        if self.run_id is None:
            self.run_id = self._client.create_run(self._experiment(), run_name=self.name).info.run_id
            named = {key(name): str(value)[:MOST] for name, value in self.params.items()}
            for given in batched((self._entities.Param(*each) for each in named.items()), PARAMS):
                self._client.log_batch(self.run_id, params=given)
        return self.run_id

    def end(self, result: Result) -> None:
        """`fit` has ended, and the run with it: finished, failed where it diverged, killed where it was cut off."""
        self._epoch = len(result.history)
        self.attempt(self.scores, {"best_epoch": result.best_epoch})
        self.attempt(self.terminate, ENDED.get(result.stopped, "FINISHED"))
        self._over = True

    def terminate(self, status: str = "FINISHED") -> None:
        """The run has ended, with that status of MLflow."""
        self._client.set_terminated(self.start(), status)

    def scores(self, values: Mapping[str, float]) -> None:
        """Metrics of the run, at the last epoch."""
        now = int(1000 * time.time())
        named = {key(name): float(value) for name, value in values.items()}
        points = (self._entities.Metric(name, value, now, self._epoch) for name, value in named.items())
        for given in batched(points, METRICS):
            self._client.log_batch(self.start(), metrics=given)

    def file(self, path: str | os.PathLike[str]) -> None:
        """Keep a file with the run, such as a model that `handgrad.save` has written."""
        self._client.log_artifact(self.start(), os.fspath(path))

    def _begin(self) -> None:
        """Another training than the one that has ended gets a run of its own."""
        if self._over:
            self.run_id, self._known, self._over = None, None, False

    def _experiment(self) -> str:
        """The experiment's id; it is made where there is none."""
        known = self._client.get_experiment_by_name(self.experiment)
        if known is None:
            try:
                return str(self._client.create_experiment(self.experiment))
            except Exception:  # another training may have made it meanwhile
                known = self._client.get_experiment_by_name(self.experiment)
                if known is None:
                    raise
        return str(known.experiment_id)

    def _logged(self) -> int:
        """The last epoch that the run has a loss of: it may be one more than the checkpoint has."""
        return max((point.step for point in self._client.get_metric_history(self.run_id, "loss")), default=0)
