"""scikit-learn: its MLPs as a model, and a model as one of its MLPs where it can express it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

import handgrad.layers as layers
from handgrad.errors import HandgradError, ShapeError
from handgrad.formats.errors import FormatError
from handgrad.formats.packing import packed
from handgrad.layers.base import Layer
from handgrad.layers.parameters import Parameters
from handgrad.models import Sequential
from handgrad.ops.arrays import Array

ACTIVATIONS: dict[str, type[Layer]] = {
    "identity": layers.Identity,
    "logistic": layers.Sigmoid,
    "tanh": layers.Tanh,
    "relu": layers.ReLU,
}
OUTPUTS = {"identity": None, "softmax": layers.Softmax, "logistic": layers.Sigmoid}
NOTHING = (layers.Identity, layers.Dropout, layers.Flatten)  # what rows of numbers pass unchanged, when predicting

Map = tuple[np.ndarray, np.ndarray]  # coefficients (n_in, n_out) and intercepts (n_out,)


def from_sklearn(estimator: Any, *, output_activation: bool = False) -> tuple[Sequential, Parameters]:
    """(model, params) of a fitted MLPClassifier or MLPRegressor, scikit-learn's or Handgrad's; params are copies.

    The model ends with scores, which is what losses take. output_activation=True puts what the estimator's
    `out_activation_` states on top: Softmax for "softmax", Sigmoid for "logistic" (of two classes, the second's
    probability), nothing for "identity". A calibrated estimator's temperature comes before it.
    Raises FormatError for anything else: another estimator, one that is not fitted, an output activation that no layer
    has.
    """
    kind = type(estimator).__name__
    if not any(each.__name__ in ("MLPClassifier", "MLPRegressor") for each in type(estimator).__mro__):
        raise FormatError(f"from_sklearn takes an MLPClassifier or MLPRegressor, got {kind}")
    if not hasattr(estimator, "coefs_"):
        raise FormatError(f"{kind} is not fitted; there are no parameters to take")
    network = getattr(estimator, "_network", None)
    if network is not None:  # Handgrad's own
        stack = list(network.model.layers)
        params: Mapping[str, Array] = network.current(estimator.coefs_, estimator.intercepts_)
    else:
        if estimator.activation not in ACTIVATIONS:
            raise FormatError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {estimator.activation!r}")
        stack, params = _stack(estimator), {}
        for i, arrays in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
            params |= {f"{2 * i}.{name}": array for name, array in zip(("weight", "bias"), arrays, strict=True)}
    if output_activation:
        stack += _on_top(estimator.out_activation_, float(getattr(estimator, "temperature_", 1.0)))
    model = Sequential(stack)
    return model, packed(model, params)


def _stack(estimator: Any) -> list[Layer]:
    widths = [estimator.coefs_[0].shape[0], *(coef.shape[1] for coef in estimator.coefs_)]
    activation = ACTIVATIONS[estimator.activation]
    stack: list[Layer] = []
    for n_in, n_out in pairwise(widths):
        stack += [layers.Linear(n_in, n_out, init="glorot_uniform"), activation()]
    return stack[:-1]


def _on_top(name: str, temperature: float) -> list[Layer]:
    if name not in OUTPUTS:
        raise FormatError(f"out_activation_ must be one of {', '.join(OUTPUTS)} to be a layer, got {name!r}")
    if name == "softmax":
        return [layers.Softmax(temperature)]
    if temperature != 1:
        raise FormatError(f"a temperature goes with softmax, got {temperature:g} beside {name!r}")
    return [layers.Sigmoid()] if name == "logistic" else []


def to_sklearn(model: Layer, params: Mapping[str, Array], classes: Sequence[Any] | np.ndarray | None = None) -> Any:
    """A fitted scikit-learn MLPClassifier with these classes, or an MLPRegressor without any; its arrays are copies.

    classes: sorted labels, one for each score; two for a single one, which is then the second class's. A Softmax on
    top, at any temperature, goes into the classifier, and so does a Sigmoid: of a single score, or, of several, that
    of multilabel targets, whose classes are 0, 1, ... Without either, scores are taken for those of a softmax, or of
    the logistic function where there is one alone.
    scikit-learn has linear layers with one activation for all hidden layers: "identity", "logistic", "tanh" or "relu".
    Dropout is left out, as it does nothing when predicting; so is Flatten, and a shared layer becomes two. The
    estimator can be trained on with partial_fit or warm_start, of its own defaults otherwise.
    Raises FormatError, with its place, for what scikit-learn cannot express; ShapeError for classes that do not fit.
    """
    maps, activations = _read(model, packed(model, params))
    top = activations.pop()
    if classes is None:
        if not isinstance(top, layers.Identity):
            raise FormatError(f"MLPRegressor gives scores as they are; expected none on top, got {top!r}")
        out = "identity"
    else:
        out = _fold(maps, top, len(classes))
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    hidden = tuple(len(bias) for _, bias in maps[:-1])
    name = _one(activations)
    estimator = (MLPRegressor if classes is None else MLPClassifier)(hidden_layer_sizes=hidden, activation=name)
    if classes is not None:
        _label(estimator, classes, multilabel=out == "logistic" and len(maps[-1][1]) > 1)
    estimator.coefs_, estimator.intercepts_ = ([each[i] for each in maps] for i in (0, 1))
    estimator.n_features_in_, estimator.n_outputs_ = len(maps[0][0]), len(maps[-1][1])
    estimator.n_layers_, estimator.out_activation_ = len(maps) + 1, out
    estimator.n_iter_ = estimator.t_ = estimator._no_improvement_count = 0
    estimator.loss_curve_, estimator.best_loss_ = [], np.inf
    estimator.validation_scores_ = estimator.best_validation_score_ = None
    return estimator


def _read(model: Layer, params: Parameters) -> tuple[list[Map], list[Layer]]:
    """The linear maps in turn, and after each its activation."""
    maps: list[Map] = []
    after: list[Layer] = []

    def read(layer: Layer, own: Mapping[str, np.ndarray]) -> None:
        if type(layer) is Sequential:  # not a subclass, which may compute something else
            for place, child in layer.children().items():
                try:
                    read(child, layer._params_of(own, place))
                except HandgradError as error:
                    raise error.within(place) from None
        elif type(layer) is layers.Linear:
            weight = own["weight"] if layer.layout == "in_out" else own["weight"].T
            bias = own.get("bias", np.zeros(layer.n_out, weight.dtype))
            maps.append((np.array(weight, order="C"), np.array(bias)))
            after.append(layers.Identity())
        elif type(layer) not in NOTHING:
            known = type(layer) in (*ACTIVATIONS.values(), layers.Softmax)
            if not known or not after or not isinstance(after[-1], layers.Identity):
                reason = "it has no such layer" if not known else "each activation follows a linear layer of its own"
                raise FormatError(f"scikit-learn's MLP cannot express {layer!r}: {reason}")
            after[-1] = layer

    read(model, params)
    if not maps:
        raise FormatError("scikit-learn's MLP has a linear layer at least, and the model has none")
    return maps, after


def _one(activations: list[Layer]) -> str:
    """scikit-learn's name of the one activation of all hidden layers."""
    names = {name for name, kind in ACTIVATIONS.items() for layer in activations if type(layer) is kind}
    if any(isinstance(layer, layers.Softmax) for layer in activations):
        raise FormatError("scikit-learn's MLP has no softmax in a hidden layer")
    if len(names) > 1:
        found = ", ".join(sorted(names))
        raise FormatError(f"scikit-learn's MLP has one activation for all hidden layers, got {found}")
    return names.pop() if names else "identity"


def _fold(maps: list[Map], top: Layer, classes: int) -> str:
    """The output activation, once what is on top of the last map went into it. Raises ShapeError or FormatError."""
    weight, bias = maps[-1]
    outputs = len(bias)
    if outputs != classes and (outputs, classes) != (1, 2):
        raise ShapeError(f"classes must have a label for each of {outputs} scores, got {classes}")
    if classes < 2:
        raise ShapeError(f"classes must be two or more, got {classes}")
    if isinstance(top, layers.Softmax) and top.axis in (-1, 1):
        weight, bias = weight / weight.dtype.type(top.temperature), bias / bias.dtype.type(top.temperature)
        if outputs == 1:
            raise FormatError("a softmax over a single score is 1 for any; put a Sigmoid on top, or nothing")
    elif isinstance(top, layers.Sigmoid):
        return "logistic"
    elif not isinstance(top, layers.Identity):
        raise FormatError(f"MLPClassifier has a softmax or a sigmoid on top, got {top!r}")
    if outputs > 2:
        maps[-1] = weight, bias
        return "softmax"
    if outputs == 2:  # softmax of two scores is the logistic function of their difference
        weight, bias = weight[:, 1:] - weight[:, :1], bias[1:] - bias[:1]
    maps[-1] = weight, bias
    return "logistic"


def _label(estimator: Any, classes: Any, multilabel: bool) -> None:
    """Tell the classifier its labels."""
    from sklearn.preprocessing import LabelBinarizer

    labels = np.asarray(classes)
    if labels.ndim != 1 or len(np.unique(labels)) < len(labels) or (np.unique(labels) != labels).any():
        raise ShapeError(f"classes must be labels, sorted, each once, got {list(classes)!r:.80}")
    if multilabel and (labels.dtype.kind not in "iu" or (labels != np.arange(len(labels))).any()):
        raise ShapeError(f"classes of multilabel targets are 0 to {len(labels) - 1}, got {list(classes)!r:.80}")
    binarizer = LabelBinarizer()
    estimator._label_binarizer = binarizer.fit(np.eye(len(labels), dtype=int) if multilabel else labels)
    estimator.classes_ = binarizer.classes_
