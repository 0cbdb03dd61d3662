"""`fit` and `predict`: batches, epochs, validation, early stopping, callbacks, progress."""

from handgrad.training.fit import EpochEnd, fit
from handgrad.training.history import History, Result
from handgrad.training.predict import predict

__all__ = ["EpochEnd", "History", "Result", "fit", "predict"]
