"""The options in a run's config, which somebody may have written: each that cannot be one is refused in a few words.

What the soak of tests/formats/test_hostile_json.py has found stands here for itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

import handgrad as hg
from handgrad.cli.options import Plain, options_in
from handgrad.cli.runs.networks import _optimizer
from handgrad.cli.settings import check_settings
from handgrad.errors import HandgradError

WRONG = {
    "a list in the place of a name": ({"optimizer": ["adam"]}, r"its option optimizer must be str, got \('adam',\)"),
    "a text without end": ({"checkpoint": "9" * 5000}, "--checkpoint must be a number of epochs"),
    "a number that no float holds": ({"dropout": 10**400}, "its option dropout must be float, got 1000"),
    "one as far below 0": ({"test": -(10**400)}, "its option test must be float, got -1000"),
    "more epochs than there can be": ({"epochs": 10**400}, "--epochs must be a whole number from 1 to .*, got 1000"),
    "fewer": ({"epochs": -5}, "--epochs must be a whole number from 1 to .*, got -5"),
    "a seed below 0": ({"seed": -1}, "--seed must be a whole number of at least 0, got -1"),
    "another dtype": ({"dtype": "float16"}, "--dtype must be one of float32, float64, got 'float16'"),
    "one that is none": ({"learning_rate": float("nan")}, "--learning-rate must be a finite number above 0, got nan"),
}


def written(**options):
    """A config with those options, as it is read."""
    return json.loads(json.dumps({"options": asdict(Plain()) | options}))


def test_what_is_written_is_read():
    assert options_in(written(), "config.json") == Plain()


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be(what):
    options, said = WRONG[what]
    with pytest.raises(HandgradError, match=said) as caught:
        check_settings(options_in(written(**options), "config.json"))
    assert len(str(caught.value)) < 300


def test_an_optimizer_of_no_name_is_fits_own():
    for name in (["adam"], {}, None, "other"):
        assert _optimizer({"optimizer": name}) == hg.Adam()
