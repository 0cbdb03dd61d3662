"""A pytest plugin: scikit-learn's MLPClassifier and MLPRegressor are Handgrad's, before any test is collected.

pytest -p estimators.in_place --pyargs sklearn.neural_network.tests.test_mlp
"""

import sklearn.neural_network

import handgrad

for name in ("MLPClassifier", "MLPRegressor"):
    setattr(sklearn.neural_network, name, getattr(handgrad, name))
