"""How a check of scikit-learn's is run: here, or in a process apart where SciPy must take any array library."""

import atexit
import os
import pickle
import subprocess
import sys
from functools import cache

# One process for all of them, as it takes seconds to start: what it reads are checks, what it writes what they raised.
APART = """
import pickle, sys, traceback
answers, sys.stdout = sys.stdout.buffer, sys.stderr
while True:
    try:
        estimator, check = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    try:
        check(estimator)
        said = ""
    except BaseException:
        said = traceback.format_exc()
    pickle.dump(said, answers)
    answers.flush()
"""


@cache
def apart():
    process = subprocess.Popen(
        [sys.executable, "-c", APART],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
    )
    atexit.register(process.communicate)  # which ends it
    return process


def run_check(estimator, check):
    """Raises what the check raises; AssertionError, with its report, for one apart that does not end well.

    SciPy reads SCIPY_ARRAY_API when it is imported, so that a process which has imported it cannot set it.
    """
    if "array_api" not in check.func.__name__:
        return check(estimator)
    process = apart()
    pickle.dump((estimator, check), process.stdin)
    process.stdin.flush()
    said = pickle.load(process.stdout)
    assert not said, said
