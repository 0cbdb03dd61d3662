"""The published numbers of CS231n's assignment 2, to the eight digits they are printed with."""

import json
from pathlib import Path

import numpy as np
import pytest

from handgrad.optim import SGD, Adam

NUMBERS = json.loads((Path(__file__).parents[1] / "conformance" / "cs231n.json").read_text())["optimizers"]
PARAMS = np.linspace(-0.4, 0.6, 20)
GRADIENT = np.linspace(-0.6, 0.4, 20)
ROUNDING = 6e-9  # half of the last digit printed, and a little


def published(rule, key):
    return np.ravel(NUMBERS[rule][key])


def test_sgd_momentum():
    # there the velocity carries the rate and its sign: v_theirs = -rate v_ours
    rate, momentum = NUMBERS["sgd_momentum"]["lr"], NUMBERS["sgd_momentum"]["momentum"]
    state = {"step": 0, "velocity": np.linspace(0.6, 0.9, 20) / -rate}
    state, update = SGD(rate, momentum=momentum).update(state, GRADIENT)
    np.testing.assert_allclose(PARAMS + update, published("sgd_momentum", "next_w"), rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(-rate * state["velocity"], published("sgd_momentum", "velocity"), rtol=0, atol=ROUNDING)


def test_adam():
    given = NUMBERS["adam"]
    adam = Adam(given["lr"], beta1=given["b1"], beta2=given["b2"], epsilon=given["eps"])
    state = {
        "step": given["t_before"],
        "first_moment": np.linspace(0.6, 0.9, 20),
        "second_moment": np.linspace(0.7, 0.5, 20),
    }
    state, update = adam.update(state, GRADIENT)
    assert state["step"] == given["t_before"] + 1
    np.testing.assert_allclose(PARAMS + update, published("adam", "next_w"), rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(state["first_moment"], published("adam", "m_next"), rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(state["second_moment"], published("adam", "v_next"), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("steps_before", [4, 6])
def test_the_numbers_tell_the_step_apart(steps_before):
    state = {
        "step": steps_before,
        "first_moment": np.linspace(0.6, 0.9, 20),
        "second_moment": np.linspace(0.7, 0.5, 20),
    }
    _, update = Adam(0.01).update(state, GRADIENT)
    assert np.max(np.abs(PARAMS + update - published("adam", "next_w"))) > 1e-6
