"""What a reader sees, and the errors for what can't be checked."""

import re

import numpy as np
import pytest
from rich.console import Console

import handgrad.layers as L
from handgrad import ops
from handgrad.check import GradientError, check_gradients
from handgrad.errors import DeviceError, DTypeError, HandgradError, ParameterError, ShapeError, ValueRangeError
from handgrad.models import mlp

X, W, B = np.ones((5, 4)) + np.arange(4.0), np.eye(4, 3) + 0.5, np.zeros(3)


def wrong():
    return check_gradients((lambda w: (w @ w, w), lambda dout, w: (-(dout @ w.T + w.T @ dout),)), np.eye(3) + 0.1)


def test_the_text():
    report = check_gradients(ops.linear, X, W, B)
    lines = str(report).splitlines()
    assert lines[0].startswith("ops.linear: gradients are right, worst relative error ")
    assert re.fullmatch(r"by complex steps in float64, tolerance 1e-08, \d+\.\d\d s", lines[1])
    assert lines[3].split() == ["array", "shape", "error", "at", "backward", "numeric", "entries"]
    assert set(lines[4]) == {"-"}
    assert [line.split()[0] for line in lines[5:]] == ["x", "w", "b"]
    assert all(line.endswith("ok") for line in lines[5:])
    assert max(map(len, lines)) <= 100
    starts = {line.index(word) for line, word in zip(lines[5:], ("(5, 4)", "(4, 3)", "(3,)"), strict=True)}
    assert len(starts) == 1


def test_the_text_of_a_failure():
    text = str(wrong())
    assert text.splitlines()[0].endswith("gradients are wrong for w")
    assert "WRONG" in text
    assert text.endswith("w: the sign is wrong.")


def test_notebook_and_terminal():
    html = wrong()._repr_html_()
    assert "<table>" in html
    assert "color:#b00" in html
    assert "&lt;lambda&gt;" in html
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(wrong())
        assert "WRONG" in console.export_text()


def test_the_error():
    assert issubclass(GradientError, HandgradError)
    assert issubclass(GradientError, AssertionError)
    report = wrong()
    with pytest.raises(GradientError) as caught:
        report.raise_if_failed()
    assert str(caught.value) == str(report)


def test_rows_by_name():
    report = check_gradients(ops.linear, X, W, B)
    assert report["w"].shape == (4, 3)
    with pytest.raises(KeyError, match="'v' is not among"):
        report["v"]


def test_samples_and_tolerance():
    assert check_gradients(ops.tanh, X, samples=3)["x"].entries == 3
    assert check_gradients(ops.tanh, X, tolerance=1e-3).tolerance == 1e-3
    slightly_off = (lambda x: (x * x, x), lambda dout, x: (2.002 * dout * x,))
    assert not check_gradients(slightly_off, X).ok
    assert check_gradients(slightly_off, X, tolerance=0.01).ok


def test_wrt_makes_the_others_data():
    def forward(scores, y):
        return np.mean((scores - y) ** 2), scores - y

    pair = (forward, lambda dout, r: (2 * dout * r / r.size,))
    assert not check_gradients(pair, X, X + 1).ok
    for wrt in ("scores", 0, ["scores"]):
        assert [row.name for row in check_gradients(pair, X, X + 1, wrt=wrt).raise_if_failed().rows] == ["scores"]


def test_hyperparameters_may_have_the_names_of_options():
    def forward(x, seed=1):
        return x * seed, seed

    pair = (forward, lambda dout, seed: (dout * seed,))
    assert check_gradients(pair, X, hyper={"seed": 3}).ok


def test_inputs_of_an_op_by_name():
    assert [row.name for row in check_gradients(ops.linear, X, w=W, b=B).raise_if_failed().rows] == ["x", "w", "b"]


MODEL = mlp([4, 5, 3])
PARAMS = MODEL.init(0)
Y = np.array([0, 1, 2, 1, 0])


@pytest.mark.parametrize(
    ("args", "options", "error", "words"),
    [
        (("linear", X), {}, DTypeError, "target must be"),
        ((L.ReLU, {}, X), {}, DTypeError, "got the class ReLU"),
        ((ops.tanh,), {}, ValueRangeError, "needs its inputs"),
        ((ops.tanh, np.arange(3)), {}, DTypeError, "x must be an array of floating-point"),
        ((ops.linear, X, B), {}, ShapeError, "w must have two axes"),
        ((MODEL, PARAMS), {}, ValueRangeError, "takes params, x"),
        ((MODEL, X, PARAMS), {}, DTypeError, "params must map"),
        ((MODEL, {}, X), {}, ParameterError, "missing"),
        ((MODEL, PARAMS, X, Y), {}, ValueRangeError, "need a loss"),
        ((MODEL, PARAMS, X), {"loss": "hinge"}, ValueRangeError, "loss needs y"),
        ((MODEL, PARAMS, X), {"regularizer": L.L2(1)}, ValueRangeError, "need a loss"),
        ((MODEL, PARAMS, X, Y), {"loss": "hinge", "regularizer": 0.1}, DTypeError, "regularizer must be"),
        ((MODEL, PARAMS, X, Y), {"loss": "hing"}, ValueRangeError, "hinge"),
        ((MODEL, PARAMS, X), {"sample": 3}, ValueRangeError, "sample is no option"),
        ((ops.tanh, X), {"samples": 0}, ValueRangeError, "samples"),
        ((ops.tanh, X), {"tolerance": -1}, ValueRangeError, "tolerance"),
        ((ops.tanh, X), {"method": "forward"}, ValueRangeError, "method"),
        ((ops.tanh, X), {"wrt": "y"}, ValueRangeError, "wrt"),
        ((ops.tanh, X), {"wrt": []}, ValueRangeError, "wrt"),
        (((lambda x: x, lambda d, c: d), X), {}, DTypeError, "forward must return"),
        (((lambda n: (n, n), lambda d, c: d), 3), {}, DTypeError, "floating-point"),
        (((lambda x: (x > 0, x), lambda d, c: d), X), {}, DTypeError, "floating-point"),
    ],
)
def test_bad_input(args, options, error, words):
    with pytest.raises(error, match=re.escape(words)):
        check_gradients(*args, **options)


def test_functions_for_torch_alone_are_refused():
    torch = pytest.importorskip("torch", reason="needs PyTorch: make test EXTRA=torch==2.13.0")
    pair = (lambda x: (torch.tanh(x), torch.tanh(x)), lambda dout, y: (dout * (1 - y * y),))
    with pytest.raises(DeviceError, match="x is no NumPy array"):
        check_gradients(pair, torch.ones(3))
