"""Prediction with a trained network: one row, and 10,000 rows in a call.

    python -m benchmarks.inference

784-256-128-10 in float32, the same weights everywhere, which is checked: scores agree to 1e-3 of the largest, and all
labels. Rows go in as a NumPy array and scores come out as one (scikit-learn: labels). Each rival runs in its own
process, pinned to as many cores as it has threads, in turn, round by round; a figure is the median over rounds of the
round's median call. benchmarks/requirements.txt says what to install; a rival that is not is left out.
"""

from __future__ import annotations

from benchmarks.calls import compare
from benchmarks.predictors import ALL, Numpy

SIZES = {"1 row": 1, "10,000 rows": 10_000}

if __name__ == "__main__":
    compare("benchmarks.inference", __doc__ or "", "Inference, {threads}", ALL, SIZES, Numpy)
