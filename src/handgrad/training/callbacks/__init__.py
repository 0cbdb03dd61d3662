"""Callbacks of `fit` that tell other tools of a training: `TensorBoard` and `MLflow`."""

from handgrad.training.callbacks.mlflow import MLflow
from handgrad.training.callbacks.tensorboard import TensorBoard

__all__ = ["MLflow", "TensorBoard"]
