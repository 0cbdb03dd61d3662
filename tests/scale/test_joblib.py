"""The estimators under joblib's back ends for Ray and Dask: a search there gives what it gives in one process."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

import handgrad as hg

pytestmark = pytest.mark.filterwarnings("ignore")  # that few epochs have not converged, here and in the workers

rng = np.random.default_rng(2)
X = rng.standard_normal((90, 4))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)


def search():
    estimator = hg.MLPClassifier((8,), max_iter=5, random_state=0)
    return GridSearchCV(estimator, {"alpha": [1e-4, 1.0]}, cv=2, n_jobs=2, error_score="raise")


@pytest.fixture(scope="module")
def expected():
    """The scores of a search in this process."""
    found = search().set_params(n_jobs=1).fit(X, Y)
    return found.cv_results_["mean_test_score"]


def test_on_ray(cluster, expected):
    import joblib
    import ray
    from ray.util.joblib import register_ray

    ray.init(address=cluster, log_to_driver=False, logging_level="ERROR")
    try:
        register_ray()
        with joblib.parallel_backend("ray"):
            found = search().fit(X, Y)
    finally:
        ray.shutdown()
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"], expected)


def test_on_dask(expected):
    distributed = pytest.importorskip("distributed", reason="Dask's back end needs dask.distributed")
    import dask
    import joblib

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "300s"}),  # on a machine that is busy
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None, processes=True) as here,
        distributed.Client(here, timeout=300),
        joblib.parallel_backend("dask"),
    ):
        found = search().fit(X, Y)
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"], expected)
