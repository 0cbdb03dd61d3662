"""What holds for every optimizer: purity, dtypes, array libraries, blocks, and refusals that name the argument."""

import copy
import inspect
import pickle
from concurrent.futures import ThreadPoolExecutor

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import handgrad.optim.base
from handgrad.errors import DeviceError, DTypeError, ShapeError, ValueRangeError
from handgrad.optim import SGD, Adam, AdamW, Constant, Cosine, Optimizer, RMSprop
from handgrad.optim.base import LONG

ALL = {
    "sgd": SGD(0.1),
    "momentum": SGD(0.1, momentum=0.9),
    "nesterov": SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": RMSprop(0.1),
    "adam": Adam(0.1),
    "adamw": AdamW(0.1, weight_decay=0.2),
    "scheduled": Adam(Cosine(0.1, 5)),
}
each = pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL.keys())


def data(n=11, dtype=np.float64, seed=0):
    """Parameters, four gradients, and a vector of what decays."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=n).astype(dtype), rng.normal(size=(4, n)).astype(dtype), rng.integers(0, 2, n).astype(dtype)


def train(optimizer, params, gradients, decayed=None, state=None):
    """States and parameters after each step."""
    state = optimizer.init(params) if state is None else state
    run = []
    for gradient in gradients:
        state, update = optimizer.update(state, gradient, params, decayed=decayed)
        params = params + update
        run.append((state, params))
    return run


def bits(run):
    return [
        (state["step"], w.tobytes(), *(state[k].tobytes() for k in sorted(state) if k != "step")) for state, w in run
    ]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@each
@pytest.mark.parametrize("n", [11, LONG + 1])
def test_pure(optimizer, n):
    params, gradients, decayed = map(read_only, data(n))
    (state, _), *_ = train(optimizer, params, gradients, decayed)
    state = {key: value if key == "step" else read_only(value) for key, value in state.items()}
    before = copy.deepcopy(state)
    first = optimizer.update(state, gradients[1], params, decayed=decayed)
    second = optimizer.update(state, gradients[1], params, decayed=decayed)
    assert bits([first]) == bits([second])
    assert bits([(state, params)]) == bits([(before, params)])
    for array in (first[1], *(value for key, value in first[0].items() if key != "step")):
        given = (params, gradients, decayed, *(value for key, value in state.items() if key != "step"))
        assert not any(np.shares_memory(array, other) for other in given)


@each
def test_the_state_is_a_plain_dict_of_an_int_and_vectors(optimizer):
    params, gradients, _ = data(dtype=np.float32)
    for state in (optimizer.init(params), train(optimizer, params, gradients)[-1][0]):
        assert type(state) is dict
        assert type(state["step"]) is int
        assert set(state) == {"step", *optimizer.slots}
        for name in optimizer.slots:
            assert type(state[name]) is np.ndarray
            assert (state[name].shape, state[name].dtype) == (params.shape, params.dtype)
    assert state["step"] == 4


@each
@pytest.mark.parametrize("keep", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_training_goes_on_from_a_kept_state_to_the_same_bits(optimizer, keep):
    params, gradients, decayed = data()
    whole = train(optimizer, params, gradients, decayed)
    state, half = whole[1]
    resumed = train(keep(optimizer), half, gradients[2:], decayed, keep(state))
    assert bits(resumed) == bits(whole[2:])
    assert bits(resumed) != bits(train(optimizer, half, gradients[2:] + 1, decayed))


@each
def test_a_step_read_back_as_numpy_s_integer_is_taken(optimizer):
    params, gradients, _ = data()
    state, _ = train(optimizer, params, gradients)[0]
    ours = optimizer.update(state, gradients[1], params)
    theirs = optimizer.update(state | {"step": np.int64(1)}, gradients[1], params)
    assert bits([ours]) == bits([theirs])
    assert type(theirs[0]["step"]) is int


@each
def test_a_constant_schedule_is_the_rate_itself(optimizer):
    params, gradients, _ = data()
    plain = {f: getattr(optimizer, f) for f in inspect.signature(type(optimizer)).parameters}
    number, schedule = (type(optimizer)(**plain | {"learning_rate": rate}) for rate in (0.3, Constant(0.3)))
    assert bits(train(number, params, gradients)) == bits(train(schedule, params, gradients))


@each
def test_float32_stays_float32_and_is_near_float64(optimizer):
    hyper = {f: getattr(optimizer, f) for f in inspect.signature(type(optimizer)).parameters}
    # NumPy's own float64 numbers as hyperparameters must not draw the vectors along
    optimizer = type(optimizer)(**{k: np.float64(v) if isinstance(v, float) else v for k, v in hyper.items()})
    single = train(optimizer, *data(dtype=np.float32))
    double = train(optimizer, *(x.astype(np.float64) for x in data(dtype=np.float32)))
    for (state, params), (_, exact) in zip(single, double, strict=True):
        assert params.dtype == np.float32
        assert all(state[name].dtype == np.float32 for name in optimizer.slots)
        np.testing.assert_allclose(params, exact, rtol=1e-5, atol=1e-6)


@each
@pytest.mark.parametrize("n", [7, 16, 17, 40])
def test_blocks_change_no_bit(optimizer, n, monkeypatch):
    params, gradients, decayed = data(n, np.float32)
    at_once = train(optimizer, params, gradients, decayed)
    monkeypatch.setattr(handgrad.optim.base, "BLOCK", 8)
    monkeypatch.setattr(handgrad.optim.base, "LONG", 15)
    assert bits(train(optimizer, params, gradients, decayed)) == bits(at_once)


@each
def test_a_strided_vector_gives_the_same_bits(optimizer):
    params, gradients, decayed = data(LONG + 9)
    wide = np.zeros((LONG + 9, 2))
    wide[:, 0] = params
    strided = [np.repeat(g, 2)[::2] for g in gradients]
    assert not strided[0].flags.c_contiguous
    ours = train(optimizer, wide[:, 0], strided, decayed)
    assert bits(ours) == bits(train(optimizer, params, gradients, decayed))


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_other_array_libraries(optimizer, dtype, library):
    xp = array_api_strict if library == "array_api_strict" else pytest.importorskip("torch", reason="needs PyTorch")
    params, gradients, decayed = data(dtype=dtype)
    ours = train(optimizer, params, gradients, decayed)
    theirs = train(optimizer, xp.asarray(params), [xp.asarray(g) for g in gradients], xp.asarray(decayed == 1))
    tight = 1e-6 if dtype == "float32" else 1e-14
    for (_, expected), (state, result) in zip(ours, theirs, strict=True):
        assert type(result) is type(xp.asarray(params))
        assert result.dtype == getattr(xp, dtype)
        assert all(type(state[name]) is type(result) for name in optimizer.slots)
        np.testing.assert_allclose(np.asarray(result), expected, rtol=tight, atol=tight)


@each
def test_one_optimizer_in_many_threads(optimizer):
    cases = [data(30_000, np.float32, seed) for seed in range(8)]
    alone = [bits(train(optimizer, *case)) for case in cases]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda case: bits(train(optimizer, *case)), cases)) == alone


@each
def test_no_parameters_at_all(optimizer):
    empty = np.zeros(0, np.float32)
    state, update = optimizer.update(optimizer.init(empty), empty, empty)
    assert update.shape == (0,)
    assert state["step"] == 1


@each
@given(
    gradients=hnp.arrays(
        np.float32, st.tuples(st.just(3), st.integers(1, 20)), elements=st.floats(-(2.0**40), 2.0**40, width=32)
    )
)
def test_finite_in_finite_out(optimizer, gradients):
    for state, params in train(optimizer, np.zeros(gradients.shape[1], np.float32), gradients):
        assert np.isfinite(params).all()
        assert all(np.isfinite(state[name]).all() for name in optimizer.slots)


@given(st.floats(1e-3, 1e3), st.floats(0, 0.99), st.floats(0, 0.999))
def test_adam_s_first_step_is_the_rate_whatever_the_gradient_and_the_betas(size, beta1, beta2):
    # the corrections make the first step -rate sign(g), which is what they are for
    g = np.array([size, -size])
    adam = Adam(0.01, beta1=beta1, beta2=beta2, epsilon=1e-12)
    _, update = adam.update(adam.init(g), g)
    np.testing.assert_allclose(update, [-0.01, 0.01], rtol=1e-8)


@each
def test_the_way_is_down(optimizer):
    params, _, _ = data()
    value = float(params @ params)
    state = optimizer.init(params)
    _, update = optimizer.update(state, 2 * params, params)
    assert float((params + update) @ (params + update)) < value


def test_nesterov_is_the_look_ahead_it_is_derived_from():
    # Sutskever et al.: v = μ v - ε ∇f(θ + μ v); θ += v. Ours keeps w = θ + μ v.
    momentum, rate, curvature = 0.9, 0.1, np.array([1.0, 0.3])
    theta, velocity = np.array([1.0, -2.0]), np.zeros(2)
    w = theta.copy()
    optimizer = SGD(rate, momentum=momentum, nesterov=True)
    state = optimizer.init(w)
    for _ in range(20):
        velocity = momentum * velocity - rate * curvature * (theta + momentum * velocity)
        theta = theta + velocity
        state, update = optimizer.update(state, curvature * w)
        w = w + update
        np.testing.assert_allclose(w, theta + momentum * velocity, rtol=1e-12)


class TestAdamW:
    def test_decay_is_decoupled(self):
        params, gradients, decayed = data()
        adam, adamw = Adam(0.1), AdamW(0.1, weight_decay=0.2)
        moments, plain = adam.update(adam.init(params), gradients[0])
        state, update = adamw.update(adamw.init(params), gradients[0], params, decayed=decayed)
        np.testing.assert_allclose(update, plain - 0.1 * 0.2 * params * decayed, rtol=1e-13, atol=1e-15)
        assert bits([(state, params)]) == bits([(moments, params)])

    @pytest.mark.parametrize("dtype", [bool, np.int8, np.float32, np.float64])
    def test_decayed_of_any_dtype(self, dtype):
        params, gradients, decayed = data(dtype=np.float32)
        optimizer = ALL["adamw"]
        result = train(optimizer, params, gradients, decayed.astype(dtype))
        assert bits(result) == bits(train(optimizer, params, gradients, decayed))
        assert bits(result) != bits(train(optimizer, params, gradients))

    def test_without_decayed_all_decay(self):
        params, gradients, _ = data()
        optimizer = ALL["adamw"]
        everything = train(optimizer, params, gradients, np.ones_like(params))
        assert bits(train(optimizer, params, gradients)) == bits(everything)

    def test_without_params(self):
        params, gradients, _ = data()
        with pytest.raises(ValueRangeError, match="AdamW: update needs params"):
            ALL["adamw"].update(ALL["adamw"].init(params), gradients[0])


class TestRefusals:
    @each
    def test_shapes(self, optimizer):
        params, gradients, _ = data()
        state = optimizer.init(params)
        with pytest.raises(ShapeError, match=r"shape \(11,\) and gradient has \(10,\)"):
            optimizer.update(state, gradients[0][:-1], params)
        with pytest.raises(ShapeError, match=r"gradient must be a flat vector, \(n,\), got shape \(4, 11\)"):
            optimizer.update(state, gradients, params)
        with pytest.raises(ShapeError, match=r"params has shape \(1,\) and gradient has \(11,\)"):
            optimizer.update(state, gradients[0], params[:1])
        with pytest.raises(ShapeError, match=r"decayed has shape \(1,\) and gradient has \(11,\)"):
            optimizer.update(state, gradients[0], params, decayed=np.ones(1))
        with pytest.raises(ShapeError, match=r"params must be a flat vector, \(n,\), got shape \(1, 11\)"):
            optimizer.init(params[None])

    @each
    def test_dtypes(self, optimizer):
        params, gradients, _ = data()
        state = optimizer.init(params)
        with pytest.raises(DTypeError, match="has dtype float64 and gradient has float32"):
            optimizer.update(state, gradients[0].astype(np.float32), params)
        with pytest.raises(DTypeError, match="params has dtype float32 and gradient has float64"):
            optimizer.update(state, gradients[0], params.astype(np.float32))
        with pytest.raises(DTypeError, match="gradient must hold real floating-point numbers, got dtype complex128"):
            optimizer.update(state, gradients[0] + 0j, params)
        with pytest.raises(DTypeError, match="params must hold real floating-point numbers, got dtype int64"):
            optimizer.init(np.arange(3))
        with pytest.raises(DTypeError, match="decayed must hold 0 and 1, or booleans, got dtype complex128"):
            optimizer.update(state, gradients[0], params, decayed=params + 0j)
        for wrong in (None, [1.0] * 11):
            with pytest.raises(DTypeError, match="gradient must be an array"):
                optimizer.update(state, wrong, params)

    @each
    def test_arrays_of_two_libraries(self, optimizer):
        params, gradients, _ = data()
        with pytest.raises(DeviceError, match="one array library"):
            optimizer.update(optimizer.init(params), array_api_strict.asarray(gradients[0]), params)

    def test_the_state_of_another_optimizer(self):
        params, gradients, _ = data()
        state = ALL["momentum"].init(params)
        for other in ("sgd", "rmsprop", "adam"):
            with pytest.raises(ValueRangeError, match=r"state must be a dict of .*, got .*velocity.*another optimizer"):
                ALL[other].update(state, gradients[0])
        with pytest.raises(ValueRangeError, match="got NoneType"):
            ALL["adam"].update(None, gradients[0])

    @pytest.mark.parametrize("step", [-1, 1.0, "3", None])
    def test_a_step_that_is_none(self, step):
        params, gradients, _ = data()
        with pytest.raises(ValueRangeError, match=r"state\['step'\] must be a whole number of at least 0, got "):
            ALL["sgd"].update({"step": step}, gradients[0], params)


def test_bind():
    optimizer = AdamW(Cosine(0.5), weight_decay=0.3)
    bound = optimizer.bind(20)
    assert bound == AdamW(Cosine(0.5, 20), weight_decay=0.3)
    assert optimizer.learning_rate.steps is None
    assert bound.bind(30) == bound
    assert Adam(0.1).bind(20) == Adam(0.1)
    assert bound.rate(10) == pytest.approx(0.25, abs=1e-15)
    assert Adam(0.1).rate(10) == 0.1
    for total in (0, 2.0, True):
        with pytest.raises(ValueRangeError, match="total_steps must be a whole number of at least 1, got"):
            optimizer.bind(total)


def test_an_unbound_schedule_is_not_trained_with():
    optimizer = SGD(Cosine(0.5))
    with pytest.raises(ValueRangeError, match=r"Cosine\(rate=0.5.*does not know its number of steps; .*bind\(total\)"):
        optimizer.update(optimizer.init(np.zeros(2)), np.zeros(2))


def test_a_rule_of_one_s_own():
    class Sign(Optimizer):
        @property
        def slots(self):
            return ()

        def rule(self, xp, t, rate, g, slots, w, decayed):
            return -rate * xp.sign(g), slots

    optimizer = Sign(0.5)
    state, update = optimizer.update(optimizer.init(np.zeros(2)), np.array([3.0, -2.0]))
    assert update.tolist() == [-0.5, 0.5]
    assert state == {"step": 1}
