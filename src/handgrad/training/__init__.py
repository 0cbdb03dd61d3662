"""`fit`, `predict` and `Predictor`: batches, epochs, validation, early stopping, callbacks, privacy, progress."""

from handgrad.training.fit import EpochEnd, fit
from handgrad.training.history import History, Result
from handgrad.training.predict import predict
from handgrad.training.predictor import Predictor
from handgrad.training.privacy import Privacy
from handgrad.training.streams import Stream

__all__ = ["EpochEnd", "History", "Predictor", "Privacy", "Result", "Stream", "fit", "predict"]
