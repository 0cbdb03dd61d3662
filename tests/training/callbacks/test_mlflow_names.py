"""Names and numbers of what is logged to MLflow that it would not take as they are."""

import numpy as np
import pytest

import handgrad as hg
from handgrad.training.callbacks.mlflow import batched, key
from training.callbacks.test_mlflow import points, read, store, train  # noqa: F401 - a fixture


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("validation_loss", "validation_loss"),
        ("layer/0.weight", "layer/0.weight"),
        ("rate: 1 - x", "rate: 1 - x"),
        ("größe", "größe"),
        ("validation_<lambda>", "validation__lambda_"),
        ("partial(f, 2)", "partial_f_ 2_"),
        ("a//b", "a__b"),
        ("../up", "___up"),
        (".", "_"),
        ("", "_"),
        ("/root", "_root"),
        ("x" * 300, "x" * 250),
    ],
)
def test_names(name, taken):
    from mlflow.utils.validation import _validate_param_name

    assert key(name) == taken
    _validate_param_name(taken)


def test_a_metric_without_a_name_is_logged(store):  # noqa: F811
    metric = lambda scores, y: float(np.mean(scores))  # noqa: E731 - as a user gives one
    result = train(hg.MLflow(store), metrics=[metric])
    client, (run,) = read(store)
    assert points(client, run, "validation__lambda_") == list(
        enumerate(result.history.column("validation_<lambda>"), 1)
    )


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
def test_any_number_of_parameters(store, count):  # noqa: F811
    given = {f"option ({i})": "x" * 10_000 if i == 7 else i for i in range(count)}
    train(hg.MLflow(store, params=given), epochs=1)
    _, (run,) = read(store)
    assert run.data.params == {f"option _{i}_": "x" * 6000 if i == 7 else str(i) for i in range(count)}


def test_batches():
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []
