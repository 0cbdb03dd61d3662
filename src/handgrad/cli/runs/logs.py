"""--tensorboard and --mlflow: what a run tells other tools, beside its own history."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from handgrad.cli.faults import InputError
from handgrad.cli.options import Options
from handgrad.training.callbacks import MLflow, TensorBoard


class Logs:
    """Those that the options ask for. Each network of a run, one or an ensemble's members, has its own."""

    def __init__(self, options: Options):
        """Raises InputError, before anything is read, where what they need is not there."""
        self._options = options
        self._name = ""
        self._made: dict[int | None, list[Any]] = {}
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its own 7 take minutes
        try:
            for log in self._make(None):
                if isinstance(log, MLflow):
                    log.check()
        except ImportError as error:
            raise InputError(str(error)) from None
        except Exception as error:  # MLflow's own, and those of the libraries that it takes for each scheme
            said = [line for line in str(error).splitlines() if line] or [type(error).__name__]
            raise InputError(f"--mlflow {options.mlflow}: {said[0]}") from None

    def begin(self, name: str) -> None:
        """The run has its name."""
        self._name = name

    def callbacks(self, member: int | None) -> list[Any]:
        """For `fit` of one network. member: of an ensemble, counted from 1."""
        return self._made.setdefault(member, self._make(member))

    def end(self, scores: Mapping[str, float], model: Path) -> None:
        """The run is complete: its scores on the test part, and its model file."""
        scores = {f"test_{name.replace(' ', '_')}": value for name, value in scores.items() if value == value}
        for log in self.callbacks(None):
            log.attempt(log.scores, scores)
            if isinstance(log, MLflow):
                log.attempt(log.file, model)
                log.attempt(log.terminate)

    def _make(self, member: int | None) -> list[Any]:
        """New ones. Raises ImportError."""
        options, made = self._options, list[Any]()
        name = self._name if member is None else f"{self._name}/member-{member}"
        if options.tensorboard is not None:
            made.append(TensorBoard(Path(options.tensorboard) / name))
        if options.mlflow is not None:
            given = {option: value for option, value in asdict(options).items() if value is not None}
            made.append(MLflow(options.mlflow, name=name, params=given))
        return made
