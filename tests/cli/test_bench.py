"""`handgrad bench` and what benchmarks/ shares with it. No time is asserted: these run on busy machines."""

import json
import re
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from handgrad.cli.bench.configurations import CONFIGURATIONS, Block, Configuration, mlp
from handgrad.cli.bench.process import BenchError, Process
from handgrad.cli.bench.rivals import RIVALS, Entry, chosen
from handgrad.cli.bench.rivals.own import Handgrad
from handgrad.cli.bench.rivals.plain import Numpy
from handgrad.cli.bench.suite import Measurement, Pool, agrees, measure
from handgrad.cli.bench.table import left_out, lines, markdown
from handgrad.cli.bench.worker import Worker
from handgrad.errors import ValueRangeError

SMALL = mlp("small", (4, 8, 3), "cross_entropy", 16, batches=4)
BLOCKS = (Block("swiglu", 4, 6), Block("linear", 6, 5), Block("relu", 5, 5), Block("linear", 5, 2))
GATED = Configuration("gated", BLOCKS, "squared_error", 8, batches=3)


def test_the_limit():
    two = mlp("two", (2, 3, 1), "squared_error", 4)
    # 2 B n_in n_out, twice for the first layer, three times after: 2 * 48 + 3 * 24; parameters: 2 * 3 + 3 + 3 + 1
    assert two.flops == 168
    assert two.parameters == 13
    assert two.limit(peak=84, bandwidth=182) == pytest.approx(2 + 2)
    # SwiGLU has two maps
    assert GATED.flops == 16 * (2 * 4 * 6 * 2 + 3 * (6 * 5 + 5 * 5 + 5 * 2))
    assert GATED.parameters == sum(value.size for block in GATED.weights() for value in block)


def test_the_configurations_are_those_that_the_results_name():
    assert [c.text for c in CONFIGURATIONS.values()] == [
        "8-64-64-1, batch 32, mean squared error",
        "32-128-128-10, batch 128, cross-entropy",
        "784-256-128-10, batch 128, cross-entropy",
        "256-512-512-512-256, batch 256, mean squared error",
        "512-[SwiGLU 1024]-512-[SwiGLU 1024]-512-10, batch 512, cross-entropy",
    ]


@pytest.mark.parametrize("configuration", [SMALL, GATED], ids=lambda c: c.name)
def test_a_configuration_goes_to_a_worker_whole(configuration):
    assert Configuration(**json.loads(json.dumps(configuration.as_json()))) == configuration


def measured():
    """Two configurations as if measured, in microseconds."""
    titles = {name: RIVALS[name].title for name in ("handgrad", "eager", "sklearn", "torch")}
    a = Measurement(replace(SMALL, name="A"), 1, titles, ("handgrad", "eager"))
    a.seconds = {"handgrad": [4e-6, 2e-6, 5e-6], "eager": [1e-6] * 3, "sklearn": [9e-6, 5e-6, 6e-6]}
    a.limits = [{"seconds": seconds, "usual": 1.5 * seconds} for seconds in (1e-6, 1.2e-6, 4e-6)]
    a.left_out = {"torch": "torch not installed"}
    b = Measurement(replace(SMALL, name="B"), 1, titles, ("handgrad", "eager"))
    b.seconds = {"handgrad": [1234e-6]}
    b.left_out = {"torch": "torch not installed", "sklearn": "it has no block 'swiglu'"}
    return [a, b]


def test_the_table():
    times, compared = lines(measured())
    assert times == [
        ("handgrad", ["4.00", "1,234"]),
        ("handgrad eager", ["1.00", "-"]),
        ("scikit-learn", ["6.00", "-"]),
        ("limit", ["1.20", "-"]),
    ]
    assert compared == [
        ("best rival", ["sklearn", "-"]),
        ("its time / handgrad's", ["1.50", "-"]),
        ("share of the limit", ["60 %", "-"]),  # of 25, 60 and 80 %
        ("of that at median rates", ["90 %", "-"]),  # of 37.5, 90 and 120 %
    ]
    assert left_out(measured()) == [
        "without PyTorch eager: torch not installed",
        "without scikit-learn in B: it has no block 'swiglu'",
    ]
    assert markdown(measured(), "µs").splitlines()[:3] == [
        "| µs | A | B |",
        "| --- | ---: | ---: |",
        "| handgrad | 4.00 | 1,234 |",
    ]


def test_rivals_do_the_same_work_in_turn():
    rivals = chosen(["numpy", "sklearn", "handgrad"], RIVALS)
    assert list(rivals) == ["handgrad", "sklearn", "numpy"]
    rivals |= {"absent": Entry("absent", "none:None", ("no_such_module",)), "broken": Entry("broken", "os:nothing")}
    said = []
    with Pool(1) as pool:
        reference = Numpy(SMALL, 1).check()
        found = measure(SMALL, rivals, pool, reference=reference, rounds=2, seconds=0.01, say=said.append)
    assert {name: len(times) for name, times in found.seconds.items()} == {"handgrad": 2, "sklearn": 2, "numpy": 2}
    assert all(seconds > 0 for times in found.seconds.values() for seconds in times)
    assert len(found.limits) == 2
    assert all(row["seconds"] == SMALL.limit(row["peak"], row["bandwidth"]) > 0 for row in found.limits)
    assert found.left_out["absent"] == "no_such_module not installed"
    assert "nothing" in found.left_out["broken"]
    assert said[-1] == "small: round 2 of 2, NumPy by hand"


def test_a_worker_that_dies_says_so():
    with Process(1) as process:
        process.start(RIVALS["numpy"].target, SMALL)
        with pytest.raises(BenchError, match="do must be one of 'start', 'check', 'round', 'memory', got 'dance'"):
            process.ask("dance")
        process._process.kill()
        with pytest.raises(BenchError, match=r"the worker died with exit code .*: it said nothing"):
            process.ask("check")


FEW_HAVE = {"torch": RIVALS["torch"].target, "optax": "benchmarks.trainers:Jax"}


@pytest.mark.parametrize("target", [target for package, target in FEW_HAVE.items() if find_spec(package)])
def test_the_rivals_that_are_here_do_the_same_work(target):
    worker = Worker(1)
    for configuration in (SMALL, GATED):
        worker.answer({"do": "start", "target": target, "configuration": configuration.as_json()})
        agrees(target, configuration, Numpy(configuration, 1).check(), worker.answer({"do": "check"}))


def test_gates_by_hand():
    expected, found = Numpy(GATED, 1).check(), Handgrad(GATED, 1).check()
    agrees("handgrad", GATED, expected, found)
    np.testing.assert_allclose(found["steps"], expected["steps"], rtol=1e-5)


@pytest.mark.parametrize("steps", [[1.0, 0.51], [1.0, 0.5, 0.3], [1.0, np.nan]])
def test_other_work_is_refused(steps):
    agrees("x", SMALL, {"steps": [1.0, 0.5]}, {"steps": [1.0, 0.5002]})
    with pytest.raises(BenchError, match="x does other work than the rest in configuration small: its steps are 1, "):
        agrees("x", SMALL, {"steps": [1.0, 0.5]}, {"steps": steps})


def test_memory_is_taken():
    worker = Worker(1)
    worker.answer({"do": "start", "target": RIVALS["numpy"].target, "configuration": GATED.as_json()})
    answer = worker.answer({"do": "memory"})
    assert answer["before"] > 2**20
    assert answer["bytes"] >= 0


@pytest.mark.parametrize(
    ("call", "saying"),
    [
        (lambda: chosen(["jaxx"], RIVALS), "rival must be one of 'handgrad', 'eager', .*, got 'jaxx'"),
        (lambda: chosen(["troch"], RIVALS), "got 'troch'; did you mean 'torch'?"),
        (lambda: replace(SMALL, loss="mse"), "loss must be one of 'squared_error', 'cross_entropy', got 'mse'"),
        (lambda: Block("gelu", 2, 2), "kind must be one of 'linear', 'relu', 'swiglu', got 'gelu'"),
        (lambda: replace(SMALL, batch=0), "batch must be a whole number of at least 1, got 0"),
    ],
)
def test_unknown_names_are_refused(call, saying):
    with pytest.raises(ValueRangeError, match=saying):
        call()


def test_the_command(handgrad, monkeypatch):
    monkeypatch.setitem(CONFIGURATIONS, "A", SMALL)
    monkeypatch.setattr("handgrad.cli.bench.command.SHOWN_RIVALS", ("handgrad",))
    monkeypatch.setattr("handgrad.cli.bench.command.SECONDS", 0.01)
    ran = handgrad("bench", "--configs", "A", "--rounds", 1)
    assert ran.code == 0, ran.err
    assert max(map(len, ran.out.splitlines())) <= 100
    for words in (r"one thread", r"4-8-3, batch 16, cross-entropy", r"handgrad +[\d.,]+", r"limit +[\d.,]+", r"\d %"):
        assert re.search(words, ran.out), ran.out


def test_the_command_refuses(refused):
    saying = "--configs: configuration must be one of 'A', 'B', 'C', 'D', 'E', got 'Z'"
    refused("bench", "--configs", "A,Z", saying=saying, code=2)
    refused("bench", "--threads", 0, saying="--threads must be from 1 to .*, the cores there are here, got 0", code=2)
