"""Products by the matrix unit: exact where float32 is, as near as float32's own elsewhere, and nothing else touched."""

from functools import cache

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numba import njit

from engines.compiled.kernels.test_products import Memory, assert_finished, drawn, panels_of
from engines.compiled.trainings import OF_THE_UNITS_SIZE, Training, assert_agree
from handgrad.engines.compiled.kernels import calls, matrix_unit
from handgrad.engines.compiled.kernels.matrix_unit import (
    AS_B,
    AS_C,
    BLOCK,
    LEAST,
    LONGEST,
    TO_WRITE,
    WIDE,
    bytes_of,
    columnwise,
    panels_at_once,
    parts_of,
    pays,
    room_of,
    room_of_parts,
    rows_at_once,
    termwise,
    turns,
    unit,
)
from handgrad.engines.compiled.kernels.options import ENTRY
from handgrad.engines.compiled.kernels.program import BY_UNIT, GATED_GRADIENT, INPUT_GRADIENT, OP
from handgrad.engines.compiled.kernels.tiles import LOCAL, MASK, RELU, STORE, SUMS
from handgrad.engines.compiled.kernels.units import addresses
from handgrad.engines.compiled.kernels.vectors import KINDS, LINE, available, vectors
from handgrad.errors import DivergenceError
from handgrad.layers import SquaredError
from handgrad.models import mlp
from handgrad.optim import SGD
from handgrad.pages import zeros

needs_amx = pytest.mark.skipif("amx" not in available(), reason="this processor has no AMX")
UNIT = np.finfo(np.float32).eps / 2  # what float32 rounds off at most


@cache
def callers():
    spread, turn, lay, lay_turned, tiles = (calls.call(number) for number in calls.BY_MATRIX)
    vector_rows, begin, end = calls.call(calls.BY_ROWS), unit().begin, unit().end
    row = 4 * WIDE

    @njit(**ENTRY)
    def rows(
        table, A, index, a_row, a_first, distance, k, B, turned, first, w, C, c_panel, m, start, add, saved, sums, mode,
        room, ahead, far,
    ):  # fmt: skip
        begin()
        spread(table, A, index, a_row, a_first, m, k, distance, room)
        for j in range(0, w, WIDE):
            width, c = min(WIDE, w - j), j // WIDE * c_panel
            if turned > 0:
                lay_turned(table, B, turned, first + j, width, k, m, room)
            else:
                lay(table, B + j * k * 4, k, width * 4, width, m, room)
            places = (start + j * 4, add, saved + c, sums + j * 4, mode, ahead, far, 0, AS_B)
            tiles(table, room, k, m, width, C + c, row, *places)
        end()

    @njit(**ENTRY)
    def columns(table, A, index, a_row, distance, k, B, w, C, m, add, zeros, room, soon):
        begin()
        turn(table, A, index, a_row, m, k, distance, room)
        for again in range(2):  # the thirds of A stay
            for j in range(0, w, WIDE):
                width, c = min(WIDE, w - j), C + j * k * 4
                lay(table, B + j * m * 4, m, row, width, k, room)
                wanted, far = (c, width * 4) if soon != AS_B else (B + (j + WIDE) * m * 4, 0)
                places = (zeros, add + again, 0, 0, 0, wanted, far, 0 if soon == AS_B else c, soon)
                tiles(table, room, m, k, width, c, width * 4, *places)
        end()

    @njit(**ENTRY)
    def plain(table, A, a_panel, k, B, w, C, m, start):
        vector_rows(table, A, a_panel, k, B, w, C, m, start, 0, 0, 0, STORE)

    return rows, columns, plain


def table():
    return addresses(np.float32, KINDS["amx"]).ctypes.data


def room_for(numbers):
    """A room of so many bytes, full of NaN, with a line around it."""
    whole = zeros(numbers + 2 * LINE, np.uint8)
    whole[:] = 0xFF
    return whole, whole.ctypes.data + LINE


def assert_kept(room):
    assert (room[:LINE] == 0xFF).all()
    assert (room[-LINE:] == 0xFF).all()


def in_panels(weight, make):
    """A weight as it lies in the flat vector: panel after panel of its columns."""
    parts = make(weight.size)
    for j in range(0, weight.shape[1], WIDE):
        part = weight[:, j : j + WIDE]
        parts[j * len(weight) : j * len(weight) + part.size] = part.ravel()
    return parts


def lying(x, scattered, rng, make):
    """Where rows of x lie, as `splitters` has it, and what must be kept for it: in panels, or anywhere among others."""
    m, k = x.shape
    if not scattered:
        a = panels_of(x, WIDE, make)
        return (a.ctypes.data, 0, 4 * WIDE), m * WIDE * 4, a
    data, index = make(2 * m, k), rng.permutation(2 * m)[:m]
    data[:] = np.nan
    data[index] = x
    return (data.ctypes.data, index.ctypes.data, 4 * k), 4 * WIDE, (data, index)


def padded(n):
    return -(-n // WIDE) * WIDE


@needs_amx
@given(
    rows=st.integers(1, 100),
    before=st.integers(0, 3),
    k=st.integers(1, 100),
    w=st.integers(1, 2 * WIDE),
    turned=st.integers(0, 40),
    mode=st.sampled_from((STORE, RELU, SUMS, MASK, LOCAL)),
    add=st.booleans(),
    wanted=st.booleans(),
    scattered=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_by_rows(rows, before, k, w, turned, mode, add, wanted, scattered, seed):
    """turned: how many rows more a weight has that is read turned, half of them before those of the product."""
    real, rng, make = np.float32, np.random.default_rng(seed), Memory(np.float32)
    m, count = before + rows + 2, -(-w // WIDE)
    x, weight, bias = drawn(rng, real, m, k), drawn(rng, real, k, w), drawn(rng, real, w)
    (a, distance, _kept), c, saved = lying(x, scattered, rng, make), make(count, m, WIDE), make(count, m, WIDE)
    whole, first = drawn(rng, real, (w + turned) * (turned > 0), k), turned // 2
    if turned:
        whole[first : first + w] = weight.T
    parts, start, sums = in_panels(whole if turned else weight, make), make(w), make(w)
    start[:], sums[:] = bias, 1
    c[:], saved[:] = drawn(rng, real, *c.shape), drawn(rng, real, *c.shape)
    old, kept = c.swapaxes(0, 1).reshape(m, -1).copy(), saved.swapaxes(0, 1).reshape(m, -1).copy()
    room, place = room_for(BLOCK + (padded(rows) + WIDE) * bytes_of(k))

    skip = before * WIDE * 4
    left, right = (*a, before, distance, k), (parts.ctypes.data, len(whole), first)
    places = (*left, *right, w, c.ctypes.data + skip, m * WIDE * 4, rows)
    more = (start.ctypes.data, int(add), saved.ctypes.data + skip, sums.ctypes.data, mode)
    soon = (parts.ctypes.data, len(whole) * 4 * WIDE) if wanted else (0, 0)
    callers()[0](table(), *places, *more, place, *soon)

    here = slice(before, before + rows)
    y = x[here] @ weight + (old[here, :w] if add else bias)
    assert_finished(c.swapaxes(0, 1).reshape(m, -1), sums, y, old, kept, here, mode)
    make.assert_kept()
    assert_kept(room)


@needs_amx
@given(
    m=st.integers(1, 100),
    k=st.integers(1, 100),
    w=st.integers(1, 2 * WIDE),
    add=st.booleans(),
    soon=st.sampled_from((AS_B, AS_C, TO_WRITE)),
    scattered=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_by_columns(m, k, w, add, soon, scattered, seed):
    rng, make = np.random.default_rng(seed), Memory(np.float32)
    x, dz, old = drawn(rng, np.float32, m, k), drawn(rng, np.float32, m, w), drawn(rng, np.float32, k, w)
    a, distance, _kept = lying(x, scattered, rng, make)
    b, c, zeros = panels_of(dz, WIDE, make), make(k * w), make(2 * WIDE)
    zeros[:] = 0
    parts = [c[j * k : min(w, j + WIDE) * k].reshape(k, -1) for j in range(0, w, WIDE)]
    for q, part in enumerate(parts):
        part[:] = old[:, q * WIDE : (q + 1) * WIDE]
    room, place = room_for(BLOCK + (padded(k) + WIDE) * bytes_of(m))
    places = (*a, distance, k, b.ctypes.data, w, c.ctypes.data, m, int(add), zeros.ctypes.data)
    callers()[1](table(), *places, place, soon)
    np.testing.assert_array_equal(np.hstack(parts), 2 * (x.T @ dz) + (old if add else 0))
    make.assert_kept()
    assert_kept(room)


def product(x, weight, by_unit=True):
    """x @ weight, with at most 64 columns, by the unit or by vectors."""
    (m, k), w, make = x.shape, weight.shape[1], Memory(np.float32)
    a, c, start = panels_of(x, WIDE, make), make(-(-w // WIDE), m, WIDE), make(2 * WIDE)
    b = in_panels(weight, make)
    start[:] = 0
    panel, ends = m * WIDE * 4, (m, start.ctypes.data)
    if by_unit:
        _, room = room_for(BLOCK + (padded(m) + WIDE) * bytes_of(k))
        places = (a.ctypes.data, 0, 4 * WIDE, 0, panel, k, b.ctypes.data, 0, 0, w, c.ctypes.data, panel)
        callers()[0](table(), *places, *ends, 0, 0, 0, STORE, room, 0, 0)
    else:
        callers()[2](table(), a.ctypes.data, panel, k, b.ctypes.data, w, c.ctypes.data, *ends)
    return c.swapaxes(0, 1).reshape(m, -1)[:, :w].copy()


@needs_amx
@pytest.mark.parametrize("spread", [0, 6, 20])
@pytest.mark.parametrize("k", [1, 2, 31, 32, 33, 256, 784, 2048])
def test_as_near_as_float32(k, spread):
    """The bound of a float32 sum, k of its roundings, and one for what the six products leave out; no worse than it."""
    rng = np.random.default_rng(k)
    x, weight = (
        (rng.standard_normal(shape) * np.exp2(rng.integers(-spread, spread + 1, shape))).astype(np.float32)
        for shape in ((48, k), (k, 64))
    )
    exact, size = x.astype(float) @ weight, np.abs(x).astype(float) @ np.abs(weight)
    errors, own = (np.abs(product(x, weight, by_unit) - exact) / size for by_unit in (True, False))
    assert errors.max() <= (k + 1) * UNIT
    assert np.sqrt(np.mean(errors**2)) <= 1.25 * np.sqrt(np.mean(own**2))
    # on the whole neither too large nor too small
    signed = (product(x, weight) - exact) / size
    assert abs(signed.mean()) <= 4 * signed.std() / np.sqrt(signed.size) + 1e-10


@needs_amx
@pytest.mark.parametrize("m", [1, 31, 130, 512])
def test_as_near_by_columns(m):
    rng, make = np.random.default_rng(m), Memory(np.float32)
    x, dz = (rng.standard_normal((m, n), np.float32) for n in (40, 50))
    a, b, c, zeros = panels_of(x, WIDE, make), panels_of(dz, WIDE, make), make(40 * 50), make(2 * WIDE)
    zeros[:] = 0
    _, room = room_for(BLOCK + (padded(40) + WIDE) * bytes_of(m))
    left = (a.ctypes.data, 0, 4 * WIDE, m * WIDE * 4, 40)
    places = (*left, b.ctypes.data, 50, c.ctypes.data, m, 0, zeros.ctypes.data)
    callers()[1](table(), *places, room, AS_B)
    found = np.hstack([c[: 40 * WIDE].reshape(40, WIDE), c[40 * WIDE :].reshape(40, 50 - WIDE)])
    exact, size = 2 * (x.T.astype(float) @ dz), np.abs(x.T).astype(float) @ np.abs(dz)
    assert (np.abs(found - exact) / size).max() <= 2 * (m + 2) * UNIT
    assert np.sqrt(np.mean(((found - exact) / size) ** 2)) <= 2 * UNIT


@needs_amx
@given(*[st.floats(-(2.0**126), 2.0**126, width=32)] * 2)
def test_one_product_of_any_two(x, y):
    exact = float(x) * float(y)
    (found,) = product(np.array([[x]], np.float32), np.array([[y]], np.float32)).ravel()
    if abs(exact) > 3.5e38:
        assert not np.isfinite(found)
    elif abs(exact) < 3.4e38:
        bound = 2 * UNIT * abs(exact) + 2.0**-125  # the least that counts, of each product
        # of a number below 2^-103 the last third counts as 0, and others below that
        lost = (abs(x) < 2.0**-103) * abs(y) + (abs(y) < 2.0**-103) * abs(x)
        assert abs(found - exact) <= bound + 2.0**-125 * lost


@needs_amx
@pytest.mark.parametrize("bits", [0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF])
def test_what_is_not_finite_stays_in_its_row_and_column(bits):
    rng, bad = np.random.default_rng(0), np.array([bits], np.uint32).view(np.float32)[0]
    x, weight = rng.random((40, 50), np.float32) + 1, rng.random((50, 40), np.float32) + 1
    expected = x.astype(float) @ weight
    x[7, 3] = weight[9, 11] = bad
    found = product(x, weight)
    lost = np.zeros((40, 40), bool)
    lost[7], lost[:, 11] = True, True
    np.testing.assert_array_equal(np.isfinite(found), ~lost)
    np.testing.assert_allclose(found[~lost], expected[~lost], rtol=1e-6)


@needs_amx
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rate", [1.0, 3.0, 1e4])
def test_an_overflow_is_found_in_the_same_step(rate, threads):
    loss, optimizer = SquaredError(), SGD(rate)
    training = Training(mlp([110, 130, 128, 5]), (110,), 5, loss, optimizer=optimizer, rows=243, batch_size=136)
    training = training.but(dtype=np.float32, threads=threads)
    found = []
    for engine in (training.eager(), training.compiled()):
        with pytest.raises(DivergenceError) as error, np.errstate(all="ignore"):
            training.run(engine)
        found.append((error.value.step, error.value.place))
    assert found[0] == found[1]
    assert found[0][0] > 1


def test_where_it_pays():
    assert pays(128, 128, 128)
    assert not pays(1, 10_000, 128)
    assert not pays(10_000, 10, 128)
    assert not pays(32, 64, 64)
    assert not pays(128, 128, 8)
    assert pays(128, 128, LONGEST)
    assert not pays(128, 128, LONGEST + 1)


@given(st.integers(1, 6000), st.integers(1, 6000), st.integers(1, 6000), st.integers(1, 6000), st.integers(1, 64))
def test_room_is_enough_for_short_batches_too(k, n, m, less, threads):
    """What the units put there, and the gradient's strip behind it."""
    batch, m, room = max(m, less), min(m, less), room_of(k, n, max(m, less), True)
    assert room_of(k, n, max(m, less), False) <= room
    for length, columns in ((k, n), (n, k)):
        at_once = min(m, rows_at_once(bytes_of(length)))
        if pays(at_once, columns, length):
            assert BLOCK + (padded(at_once) + WIDE) * bytes_of(length) <= room
    if turns(k, n, max(1, batch // threads)):
        assert BLOCK + (padded(min(m, rows_at_once(bytes_of(n)))) + WIDE) * bytes_of(n) <= room
    panels = panels_at_once(bytes_of(m), padded(k) // WIDE, threads)
    if pays(min(k, panels * WIDE), n, m):
        assert BLOCK + (panels + 1) * WIDE * bytes_of(m) + panels * WIDE * 2 * WIDE * 4 <= room


def test_columns_are_shared_where_the_weight_is_more_to_split_than_the_rows():
    assert columnwise(784, 256, 128, 2)
    assert not columnwise(784, 256, 128, 1)
    assert not columnwise(784, 256, 256, 2)
    assert not columnwise(784, 256, 128, 5)  # each would have too few columns
    assert not columnwise(16, 256, 128, 2)


def test_sums_are_shared_where_the_inputs_are_wide():
    assert termwise(784, 256, 128, 2)
    assert not termwise(784, 256, 128, 1)
    assert not termwise(784, 256, 512, 2)
    assert not termwise(784, 512, 128, 2)
    assert not termwise(784, 32, 128, 2)
    assert not termwise(784, 256, 128, 32)  # some would have none


@given(st.integers(1, 5000), st.integers(1, 700), st.integers(1, 3000), st.integers(2, 16))
@example(k=4096, n=2000, m=1111, threads=2)
@example(k=449, n=200, m=200, threads=8)  # of whose panels the last has one column
def test_room_for_partial_sums(k, n, m, threads):
    parts = parts_of(k, threads)
    assert sum(parts) == k
    assert all(part % WIDE == 0 for part in parts[:-1])
    if termwise(k, n, m, threads):
        room = room_of_parts(k, n, m, threads)
        for part in parts:
            rows = min(m, rows_at_once(bytes_of(part)))
            assert part >= LEAST
            assert pays(rows, n, part)
            assert BLOCK + (padded(rows) + WIDE) * bytes_of(part) <= room


def test_small_weights_are_not_turned_each_time():
    assert turns(512, 256, 256)
    assert not turns(256, 128, 256)
    assert not turns(512, 256, 16)
    assert not turns(LONGEST, LONGEST + 1, 256)


@needs_amx
@pytest.mark.parametrize("threads", [1, 2])
def test_trainings_whose_weights_are_turned_each_time(threads, monkeypatch):
    """Of any size, with a last batch that would not pay, in each layout and behind a gate."""
    monkeypatch.setattr(matrix_unit, "HEAVY", 0)
    training = OF_THE_UNITS_SIZE.but(dtype=np.float32, threads=threads, rows=145, optimizer=SGD(0.01))
    program = training.compiled().program
    turned = program.code[np.isin(program.code[:, OP], (INPUT_GRADIENT, GATED_GRADIENT)), BY_UNIT]
    assert turned.sum() == 3
    assert program.transposed == 100 * 5  # of the last weight alone, for which the unit does not pay
    assert_agree(training)


def test_no_room_where_nothing_pays():
    assert room_of(10, 20, 30, True) == 0 == room_of(784, 256, 1, False)


def test_float64_goes_by_vectors(monkeypatch):
    monkeypatch.setattr("handgrad.engines.compiled.kernels.vectors.available", lambda: ("amx", "avx512", "avx2", "dot"))
    assert vectors(np.float32).name == "amx"
    assert vectors(np.float64).name == "avx512"
    monkeypatch.setenv("HANDGRAD_VECTORS", "amx")
    assert vectors(np.float64).name == "avx512"


def test_where_linux_does_not_give_its_tiles(monkeypatch):
    features = dict.fromkeys(("avx2", "fma", "avx512f", "avx512vl", "avx512bw", "amx-tile", "amx-bf16"), True)
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr("handgrad.engines.compiled.kernels.vectors.ASK_FOR_TILES", (158, 0x1023, 63))  # no such feature
    assert available.__wrapped__() == ("avx512", "avx2", "dot")
    monkeypatch.setattr("sys.platform", "darwin")
    assert available.__wrapped__() == ("avx512", "avx2", "dot")
