"""The numbers that CS231n publishes with its assignments and notes, each met to its last printed digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handgrad import ops

DATA = json.loads(Path(__file__).with_name("cs231n.json").read_text())
ASSIGNMENTS, NOTES = DATA["assignments"], DATA["notes"]


def build(recipe: str, **sizes: int) -> np.ndarray:
    """The array that a recipe of the file describes, such as "linspace(-0.1,0.5,240).reshape(2,4,5,6)"."""
    return eval(recipe, {"__builtins__": {}}, {"linspace": np.linspace, **sizes})


def printed(published: Any) -> float:
    """Half a unit of the last printed digit: what a number may differ by from its published form. 0 for integers."""
    digits = [len(repr(x).partition(".")[2]) for x in np.ravel(np.asarray(published, dtype=object)) if x % 1]
    return 0.5 * 10.0 ** -max(digits) if digits else 0.0


def meets(actual: Any, published: Any) -> None:
    # beyond 16 digits the order of a sum decides, which no published number fixes
    actual = np.asarray(actual)
    assert actual.shape == np.shape(published)
    np.testing.assert_allclose(actual, np.asarray(published, dtype=float), rtol=1e-14, atol=printed(published))


def affine_forward(case: dict[str, Any]) -> None:
    x, w, b = (build(case[name]) for name in "xwb")
    meets(ops.linear(x, w, b, flatten=True), case["expected"])


def relu_forward(case: dict[str, Any]) -> None:
    meets(ops.relu(build(case["x"])), case["expected"])


def losses(case: dict[str, Any]) -> None:
    rng = np.random.RandomState(231)
    x, y = 0.001 * rng.randn(50, 10), rng.randint(10, size=50)
    meets(ops.hinge(x, y), case["svm_loss"])
    meets(ops.cross_entropy(x, y), case["softmax_loss"])


def network(x: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]) -> np.ndarray:
    """The scores of affine - relu - ... - affine."""
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        x = ops.relu(ops.linear(x, w, b, flatten=True))
    return ops.linear(x, weights[-1], biases[-1])


def penalty(weights: list[np.ndarray], reg: float) -> float:
    return sum(ops.l2(w, strength=reg / 2) for w in weights)  # theirs is 0.5 reg sum(W^2)


def two_layer_net(case: dict[str, Any]) -> None:
    sizes = dict(zip("NDHC", (3, 5, 50, 7), strict=True))
    assert case["shape"] == "N,D,H,C=3,5,50,7"
    weights, biases = ([build(case[name + i], **sizes) for i in "12"] for name in "Wb")
    scores = network(build(case["X"], **sizes), weights, biases)
    meets(scores, case["scores"])
    loss = ops.cross_entropy(scores, case["y"])
    meets(loss, case["loss_reg0"])
    meets(loss + penalty(weights, 1.0), case["loss_reg1_cs231n"])


def fcnet_initial_loss(case: dict[str, Any]) -> None:
    rng = np.random.RandomState(231)
    x, y = rng.randn(2, 15), rng.randint(10, size=2)
    shapes = ((15, 20), (20, 30), (30, 10))
    for reg in (0, 3.14):
        weights = [rng.normal(0, 5e-2, shape) for shape in shapes]
        scores = network(x, weights, [np.zeros(n) for _, n in shapes])
        meets(ops.cross_entropy(scores, y) + penalty(weights, reg), case[f"reg{reg}"])


def circuit(case: dict[str, Any]) -> None:
    q, add = ops.add.forward(float(case["x"]), float(case["y"]))
    f, multiply = ops.multiply.forward(q, float(case["z"]))
    dq, dz = ops.multiply.backward(1.0, multiply)
    dx, dy = ops.add.backward(dq, add)
    for name, value in {"f": f, "dx": dx, "dy": dy, "dz": dz}.items():
        meets(value, case[name])


def sigmoid_neuron(case: dict[str, Any]) -> None:
    *w, b = (np.array([value], dtype=float) for value in case["w"])
    z, linear = ops.linear.forward(np.array(case["x"], dtype=float), np.array(w), b)
    f, sigmoid = ops.sigmoid.forward(z)
    meets(f[0], case["f"])
    dx, dw, db = ops.linear.backward(ops.sigmoid.backward(np.ones(1), sigmoid)[0], linear)
    meets(dx, case["dx"])
    meets([*dw[:, 0], *db], case["dw"])


def svm_vs_softmax(case: dict[str, Any]) -> None:
    x, w, b = (np.array(case[name], dtype=float) for name in "xWb")
    scores = ops.linear(x[None], w, b, layout="out_in")
    meets(scores[0], case["scores"])
    meets(ops.hinge(scores, [case["y"]]), case["hinge_delta1"])
    meets(ops.cross_entropy(scores, [case["y"]]), case["cross_entropy_ln"])


CHECKS = {check.__name__: check for check in (affine_forward, relu_forward, losses, two_layer_net, fcnet_initial_loss)}
NOTE_CHECKS = {"circuit_(x+y)z": circuit, "sigmoid_neuron": sigmoid_neuron, "svm_vs_softmax": svm_vs_softmax}


@pytest.mark.parametrize("name", CHECKS)
def test_assignments(name: str) -> None:
    CHECKS[name](ASSIGNMENTS[name])


@pytest.mark.parametrize("name", NOTE_CHECKS)
def test_notes(name: str) -> None:
    NOTE_CHECKS[name](NOTES[name])


def test_no_section_of_the_file_is_left_out() -> None:
    assert set(ASSIGNMENTS) == {"rel_error", *CHECKS}
    assert set(NOTES) == set(NOTE_CHECKS)
    assert set(DATA) == {"about", "source", "assignments", "notes", "optimizers"}  # the last: tests/optim


def test_a_number_that_differs_in_its_last_digit_is_seen() -> None:
    expected = ASSIGNMENTS["two_layer_net"]["loss_reg0"]
    meets(expected + 4e-11, expected)
    with pytest.raises(AssertionError):
        meets(expected + 1e-10, expected)
