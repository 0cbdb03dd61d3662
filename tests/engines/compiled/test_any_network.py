"""Networks, losses, optimizers and options no one thought of: the compiled engine agrees with the eager one."""

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from engines.architectures import ACTIVATIONS, GATED
from engines.compiled.trainings import Training, differences
from handgrad.errors import DivergenceError
from handgrad.layers import (
    L2,
    BinaryCrossEntropy,
    CrossEntropy,
    Flatten,
    Hinge,
    Huber,
    Layer,
    LayerNorm,
    Linear,
    Poisson,
    Quantile,
    SquaredError,
)
from handgrad.models import Residual, Sequential
from handgrad.optim import SGD, Adam, AdamW, Cosine, OneCycle, RMSprop
from soak import FACTOR, examples

WIDTHS = st.sampled_from([1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 64, 70])
LOSSES = [
    (Hinge(), False),
    (Hinge(0.4), False),
    (CrossEntropy(), False),
    (CrossEntropy(0.1), False),
    (CrossEntropy(), True),
    (CrossEntropy(0.3), True),
    (BinaryCrossEntropy(), False),
    (SquaredError(), False),
    (Huber(0.5), False),
    (Poisson(), False),
    (Quantile(0.3), False),
]
# An epsilon above rounding errors: a gradient that is 0 but for those would else become a step of full size.
OPTIMIZERS = [
    SGD(0.01),
    SGD(OneCycle(0.01), momentum=0.8),
    SGD(0.003, momentum=0.9, nesterov=True),
    RMSprop(1e-3, epsilon=1e-2),
    Adam(Cosine(0.003), epsilon=1e-2),
    AdamW(0.003, epsilon=1e-2, weight_decay=0.1),
]


@st.composite
def blocks(draw: st.DrawFn, n: int, depth: int) -> tuple[list[Layer], int]:
    """Layers for samples of n features, and how many they give; containers within, down to that depth."""
    layers: list[Layer] = []
    for _ in range(draw(st.integers(0, 4))):
        kinds = ["linear", "gated", "activation", "norm", "again"]
        kind = draw(st.sampled_from(kinds + ["residual", "residual", "nested"] * (depth > 0)))
        width, bias = n, draw(st.booleans())
        if kind == "linear":
            width = draw(WIDTHS)
            layer: Layer = Linear(n, width, bias, draw(st.sampled_from(["in_out", "out_in"])))
        elif kind == "gated":
            width = draw(WIDTHS)
            layer = draw(st.sampled_from(GATED))(n, width, bias)
        elif kind == "activation":
            layer = draw(st.sampled_from(ACTIVATIONS))
        elif kind == "norm":
            layer = LayerNorm(n, 0.1)
        elif kind == "again":
            fitting = [old for old in layers if shape_after(old, n) == (n,)]
            layer = draw(st.sampled_from(fitting)) if fitting else LayerNorm(n, 0.3)
        else:
            inner, last = draw(blocks(n, depth - 1))
            if kind == "residual":
                layer = Residual(Sequential(inner if last == n else [*inner, Linear(last, n, bias)]))
            else:
                layer, width = Sequential(inner), last
        layers.append(layer)
        n = width
    return layers, n


def shape_after(layer: Layer, n: int):
    try:
        return layer.output_shape((n,))
    except ValueError:
        return None


@st.composite
def trainings(draw: st.DrawFn) -> Training:
    sample = draw(st.sampled_from([(1,), (5,), (16,), (17,), (20,), (33,), (64,), (2, 3), (4, 2, 2)]))
    outputs = draw(st.sampled_from([2, 3, 5, 16, 17, 33]))
    n = int(np.prod(sample))
    first: list[Layer] = []
    if len(sample) > 1:
        flatten = draw(st.booleans())
        width = n if flatten else draw(WIDTHS)
        first, n = [Flatten() if flatten else Linear(n, width, flatten=True)], width
    layers, n = draw(blocks(n, 2))
    last = draw(st.sampled_from([[], [], [], [draw(st.sampled_from(ACTIVATIONS))], [LayerNorm(outputs)]]))
    loss, soft = draw(st.sampled_from(LOSSES))
    rows, batch_size = draw(st.integers(1, 80)), draw(st.sampled_from([1, 2, 5, 8, 12, 13, 16, 31, 40, 100]))
    return Training(
        Sequential([*first, *layers, Linear(n, outputs, draw(st.booleans())), *last]),
        sample,
        outputs,
        loss,
        soft,
        optimizer=draw(st.sampled_from(OPTIMIZERS)),
        regularizer=draw(st.sampled_from([None, L2(0.01)])),
        clip_norm=draw(st.sampled_from([None, 1.0])),
        weights=draw(st.sampled_from(["", "random", "some zero"])),
        dtype=draw(st.sampled_from([np.float64, np.float64, np.float32])),
        rows=rows,
        batch_size=batch_size,
        epochs=-(-50 // -(-rows // batch_size)),  # 50 steps
        threads=draw(st.integers(1, 3)),
        seed=draw(st.integers(0, 2**16)),
    )


@settings(
    max_examples=examples(60),
    derandomize=FACTOR == 1,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(training=trainings())
def test_any_network_trains_as_it_does_eagerly(training):
    """What rounding may do to it is seen from a second eager run, that starts from parameters a few ulps away."""
    double = training.dtype == np.float64
    start = training.eager()
    params, rng = start.params, np.random.default_rng(training.seed)
    away = (1000 * np.finfo(training.dtype).eps * rng.standard_normal(params.flat.shape)).astype(training.dtype)
    nudged = training.eager()
    nudged.params = nudged._good = params.like(params.flat * (1 + away))
    try:
        expected = training.run(start)
        spread = differences(expected, training.run(nudged))
    except DivergenceError:
        assume(False)
    assume(np.max(spread) < (1e-7 if double else 1e-2))  # else it shows nothing
    loss, norm, parameters = differences(expected, training.run(training.compiled()))
    tolerance = max(spread) + (1e-12 if double else 1e-4)
    assert loss <= tolerance
    if double:
        assert norm <= tolerance
        assert parameters <= tolerance
