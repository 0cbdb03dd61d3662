"""Bad input gets an error of the right kind, which names the argument, what was given and what was expected."""

import array_api_strict
import numpy as np
import pytest

from handgrad import ops
from handgrad.errors import DeviceError, DTypeError, HandgradError, ShapeError, ValueRangeError
from table import CASES, OPS, Case


def f(*shape: int, dtype=np.float64) -> np.ndarray:
    return np.ones(shape, dtype)


LABELS = np.array([0, 1])
# (error, words of its message, op, arguments, hyperparameters)
BAD = [
    (ShapeError, "x 5 features (2, 5) w (4, 3) in_out takes 4", "linear", (f(2, 5), f(4, 3)), {}),
    (ShapeError, "x 5 features w (3, 4) out_in takes 4", "linear", (f(2, 5), f(3, 4)), {"layout": "out_in"}),
    (ShapeError, "x 6 features (2, 3, 2) takes 4", "linear", (f(2, 3, 2), f(4, 3)), {"flatten": True}),
    (ShapeError, "x must have a batch axis and more (4,)", "linear", (f(4), f(4, 3)), {"flatten": True}),
    (ShapeError, "x must have an axis of features ()", "linear", (f(), f(4, 3)), {}),
    (ShapeError, "w two axes (4,)", "linear", (f(2, 4), f(4)), {}),
    (ShapeError, "b must have shape (3,) got (4,)", "linear", (f(2, 4), f(4, 3), f(4)), {}),
    (ValueRangeError, "layout in_out out_in 'rows'", "linear", (f(2, 4), f(4, 3)), {"layout": "rows"}),
    (DTypeError, "w float32 x float64", "linear", (f(2, 4), f(4, 3, dtype=np.float32)), {}),
    (DTypeError, "b float32 x float64", "linear", (f(2, 4), f(4, 3), f(3, dtype=np.float32)), {}),
    (DTypeError, "x floating int64", "linear", (f(2, 4, dtype=np.int64), f(4, 3)), {}),
    (DeviceError, "w strict x numpy", "linear", (f(2, 4), array_api_strict.ones((4, 3))), {}),
    (DeviceError, "y strict x numpy", "add", (f(2), array_api_strict.ones(2)), {}),
    (DeviceError, "y numpy x strict", "matmul", (array_api_strict.ones((2, 2)), f(2, 2)), {}),
    (DTypeError, "y float32 x float64", "multiply", (f(2), f(2, dtype=np.float32)), {}),
    (ShapeError, "x (2, 3) y (2, 4) broadcast", "add", (f(2, 3), f(2, 4)), {}),
    (ShapeError, "x (3,) y (2,) broadcast", "maximum", (f(3), f(2)), {}),
    (ShapeError, "x (2, 3) y (4, 2) product", "matmul", (f(2, 3), f(4, 2)), {}),
    (ShapeError, "x () product", "matmul", (f(), f(2)), {}),
    (ShapeError, "x (2, 3, 4) y (3, 4, 5) broadcast", "matmul", (f(2, 3, 4), f(3, 4, 5)), {}),
    (DTypeError, "x floating int64", "relu", (f(2, dtype=np.int64),), {}),
    (ShapeError, "axis=2 2 axes -2 to 1", "sum", (f(2, 3),), {"axis": 2}),
    (ShapeError, "axis=(0, -2) twice", "mean", (f(2, 3),), {"axis": (0, -2)}),
    (ShapeError, "x mean axis=0 (0, 3)", "mean", (f(0, 3),), {"axis": 0}),
    (ShapeError, "x maximum axis=1 (3, 0)", "max", (f(3, 0),), {"axis": 1}),
    (ShapeError, "shape=(4, 2) 6 elements (2, 3)", "reshape", (f(2, 3),), {"shape": (4, 2)}),
    (ShapeError, "shape=(-1, -1) 6 elements (2, 3)", "reshape", (f(2, 3),), {"shape": (-1, -1)}),
    (ShapeError, "shape=(-1, 4) 6 elements (2, 3)", "reshape", (f(2, 3),), {"shape": (-1, 4)}),
    *(
        (ValueRangeError, f"temperature above 0 {t}", "softmax", (f(2, 3),), {"temperature": t})
        for t in (0.0, -1.0, np.inf, np.nan)
    ),
    (ShapeError, "x axis 1 (3, 0) one or more", "softmax", (f(3, 0),), {}),
    (ShapeError, "axis=1 1 axes -1 to 0", "softmax", (f(3),), {"axis": 1}),
    (ValueRangeError, "alpha finite nan", "leaky_relu", (f(2),), {"alpha": np.nan}),
    (ValueRangeError, "beta finite inf", "swish", (f(2),), {"beta": np.inf}),
    (ValueRangeError, "approximate none tanh 'fast'", "gelu", (f(2),), {"approximate": "fast"}),
    *(
        (ValueRangeError, f"rate at least 0 below 1 {r}", "dropout", (f(2),), {"rate": r, "rng": 0})
        for r in (-0.1, 1.0)
    ),
    (ValueRangeError, "rng generator seed", "dropout", (f(2),), {}),
    (ShapeError, "w_content w_gate (4, 3) (4, 2)", "swiglu", (f(2, 4), f(4, 3), f(4, 2)), {}),
    (DTypeError, "w_gate float32 x float64", "glu", (f(2, 4), f(4, 3), f(4, 3, dtype=np.float32)), {}),
    (ValueRangeError, "epsilon above 0 0.0", "layer_norm", (f(2, 4), f(4), f(4)), {"epsilon": 0.0}),
    (ShapeError, "scale (4,) (3,)", "layer_norm", (f(2, 4), f(3), f(4)), {}),
    (ShapeError, "shift (4,) (1, 4)", "layer_norm", (f(2, 4), f(4), f(1, 4)), {}),
    (ValueRangeError, "strength at least 0 -1.0", "l2", (f(2),), {"strength": -1.0}),
    *(
        case
        for name in ("hinge", "cross_entropy")
        for case in (
            (ValueRangeError, "y labels 0 to 2 got 3 sample 1", name, (f(2, 3), [0, 3]), {}),
            (ValueRangeError, "y labels 0 to 2 got -1 sample 0", name, (f(2, 3), [-1, 3]), {}),
            (ShapeError, "y one label a sample (2,) (2, 3) got (3,)", name, (f(2, 3), [0, 1, 2]), {}),
            (ShapeError, "y one label a sample (2,) got (2, 1) y[..., 0]", name, (f(2, 3), [[0], [1]]), {}),
            (DTypeError, "y integer float64", name, (f(2, 3), [0.0, 1.0]), {}),
            (ShapeError, "scores (samples, classes) (3,)", name, (f(3), [0, 1, 2]), {}),
            (ShapeError, "scores (0, 3) empty batch mean", name, (f(0, 3), np.zeros(0, int)), {}),
            (ValueRangeError, "reduction mean none 'sum'", name, (f(2, 3), LABELS), {"reduction": "sum"}),
            (ShapeError, "sample_weight (2,) (3,)", name, (f(2, 3), LABELS), {"sample_weight": [1, 2, 3]}),
            (
                ValueRangeError,
                "sample_weight at least 0 got -1.0 sample 1",
                name,
                (f(2, 3), LABELS),
                {"sample_weight": [1, -1]},
            ),
            (
                ValueRangeError,
                "sample_weight finite got nan sample 1",
                name,
                (f(2, 3), LABELS),
                {"sample_weight": [1, np.nan]},
            ),
            (ValueRangeError, "sample_weight 0 every sample", name, (f(2, 3), LABELS), {"sample_weight": [0, 0]}),
            (DTypeError, "sample_weight numbers bool", name, (f(2, 3), LABELS), {"sample_weight": [True, False]}),
            (DeviceError, "y strict scores numpy", name, (f(2, 3), array_api_strict.asarray(LABELS)), {}),
            (DTypeError, "scores floating int64", name, (f(2, 3, dtype=np.int64), LABELS), {}),
        )
    ),
    *(
        case
        for name in ("binary_cross_entropy", "squared_error", "huber", "poisson", "quantile")
        for case in (
            (ShapeError, "y shape of scores (2, 3) (2, 2)", name, (f(2, 3), f(2, 2)), {}),
            (ShapeError, "y shape of scores (2, 3) (2,)", name, (f(2, 3), f(2)), {}),
            (ShapeError, "scores empty batch (0,)", name, (f(0), f(0)), {}),
            (ShapeError, "scores axis of samples ()", name, (f(), f()), {}),
            (ShapeError, "scores one output or more (2, 0)", name, (f(2, 0), f(2, 0)), {}),
            (DTypeError, "y numbers complex", name, (f(2), f(2) * 1j), {}),
        )
    ),
    (ValueRangeError, "margin finite inf", "hinge", (f(2, 3), LABELS), {"margin": np.inf}),
    *(
        (ValueRangeError, f"label_smoothing 0 to 1 {e}", "cross_entropy", (f(2, 3), LABELS), {"label_smoothing": e})
        for e in (-0.1, 1.1)
    ),
    (ValueRangeError, "y distributions at least 0 got -1.0 index (0, 0)", "cross_entropy", (f(2, 3), -f(2, 3)), {}),
    (ShapeError, "scores two classes or more (2, 0)", "cross_entropy", (f(2, 0), LABELS), {}),
    (ShapeError, "scores two classes (3, 1) binary_cross_entropy", "cross_entropy", (f(3, 1), [0, 0, 0]), {}),
    (ShapeError, "scores two classes (3, 1) binary_cross_entropy", "cross_entropy", (f(3, 1), f(3, 1)), {}),
    (ValueRangeError, "y 0 to 1 got 1.5 sample 1", "binary_cross_entropy", (f(2), [0.0, 1.5]), {}),
    (ValueRangeError, "y counts at least 0 got -1.0 sample 1", "poisson", (f(2), [0.0, -1.0]), {}),
    (ValueRangeError, "delta above 0 0.0", "huber", (f(2), f(2)), {"delta": 0.0}),
    *((ValueRangeError, f"q above 0 below 1 {q}", "quantile", (f(2), f(2)), {"q": q}) for q in (0.0, 1.0)),
]


@pytest.mark.parametrize(
    ("error", "words", "name", "args", "hyper"), BAD, ids=[f"{case[2]}: {case[1]}".replace(" ", "_") for case in BAD]
)
def test_bad_input_is_refused_and_named(error, words: str, name: str, args, hyper) -> None:
    with pytest.raises(error) as caught:
        OPS[name].forward(*args, **hyper)
    message, at = str(caught.value), 0
    assert isinstance(caught.value, HandgradError)
    for word in words.split():
        assert word in message, f"{word!r} is missing in: {message}"
        at += len(word)
    assert at < len(message)


@pytest.mark.parametrize("case", [c for c in CASES if "none" not in str(c.hyper.get("reduction"))][::7], ids=str)
def test_an_upstream_gradient_of_another_shape_is_refused(case: Case) -> None:
    out, cache = case.forward(case.draw())
    with pytest.raises(ShapeError, match="dout must"):
        case.op.backward(np.ones((*np.shape(out), 3)), cache)


@pytest.mark.parametrize("name", ["hinge", "huber"])
def test_an_upstream_gradient_of_single_losses_needs_one_number_a_sample(name: str) -> None:
    y = LABELS if name == "hinge" else f(2, 3)
    _, cache = OPS[name].forward(f(2, 3), y, reduction="none")
    with pytest.raises(ShapeError, match=r"dout must have the shape of the output, \(2,\), got \(3,\)"):
        OPS[name].backward(f(3), cache)


def test_lists_and_numbers_are_taken_as_arrays() -> None:
    assert ops.add([1.0, 2.0], 3).tolist() == [4.0, 5.0]
    assert ops.hinge([[0.0, 1.0]], [1], margin=2.0) == 1.0
    assert ops.multiply(np.float32([1, 2]), 3).dtype == np.float32
