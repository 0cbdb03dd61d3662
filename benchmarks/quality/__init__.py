"""Predictive quality on real data sets that come inside wheels: `python -m benchmarks.quality`."""
