"""The epochs whose parameters a report keeps for its slider."""

from types import SimpleNamespace

import numpy as np
import pytest

from handgrad.cli.moments import MOST, Moments


@pytest.mark.parametrize("epochs", [1, 2, MOST, MOST + 1, 40, 1000])
def test_a_few_are_kept_from_the_first_on_evenly(epochs):
    moments, flat = Moments(), np.zeros(3)
    for epoch in range(1, epochs + 1):
        flat[...] = epoch
        moments(SimpleNamespace(row={"epoch": epoch}, params=SimpleNamespace(flat=flat)))
    kept = list(moments.kept)
    assert kept[0] == 1
    assert min(epochs, MOST // 2) <= len(kept) <= MOST
    assert len({*np.diff(kept)}) <= 1
    assert epochs - kept[-1] < (kept[1] - kept[0] if len(kept) > 1 else 1)
    assert all((values == epoch).all() for epoch, values in moments.kept.items())  # copies of their own
