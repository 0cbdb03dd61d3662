"""`fit`, `predict` and `Predictor`: batches, epochs, validation, early stopping, callbacks, progress."""

from handgrad.training.fit import EpochEnd, fit
from handgrad.training.history import History, Result
from handgrad.training.predict import predict
from handgrad.training.predictor import Predictor

__all__ = ["EpochEnd", "History", "Predictor", "Result", "fit", "predict"]
