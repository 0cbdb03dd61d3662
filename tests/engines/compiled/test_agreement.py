"""The compiled engine trains as the eager one does, to rounding: every layer, loss, optimizer and option."""

import numpy as np
import pytest

from engines.compiled.trainings import Training, assert_agree
from handgrad.layers import (
    GEGLU,
    GELU,
    GLU,
    L2,
    Bilinear,
    BinaryCrossEntropy,
    CrossEntropy,
    Dropout,
    Flatten,
    Hinge,
    Huber,
    Identity,
    LayerNorm,
    LeakyReLU,
    Linear,
    Poisson,
    Quantile,
    ReGLU,
    ReLU,
    Sigmoid,
    Softmax,
    SquaredError,
    SwiGLU,
    Swish,
    Tanh,
)
from handgrad.models import Residual, Sequential, mlp
from handgrad.optim import SGD, Adam, AdamW, Constant, Cosine, OneCycle, RMSprop, Step, WarmUp

DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
ACTIVATIONS = {
    "sigmoid": Sigmoid(),
    "tanh": Tanh(),
    "relu": ReLU(),
    "leaky relu": LeakyReLU(),
    "leaky relu, 0.3": LeakyReLU(0.3),
    "leaky relu, below 0": LeakyReLU(-0.2),
    "swish": Swish(),
    "swish, beta 1.7": Swish(1.7),
    "gelu": GELU(),
    "gelu by tanh": GELU("tanh"),
    "softmax": Softmax(),
    "softmax, temperature 0.5": Softmax(0.5),
    "softmax over axis 1": Softmax(2.0, axis=1),
    "layer norm": LayerNorm(17),
    "layer norm, epsilon 0.1": LayerNorm(17, 0.1),
    "dropout": Dropout(0.3),
    "dropout, rate 0": Dropout(0.0),
    "identity": Identity(),
}
TWICE, NORM, GATE = Linear(17, 17), LayerNorm(17), SwiGLU(17, 17)
BLOCK = Residual(Sequential([LayerNorm(17), Linear(17, 33), GELU(), Linear(33, 17)]))
MODELS = {
    "one linear": Linear(20, 5),
    "one linear, out_in": Linear(20, 5, layout="out_in"),
    "out_in": mlp([20, 33, 17, 5], layout="out_in"),
    "no bias": mlp([20, 33, 17, 5], bias=False),
    "no bias, smooth": mlp([20, 33, 17, 5], "tanh", bias=False),
    "some biases": Sequential([Linear(20, 33, False), ReLU(), Linear(33, 17), Sigmoid(), Linear(17, 5, False)]),
    "no activation": Sequential([Linear(20, 33), Linear(33, 17, False), Linear(17, 5)]),
    "one of each width": mlp([20, 1, 64, 15, 32, 5], "tanh"),
    "activations in a row": Sequential([Linear(20, 17), ReLU(), Tanh(), Sigmoid(), Linear(17, 5)]),
    "activations in a row, after another": Sequential([Linear(20, 17), Tanh(), Dropout(0.1), ReLU(), Linear(17, 5)]),
    "activation first": Sequential([Tanh(), Linear(20, 17), ReLU(), Linear(17, 5)]),
    "activation last": Sequential([Linear(20, 17), ReLU(), Linear(17, 5), Tanh()]),
    "relu last": Sequential([Linear(20, 17), ReLU(), Linear(17, 5), LeakyReLU(0.2)]),
    "two activations last": Sequential([Linear(20, 5), Tanh(), Swish(2.0)]),
    "softmax first and last": Sequential([Softmax(), Linear(20, 5), Softmax(0.7)]),
    "layer norm first and last": Sequential([LayerNorm(20), Linear(20, 5), LayerNorm(5)]),
    "dropout first and last": Sequential([Dropout(0.2), Linear(20, 17), ReLU(), Linear(17, 5), Dropout(0.4)]),
    "many dropouts": mlp([20, 33, 17, 5], dropout=0.3),
    "gate last": Sequential([Linear(20, 17), GLU(17, 5)]),
    "gate first": Sequential([SwiGLU(20, 17), LayerNorm(17), ReLU(), Linear(17, 5)]),
    "gates in a row": Sequential([Linear(20, 17), ReGLU(17, 33), LayerNorm(33), GEGLU(33, 17), Bilinear(17, 5, False)]),
    "residual": Sequential([Linear(20, 17), BLOCK, Linear(17, 5)]),
    "residual of the input": Sequential([Residual(Linear(20, 20)), Linear(20, 5)]),
    "residual of an activation": Sequential([Linear(20, 17), Residual(Tanh()), Residual(ReLU()), Linear(17, 5)]),
    "residual last": Sequential([Linear(20, 5), Residual(Sequential([Linear(5, 5), Tanh()]))]),
    "residual of identity": Sequential([Linear(20, 17), Residual(Identity()), ReLU(), Linear(17, 5)]),
    "residual of nothing": Sequential([Residual(Sequential([])), Linear(20, 5)]),
    "residual of dropout": Sequential([Linear(20, 17), Residual(Dropout(0.5)), Linear(17, 5)]),
    "residual of a gate": Sequential([Linear(20, 17), Residual(GLU(17, 17)), ReLU(), Linear(17, 5)]),
    "residual of softmax": Sequential([Linear(20, 17), Residual(Softmax(2.0)), Linear(17, 5)]),
    "residual of layer norm": Sequential([Linear(20, 17), Residual(LayerNorm(17)), Linear(17, 5)]),
    "residuals, nested": Sequential([Linear(20, 17), Residual(Sequential([BLOCK, Tanh(), BLOCK])), Linear(17, 5)]),
    "residual in residual": Sequential([Linear(20, 17), Residual(Residual(Residual(Linear(17, 17)))), Linear(17, 5)]),
    "layers twice": Sequential([Linear(20, 17), TWICE, ReLU(), TWICE, NORM, Tanh(), NORM, GATE, GATE, Linear(17, 5)]),
    "a layer twice in a row": Sequential([Linear(20, 17), TWICE, TWICE, Linear(17, 5)]),
    "a layer in two depths": Sequential([Linear(20, 17), Residual(Sequential([TWICE, Tanh()])), TWICE, Linear(17, 5)]),
    "a first layer again": Sequential([(first := Linear(20, 20)), ReLU(), first, Linear(20, 5)]),
    "a container twice": Sequential([Linear(20, 17), (twice := Sequential([TWICE, Tanh()])), twice, Linear(17, 5)]),
    "identities": Sequential([Identity(), Linear(20, 17), Identity(), ReLU(), Linear(17, 5), Identity()]),
    "sequential in sequential": Sequential([Sequential([Linear(20, 17)]), Sequential([ReLU(), Linear(17, 5)])]),
    "deep": mlp([20, 24, 24, 24, 24, 24, 5], "gelu", layer_norm=True, dropout=0.1),
} | {f"{name} between": Sequential([Linear(20, 17), f, Linear(17, 5)]) for name, f in ACTIVATIONS.items()}
GATES = {
    f"{gate.__name__}, bias {bias}": Sequential([gate(20, 33, bias), Linear(33, 17), gate(17, 16, bias), Linear(16, 5)])
    for gate in (GLU, SwiGLU, Bilinear, ReGLU, GEGLU)
    for bias in (True, False)
}
IMAGES = {
    "flatten": Sequential([Flatten(), Linear(24, 17), ReLU(), Linear(17, 5)]),
    "linear, flatten": Sequential([Linear(24, 17, flatten=True), ReLU(), Linear(17, 5)]),
    "linear, flatten, out_in": Sequential([Linear(24, 17, False, "out_in", flatten=True), Linear(17, 5)]),
    "activation, dropout and residual before flatten": Sequential(
        [Tanh(), Dropout(0.2), Residual(ReLU()), Identity(), Flatten(), Linear(24, 5)]
    ),
}


@DTYPES
@pytest.mark.parametrize("model", [*MODELS.values(), *GATES.values()], ids=[*MODELS, *GATES])
def test_every_layer(model, dtype):
    assert_agree(Training(model, dtype=dtype))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("model", IMAGES.values(), ids=IMAGES)
def test_samples_of_many_axes(model, threads):
    assert_agree(Training(model, sample=(2, 3, 4), threads=threads))


@pytest.mark.parametrize("name", ["residuals, nested", "layers twice", "dropout first and last", "gates in a row"])
@pytest.mark.parametrize("threads", [2, 3])
def test_threads(name, threads):
    assert_agree(Training(MODELS[name], threads=threads))


@pytest.mark.parametrize("width", [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130])
def test_every_width(width):
    layers = [SwiGLU(20, width), LayerNorm(width, 0.1), Residual(Linear(width, width)), ReLU(), Linear(width, 5)]
    # the default epsilon would make steps of rounding errors where a gradient is 0, as it is before a norm of 1
    assert_agree(Training(Sequential(layers), optimizer=Adam(0.01, epsilon=1e-4)))


LOSSES = {
    "hinge": (Hinge(), False),
    "hinge, margin 0.3": (Hinge(0.3), False),
    "cross-entropy": (CrossEntropy(), False),
    "cross-entropy, smoothed": (CrossEntropy(0.2), False),
    "cross-entropy, all smoothing": (CrossEntropy(1.0), False),
    "soft cross-entropy": (CrossEntropy(), True),
    "soft cross-entropy, smoothed": (CrossEntropy(0.2), True),
    "binary cross-entropy": (BinaryCrossEntropy(), False),
    "squared error": (SquaredError(), False),
    "huber": (Huber(), False),
    "huber, delta 0.3": (Huber(0.3), False),
    "poisson": (Poisson(), False),
    "quantile": (Quantile(), False),
    "quantile, q 0.9": (Quantile(0.9), False),
}


@DTYPES
@pytest.mark.parametrize("weights", ["", "random", "some zero"])
@pytest.mark.parametrize(("loss", "soft"), LOSSES.values(), ids=LOSSES)
def test_every_loss(loss, soft, weights, dtype):
    model, rate = mlp([20, 33, 19], "tanh"), Adam(1e-3)
    training = Training(model, loss=loss, soft=soft, outputs=19, weights=weights, dtype=dtype, optimizer=rate)
    assert_agree(training)


@pytest.mark.parametrize("weights", ["", "some zero"])
@pytest.mark.parametrize(
    "loss", [BinaryCrossEntropy(), SquaredError(), Huber(), Poisson(), Quantile(0.2)], ids=lambda loss: repr(loss)
)
def test_losses_of_one_output(loss, weights):
    model = mlp([20, 33, 1], "tanh")
    assert_agree(Training(model, loss=loss, outputs=1, weights=weights, optimizer=Adam(1e-3), threads=2))


OPTIMIZERS = {
    "sgd": SGD(0.1),
    "momentum": SGD(0.03, momentum=0.9),
    "nesterov": SGD(0.03, momentum=0.8, nesterov=True),
    "rmsprop": RMSprop(1e-3),
    "rmsprop, decay 0.5": RMSprop(1e-3, decay=0.5, epsilon=1e-4),
    "adam": Adam(0.01),
    "adam, other betas": Adam(0.01, 0.7, 0.95, 1e-3),
    "adam, no betas": Adam(1e-3, 0.0, 0.0, 1e-2),
    "adamw": AdamW(0.01, weight_decay=0.3),
    "adamw, no decay": AdamW(0.01, weight_decay=0.0),
    "rate 0": SGD(0.0),
    "constant": Adam(Constant(0.01)),
    "step": SGD(Step(0.1, 7, 0.5), momentum=0.5),
    "cosine": RMSprop(Cosine(2e-3, final=1e-4)),
    "cosine that ends early": AdamW(Cosine(0.01, steps=20)),
    "one cycle": AdamW(OneCycle(0.02), weight_decay=0.1),
    "warm-up": Adam(WarmUp(9, Cosine(0.02))),
}
OPTIONS = {
    "plain": {},
    "L2": {"regularizer": L2(0.02)},
    "clipped": {"clip_norm": 0.4},
    "all": {"regularizer": L2(0.02), "clip_norm": 0.4, "weights": "random", "threads": 2},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer(optimizer, options):
    model = Sequential([Linear(20, 33), LayerNorm(33), Tanh(), Linear(33, 17, layout="out_in"), SwiGLU(17, 5)])
    assert_agree(Training(model, optimizer=optimizer, **options))


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer_in_float32(optimizer):
    model = mlp([20, 33, 40, 5], "gelu", bias=False)
    assert_agree(Training(model, optimizer=optimizer, dtype=np.float32, **OPTIONS["all"]))


def test_clipping_at_the_norm_itself_and_above_changes_nothing():
    training = Training(mlp([20, 17, 5], "tanh"), optimizer=SGD(0.1), rows=16, epochs=1)
    (_, norm), params = training.run(training.compiled())[0][0], training.run(training.compiled())[1]
    for limit, same in ((norm * 2, True), (norm, True), (norm / 2, False)):
        clipped = training.but(clip_norm=float(limit))
        assert np.array_equal(clipped.run(clipped.compiled())[1].flat, params.flat) == same


BATCHES = [(1, 1), (1, 16), (7, 1), (16, 16), (17, 16), (33, 16), (75, 75), (75, 1000), (130, 129), (300, 256)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("rows", "batch_size"), BATCHES)
def test_every_batch_size(rows, batch_size, threads):
    model = Sequential([Linear(20, 33), LayerNorm(33), ReLU(), Dropout(0.3), Linear(33, 17, False), GLU(17, 5)])
    training = Training(model, rows=rows, batch_size=batch_size, threads=threads, weights="random", epochs=3)
    assert_agree(training)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool", "float16", "float32", ">f8"])
def test_inputs_of_other_dtypes(dtype):
    training = Training(mlp([20, 33, 5]), weights="random", epochs=3)
    data = training.data
    data = type(data)(abs(data.x * 3).astype(dtype), data.y.astype("uint8"), data.weight)
    eager, compiled = (training.run(engine, data) for engine in (training.eager(), training.compiled(data=data)))
    np.testing.assert_allclose(compiled[0], eager[0], rtol=1e-12)
    np.testing.assert_allclose(compiled[1].flat, eager[1].flat, rtol=0, atol=1e-12)


@pytest.mark.parametrize("strange", ["strided", "transposed", "backwards", "read-only", "unaligned"])
def test_arrays_in_any_order_of_memory(strange):
    training = Training(mlp([20, 33, 5]), loss=SquaredError(), weights="random", epochs=3)
    data = training.data

    def made(array):
        match strange:
            case "strided":
                wide = np.full((2 * len(array), *array.shape[1:]), np.nan)
                wide[::2] = array
                return wide[::2]
            case "transposed":
                return np.asfortranarray(array)
            case "backwards":
                return np.ascontiguousarray(array[::-1])[::-1]
            case "read-only":
                array = array.copy()
                array.flags.writeable = False
                return array
        shifted = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        shifted[...] = array
        return shifted

    plain = training.run(training.compiled())
    data = type(data)(*map(made, (data.x, data.y, data.weight)))
    other = training.run(training.compiled(data=data), data)
    assert np.array_equal(plain[0], other[0])
    assert np.array_equal(plain[1].flat, other[1].flat)
