"""How a check of scikit-learn's is run: here, or in a process apart where SciPy must take any array library."""

import os
import pickle
import subprocess
import sys

APART = "import pickle, sys; estimator, check = pickle.load(sys.stdin.buffer); check(estimator)"


def run_check(estimator, check):
    """Raises what the check raises; AssertionError, with its report, for one apart that does not end well.

    SciPy reads SCIPY_ARRAY_API when it is imported, so that a process which has imported it cannot set it.
    """
    if "array_api" not in check.func.__name__:
        return check(estimator)
    run = subprocess.run(
        [sys.executable, "-c", APART],
        input=pickle.dumps((estimator, check)),
        capture_output=True,
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        timeout=300,
    )
    assert run.returncode == 0, run.stderr.decode()
