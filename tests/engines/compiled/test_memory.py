"""What training takes: buffers that share their room, and no copy of the parameters at the peak."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import handgrad as hg
from handgrad.engines.compiled.codes import loss_code
from handgrad.engines.compiled.graph import graph_of
from handgrad.engines.compiled.kernels.vectors import vectors
from handgrad.engines.compiled.layout import Layout, one_after_other, place
from handgrad.engines.compiled.lower import lower
from handgrad.engines.compiled.packing import Packing

spans = st.tuples(st.sampled_from([64, 128, 4096]), st.integers(0, 9), st.integers(0, 9)).map(
    lambda s: (s[0], min(s[1:]), max(s[1:]))
)


@given(st.dictionaries(st.integers(0, 30), spans, min_size=1), st.integers(0, 10))
def test_only_buffers_of_one_size_that_are_not_in_use_at_once_follow_one_another(buffers, until):
    owners = one_after_other(buffers, until)
    assert owners.keys() == buffers.keys()
    for a, (size, first, last) in buffers.items():
        assert buffers[owners[a]][0] == size
        for b, (_, other_first, other_last) in buffers.items():
            if a != b and owners[a] == owners[b]:
                assert last < other_first or other_last < first
                assert max(last, other_last) < until


@given(st.dictionaries(st.integers(0, 30), spans, min_size=1))
def test_what_is_in_use_at_once_has_places_of_its_own(buffers):
    places, end = place(buffers)
    for a, (size, first, last) in buffers.items():
        assert places[a] + size <= end
        for b, (other_size, other_first, other_last) in buffers.items():
            if a < b and first <= other_last and other_first <= last:
                assert places[a] + size <= places[b] or places[b] + other_size <= places[a]


def test_the_gradient_behind_a_gate_takes_a_panel():
    model = hg.Sequential([hg.Linear(64, 64), hg.SwiGLU(64, 1024), hg.Linear(1024, 8)])
    layout = Layout(np.float32, vectors())
    graph = graph_of(model, (64,), True)
    program = lower(graph, model.parameters(), layout, 128, loss_code(hg.CrossEntropy(), True))
    sizes = sorted(size for _, size in program.buffers.values())
    wide = [size for size in sizes if size >= layout.samples(128, 1024) * 4]
    assert len(wide) == (3 if layout.panel else 4)  # content, gate and their product


def test_the_parameters_are_copied_once(monkeypatch):
    copies = []
    unpack = Packing.unpack
    monkeypatch.setattr(Packing, "unpack", lambda self, flat: copies.append(1) or unpack(self, flat))
    rng = np.random.default_rng(0)
    data = rng.standard_normal((64, 4), dtype=np.float32), rng.integers(0, 3, 64)
    result = hg.fit(hg.mlp([4, 8, 3]), data, epochs=3, engine="compiled", progress=False)
    assert len(result.history) == 3
    assert len(copies) == 1  # the one that is returned
