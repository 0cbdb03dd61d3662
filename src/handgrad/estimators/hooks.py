"""scikit-learn's own callbacks, where the installed version has them (1.9 and newer), and Handgrad's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import numpy as np

from handgrad.layers import Parameters
from handgrad.training import EpochEnd


class _Without:
    """In the place of scikit-learn's mixin, where the installed version has none."""


def _from_scikit_learn(name: str, otherwise: Any) -> Any:
    try:
        return getattr(import_module("sklearn.callback"), name)
    except ImportError:
        return otherwise


CallbackSupport: Any = _from_scikit_learn("CallbackSupportMixin", _Without)
with_callbacks: Callable[[Any], Any] = _from_scikit_learn("with_callbacks", lambda method: method)


class Hooks:
    """Those who are told of each epoch of a fit: scikit-learn's callbacks, and the functions of `callbacks`.

    To be made at the beginning of a fit, and `close`d at its end.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any):
        self.estimator = estimator
        self.functions: tuple[Callable[[EpochEnd], object], ...] = functions(estimator.callbacks)
        self._root: Any = None
        self._told: dict[str, Any] = {
            "estimator": estimator,
            "X": X,
            "y": y,
            "metadata": None if sample_weight is None else {"sample_weight": sample_weight},
        }
        if isinstance(estimator, _Without):
            return
        # always, for callbacks that a pipeline or a search hands down are told of the fit as a whole
        self._root = estimator._init_callback_context(max_subtasks=estimator.max_iter)
        self._root.call_on_fit_task_begin(**self._told)
        self._listened_to = bool(getattr(estimator, "_skl_callbacks", ()))

    @property
    def wanted(self) -> bool:
        """Whether anybody is to be told of each epoch."""
        return bool(self.functions) or (self._root is not None and self._listened_to)

    def epoch(self, row: dict[str, Any], params: Parameters) -> bool:
        """Tell of an epoch that has ended, whose parameters the estimator holds; whether to stop."""
        estimator, answers = self.estimator, []
        if self._root is not None and self._listened_to:
            task = self._root.subcontext(task_name="epoch")
            task.call_on_fit_task_begin(**self._told)
            answers.append(task.call_on_fit_task_end(**self._told, reconstruction_attributes=self._reconstruction))
        if self.functions:
            flat = params.flat.view()
            flat.flags.writeable = False
            event = EpochEnd(row, params.like(flat), estimator._network.model)
            answers += [function(event) for function in self.functions]  # each is called, whatever another says
        return any(isinstance(answer, bool | np.bool_) and answer for answer in answers)

    def close(self) -> None:
        """Tell that the fit has ended."""
        if self._root is not None:
            self._root.call_on_fit_task_end(**self._told, reconstruction_attributes=self._reconstruction)

    def _reconstruction(self) -> dict[str, Any]:
        copies = ("coefs_", "intercepts_")
        return {name: [array.copy() for array in getattr(self.estimator, name)] for name in copies}


def functions(callbacks: Any) -> tuple[Callable[[EpochEnd], object], ...]:
    """The functions of the `callbacks` parameter: None, one, or several of them."""
    if callbacks is None:
        return ()
    given: Iterable[Any] = (callbacks,) if callable(callbacks) else callbacks
    for callback in (found := tuple(given)):
        if not callable(callback):
            raise TypeError(f"callbacks must be functions of an EpochEnd, got {callback!r}")
    return found
