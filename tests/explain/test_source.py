"""write_source: scripts that run alone, with NumPy, and train as fit does."""

import ast
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

import handgrad as hg
from engines.architectures import LOSSES, models, task
from handgrad.errors import DivergenceError, DTypeError, ParameterError, ShapeError, UnsupportedError, ValueRangeError
from handgrad.explain.source import write_source
from handgrad.optim import SGD, Adam, AdamW, Cosine, RMSprop
from soak import FACTOR, examples

SAMPLES, BATCH, EPOCHS = 10, 4, 7  # three steps an epoch, the last on two rows: 21 steps
# An epsilon above rounding errors: a gradient that is 0 but for those would else become a step of full size.
OPTIMIZERS = [
    SGD(0.05),
    SGD(0.02, momentum=0.9),
    SGD(0.02, momentum=0.8, nesterov=True),
    RMSprop(0.003, decay=0.8, epsilon=1e-2),
    Adam(0.01, epsilon=1e-2),
    AdamW(0.01, weight_decay=0.1, epsilon=1e-2),
]


def run(source, x, y, folder):
    """The parameters that the script ends with, trained in a process of its own that sees no installed handgrad."""
    script, data, out = folder / "script.py", folder / "data.npz", folder / "parameters.npz"
    script.write_text(source)
    np.savez(data, X=x, y=y)
    done = subprocess.run([sys.executable, "-I", script, data, out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    with np.load(out) as found:
        return dict(found), [float(line.split()[-1]) for line in done.stdout.splitlines()]


def imported(source):
    """The modules that a script imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        assert not isinstance(node, ast.ImportFrom)


def wobble(model, data, options):
    """How far training carries a change of its first parameters by one unit in their last place."""
    params, rng = model.init(options["seed"]), np.random.default_rng(0)
    ends = []
    for factor in (0, 1, 1, 1):
        moved = params.flat * (1 + factor * np.finfo(float).eps * rng.choice([-1, 1], params.flat.shape))
        result = hg.fit(model, data, engine="eager", progress=False, params=params.like(moved), **options)
        ends.append(result.params.flat)
    return max(np.max(np.abs(end - ends[0])) for end in ends)


@settings(
    max_examples=examples(20),
    derandomize=FACTOR == 1,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    model=models(),
    loss=st.sampled_from(LOSSES),
    optimizer=st.sampled_from(OPTIMIZERS),
    regularizer=st.sampled_from([None, hg.L2(0.01)]),
    seed=st.integers(0, 1000),
)
def test_random_models_train_as_fit_does(model, loss, optimizer, regularizer, seed, tmp_path_factory):
    x, y, _ = task(loss, seed, SAMPLES)
    options = {"loss": loss, "optimizer": optimizer, "regularizer": regularizer}
    options |= {"epochs": EPOCHS, "batch_size": BATCH, "seed": seed}
    try:
        result = hg.fit(model, (x, y), engine="eager", progress=False, **options)
        assume(wobble(model, (x, y), options) < 5e-14)  # beyond it, rounding decides where training ends
    except (DivergenceError, ValueRangeError):  # a rate too large for this model; labels that are all alike
        assume(False)
    source = write_source(model, sample=(2, 2), **options)
    assert set(imported(source)) <= {"math", "sys", "numpy"}
    assert max(map(len, source.splitlines())) <= 120
    found, losses = run(source, x, y, tmp_path_factory.mktemp("source"))
    for mine, expected in zip(found.values(), result.params.values(), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(losses, [row["loss"] for row in result.history.rows], rtol=0, atol=1e-6)


def test_given_parameters_are_written_exactly(tmp_path):
    model = hg.Sequential([hg.Linear(4, 3, layout="out_in"), hg.Tanh(), hg.Linear(3, 1)])
    rng = np.random.default_rng(0)
    x, y, params = rng.standard_normal((12, 4)), rng.standard_normal(12), model.init(5)
    options = {"loss": "squared_error", "optimizer": SGD(0.1), "epochs": 2, "batch_size": 5}
    path = tmp_path / "written.py"
    source = write_source(model, params=params, path=path, **options)
    assert path.read_text() == source
    found, _ = run(source, x, y, tmp_path)
    expected = hg.fit(model, (x, y), params=params, engine="eager", progress=False, **options).params
    for mine, right in zip(found.values(), expected.values(), strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "init",
    ["he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal", "lecun_uniform", hg.initializers.constant(0.2)],
)
@pytest.mark.parametrize("layout", ["in_out", "out_in"])
def test_initializers(init, layout):
    model = hg.Sequential([hg.Linear(3, 5, init=init, layout=layout), hg.Tanh(), hg.Linear(5, 2)])
    namespace = {"__name__": "script"}
    exec(write_source(model, seed=3), namespace)
    found = namespace["initialize"]()
    for mine, right in zip(found.values(), model.init(3).values(), strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-14)


def test_dropout_is_off_in_prediction():
    model = hg.mlp([3, 8, 2], dropout=0.5)
    namespace = {"__name__": "script"}
    exec(write_source(model), namespace)
    params, x = model.init(0), np.random.default_rng(1).standard_normal((6, 3))
    scores, _ = namespace["forward"](namespace["initialize"](), x)
    np.testing.assert_allclose(scores, hg.predict(model, params, x), rtol=1e-12)


def test_every_line_says_its_shape():
    source = write_source(hg.mlp([4, 8, 3], layer_norm=True), "hinge", regularizer=hg.L2(0.1))
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    lines = source.splitlines()
    for name in ("forward", "loss_of_scores", "backward"):
        made = [
            node for node in functions[name].body if isinstance(node, ast.Assign) and "params" not in ast.unparse(node)
        ]
        for node in made:
            if "cache" not in ast.unparse(node):
                assert "# (" in lines[node.lineno - 1] or "# a number" in lines[node.lineno - 1]


def test_a_script_without_data_says_what_it_needs(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(write_source(hg.mlp([2, 2])))
    done = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "give the file of the data" in done.stderr


class Own(hg.Layer):
    def parameters(self):
        return {"w": hg.Parameter((2,), np.zeros)}


def own_draw(rng, shape):
    return np.zeros(shape)


class OwnLoss(hg.Huber):
    """It may compute anything."""


NOT_FINITE = {"0.weight": np.full((2, 2), np.nan), "0.bias": np.zeros(2)}


@pytest.mark.parametrize(
    ("model", "options", "kind", "message"),
    [
        (3, {}, DTypeError, "model must be a Layer"),
        (hg.Tanh(), {}, ValueRangeError, "has no parameters to train"),
        (Own(), {"sample": (2,)}, UnsupportedError, "Own, at the top, is no layer of the library"),
        (Own(), {}, ShapeError, "give sample="),
        (hg.mlp([2, 2]), {"optimizer": Adam(Cosine(0.1))}, UnsupportedError, "constant learning rate"),
        (hg.mlp([2, 2], init=own_draw), {}, UnsupportedError, "'own_draw', is none of the library's"),
        (hg.mlp([2, 2]), {"regularizer": 0.1}, DTypeError, "must be L2"),
        (hg.mlp([2, 2]), {"epochs": 0}, ValueRangeError, "epochs"),
        (hg.mlp([2, 2]), {"params": {"0.weight": np.ones((2, 2))}}, ParameterError, r"missing \['0.bias'\]"),
        (hg.mlp([2, 2]), {"params": {"0.weight": np.ones(2), "0.bias": np.ones(2)}}, ShapeError, "must have shape"),
        (hg.mlp([2, 2]), {"sample": (3,)}, ShapeError, "takes 2 features"),
        (hg.mlp([2, 2]), {"sample": (4, 2)}, ShapeError, r"scores \(m, n\)"),
        (hg.mlp([2, 2]), {"loss": "hinges"}, ValueRangeError, "did you mean 'hinge'"),
        (hg.mlp([2, 2]), {"loss": OwnLoss()}, UnsupportedError, "OwnLoss is no loss of the library"),
        (hg.mlp([2, 2]), {"sample": 2}, DTypeError, r"such as \(28, 28\), got 2"),
        (hg.mlp([2, 2]), {"params": 3}, DTypeError, "params must be parameters"),
        (hg.mlp([2, 2]), {"params": NOT_FINITE}, ValueRangeError, "'0.weight' must hold finite numbers"),
    ],
)
def test_what_cannot_be_written(model, options, kind, message):
    with pytest.raises(kind, match=message):
        write_source(model, **options)
