"""`fit` refuses what it cannot train on before the first step, and stops where numbers stop being finite."""

import numpy as np
import pytest

import handgrad as hg
from handgrad.errors import DivergenceError, DTypeError, ShapeError, ValueRangeError

X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 2, 0, 1, 2])


def with_value(array, index, value):
    array = array.astype(float)
    array[index] = value
    return array


def loss(scores, y):
    return 0.0


REFUSED = {
    "no pair": (X, {}, DTypeError, r"data must be \(X, y\)"),
    "text": ((X.astype(str), Y), {}, DTypeError, "X of data must hold numbers, got dtype <U"),
    "text labels": ((X, list("abcabc")), {}, DTypeError, "y of data must hold numbers"),
    "nan": ((with_value(X, (3, 1), np.nan), Y), {}, ValueRangeError, "X of data.*got nan at row 3, column 1"),
    "inf": ((with_value(X, (0, 0), -np.inf), Y), {}, ValueRangeError, "got -inf at row 0, column 0"),
    "nan target": ((X, with_value(Y, 2, np.nan)), {}, ValueRangeError, "y of data.*got nan at row 2"),
    "no rows": ((X[:0], Y[:0]), {}, ShapeError, r"has no rows, in shape \(0, 2\)"),
    "lengths": ((X, Y[:5]), {}, ShapeError, r"a row for each of X's 6, got shape \(5,\)"),
    "width": ((X[:, :1], Y), {}, ShapeError, r"layer '0'.*takes 2 features.*\(1,\)"),
    "label too large": ((X, Y + 1), {}, ValueRangeError, "labels from 0 to 2, got 3 at sample 2"),
    "float labels": ((X, Y.astype(float)), {}, DTypeError, "integer class labels, got dtype float64"),
    "one class": ((X, 0 * Y), {}, ValueRangeError, "holds one class, 0, in all 6 rows"),
    "one class, weighted": ((X, Y, np.zeros(6)), {}, ValueRangeError, "sample_weight of data is 0 for every sample"),
    "negative weight": ((X, Y, -np.ones(6)), {}, ValueRangeError, "sample_weight must be finite and at least 0"),
    "validation": ((X, Y), {"validation": (X, Y + 1)}, ValueRangeError, "validation: .*got 3 at sample 2"),
    "far label": ((np.ones((99999, 2)), np.r_[np.arange(99998) % 3, 7]), {}, ValueRangeError, "got 7 at sample 99998"),
    "masked": ((np.ma.masked_array(X), Y), {}, DTypeError, "masked array"),
    "ragged": (([[1], [1, 2]], [0, 1]), {}, ShapeError, "rows of one length"),
    "complex": ((X + 1j, Y), {}, DTypeError, "got dtype complex128"),
    "one class in one-hot rows": ((X, np.eye(3)[0 * Y]), {}, ValueRangeError, "holds one class, 0"),
    "one class, yes or no": ((X, np.zeros((6, 3))), {"loss": "binary_cross_entropy"}, ValueRangeError, "0 everywhere"),
    "model": ((X, Y), {"model": "mlp"}, DTypeError, "model must be a Layer.*got str"),
    "regularizer": ((X, Y), {"regularizer": 0.01}, DTypeError, r"L2\(strength\), got 0.01"),
    "seed": ((X, Y), {"seed": -1}, ValueRangeError, "seed must be a whole number of at least 0, got -1"),
    "no seed": ((X, Y), {"seed": None}, ValueRangeError, "seed must be a whole number"),
    "min_delta": ((X, Y), {"min_delta": float("nan"), "patience": 1}, ValueRangeError, "min_delta must be a finite"),
    "metric of another loss": ((X, Y), {"metrics": "rmse", "validation": 0.5}, ValueRangeError, "'rmse' does not go"),
    "metric named loss": (
        (X, Y),
        {"metrics": [loss], "validation": 0.5},
        ValueRangeError,
        "'validation_loss' is taken",
    ),
    "params of another model": (
        (X, Y),
        {"params": hg.mlp([2, 5, 3]).init(0)},
        ShapeError,
        r"'0.weight' in shape \(2, 5\), the model has \(2, 4\)",
    ),
    "validation empty": ((X, Y), {"validation": 0.01}, ShapeError, "leaves one part empty"),
    "validation fraction": ((X, Y), {"validation": 1.5}, ValueRangeError, "above 0 and below 1, got 1.5"),
    "metrics alone": ((X, Y), {"metrics": ["accuracy"]}, ValueRangeError, "give validation"),
    "metric": ((X, Y), {"metrics": ["acuracy"]}, ValueRangeError, "did you mean 'accuracy'"),
    "loss": ((X, Y), {"loss": "crossentropy"}, ValueRangeError, "did you mean 'cross_entropy'"),
    "optimizer": ((X, Y), {"optimizer": "adm"}, ValueRangeError, "adam"),
    "engine": ((X, Y), {"engine": "warp"}, ValueRangeError, "engine must be one of"),
    "epochs": ((X, Y), {"epochs": 0}, ValueRangeError, "epochs must be a whole number"),
    "batch_size": ((X, Y), {"batch_size": 2.5}, ValueRangeError, "batch_size must be a whole number"),
    "patience": ((X, Y), {"patience": -1}, ValueRangeError, "patience must be a whole number"),
    "clip_norm": ((X, Y), {"clip_norm": 0.0}, ValueRangeError, "clip_norm must be a finite number above 0"),
    "monitor alone": ((X, Y), {"monitor": "loss"}, ValueRangeError, "give patience too"),
    "monitor": ((X, Y), {"monitor": "validation_loss", "patience": 1}, ValueRangeError, "monitor must be one of"),
    "params": ((X, Y), {"params": {"0.weight": X}}, hg.errors.ParameterError, "missing.*'0.bias'"),
}


@pytest.mark.parametrize(("data", "options", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(data, options, error, message):
    with pytest.raises(error, match=message):
        hg.fit(**{"model": hg.mlp([2, 4, 3]), "data": data, "progress": False, **options})


def test_regression_shapes_do_not_broadcast():
    with pytest.raises(ShapeError, match=r"shape of scores, \(6, 2\), got \(6,\)"):
        hg.fit(hg.mlp([2, 2]), (X, X[:, 0]), loss="squared_error", progress=False)


def test_divergence_keeps_the_last_good_parameters():
    """A rate so large that the squared error overflows after a few steps."""
    seen = []
    with pytest.raises(DivergenceError) as caught:
        hg.fit(hg.mlp([2, 1]), (X, X[:, 0]), loss="squared_error", optimizer=hg.SGD(1e30), epochs=50, progress=False,
               callbacks=[lambda end: seen.append(end.row["loss"])])  # fmt: skip
    error = caught.value
    assert error.step > 0
    assert str(error.step) in str(error)
    assert error.place in str(error)
    assert all(np.isfinite(seen))
    assert error.result.stopped == "diverged"
    assert np.isfinite(error.result.params.flat).all()
    value, _ = hg.value_and_grad(hg.mlp([2, 1]), "squared_error", error.result.params, X, X[:, 0])
    assert np.isfinite(value)


@pytest.mark.parametrize(
    ("faulty", "where"),
    [
        ("1", "the output of layer '1'"),
        ("2.layer.0", "the output of layer '2.layer.0'"),
    ],
)
def test_divergence_names_the_layer(faulty, where):
    class Fault(hg.Layer):
        """Gives a NaN at its third forward pass."""

        passes = 0

        def forward(self, params, x, *, train=False, rng=None):
            Fault.passes += 1
            return (x * np.nan if Fault.passes >= 3 else x), None

        def backward(self, dout, cache):
            return dout, {}

    layers = [hg.Linear(2, 3), hg.ReLU(), hg.Residual(hg.Sequential([hg.Tanh(), hg.Linear(3, 3)])), hg.Linear(3, 3)]
    if faulty == "1":
        layers[1] = Fault()
    else:
        layers[2] = hg.Residual(hg.Sequential([Fault(), hg.Linear(3, 3)]))
    with pytest.raises(DivergenceError, match="the loss became nan at step 2") as caught:
        hg.fit(hg.Sequential(layers), (X, Y), batch_size=2, progress=False)
    assert caught.value.place == f"{where} (Fault)"
    assert caught.value.step == 2


def test_divergence_of_the_gradient_alone():
    class Steep(hg.Layer):
        """The identity, with a gradient past the largest number."""

        def forward(self, params, x, *, train=False, rng=None):
            return x, None

        def backward(self, dout, cache):
            return dout * np.inf, {}

    with pytest.raises(DivergenceError, match="the gradient's norm became") as caught:
        hg.fit(hg.Sequential([hg.Linear(2, 3), Steep()]), (X, Y), progress=False)
    assert caught.value.place == "the gradient of parameter '0.bias'"
    assert (caught.value.result.params.flat == hg.Sequential([hg.Linear(2, 3), Steep()]).init(0).flat).all()


def test_parameters_that_the_last_step_broke_are_not_returned():
    """No further step would see them."""
    with pytest.raises(DivergenceError, match="the update was not finite") as caught:
        hg.fit(hg.mlp([2, 1]), (1 + X, X[:, 0]), loss="squared_error", optimizer=hg.SGD(1e308), epochs=1, batch_size=6,
               progress=False)  # fmt: skip
    assert np.isfinite(caught.value.result.params.flat).all()


def test_the_loss_is_blamed_when_scores_are_finite():
    with pytest.raises(DivergenceError) as caught:
        hg.fit(hg.mlp([2, 1]), ((1 + X) * 1e200, X[:, 0]), loss="squared_error", progress=False)
    assert caught.value.place == "the loss"


def test_arrays_of_two_libraries():
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    model = hg.mlp([2, 3])
    params = model.init(0)
    with pytest.raises(hg.errors.DeviceError, match="params"):
        hg.fit(model, (X, Y), params=params.like(torch.tensor(params.flat)), progress=False)
    with pytest.raises(hg.errors.DeviceError, match="y is an array of numpy"):
        hg.fit(model, (torch.tensor(X), Y), progress=False)
    assert hg.fit(model, (torch.tensor(X), Y.tolist()), epochs=1, progress=False).stopped == "epochs"
