"""The kernels read and write nothing but their own buffers and the rows that they are given."""

import os
import subprocess
import sys

import numpy as np
import pytest

from engines.compiled.trainings import COLUMNWISE, OF_THE_UNITS_SIZE, TERMWISE, Training
from handgrad.engines.compiled import lower
from handgrad.engines.compiled.kernels import matrix_unit
from handgrad.engines.compiled.kernels.vectors import available
from handgrad.layers import (
    GELU,
    GLU,
    L2,
    BinaryCrossEntropy,
    CrossEntropy,
    Dropout,
    Hinge,
    LayerNorm,
    Linear,
    ReLU,
    Softmax,
    SquaredError,
    SwiGLU,
    Tanh,
)
from handgrad.models import Residual, Sequential, mlp
from handgrad.optim import SGD, Adam, RMSprop
from handgrad.training.data import Rows

GUARD = 2048
NAN, LARGE, OTHER = 0xFF, 0x7E, 0x21  # bytes: NaN and -1; finite and huge; finite and tiny
NARROWER = available()[1:]
EVERYTHING = Sequential(
    [
        Linear(20, 17),
        Dropout(0.2),
        Residual(Sequential([LayerNorm(17), GELU(), SwiGLU(17, 33), Linear(33, 17, False)])),
        ReLU(),
        Residual(Softmax(2.0)),
        GLU(17, 19, bias=False),
        Tanh(),
        Linear(19, 5, layout="out_in"),
    ]
)
NARROW = Sequential([Linear(3, 1), LayerNorm(1), Residual(Tanh()), Linear(1, 1, False), SwiGLU(1, 1), Softmax()])
TRAININGS = {
    "everything": Training(EVERYTHING, regularizer=L2(0.1), clip_norm=0.5, weights="random"),
    "everything, one row": Training(EVERYTHING, rows=1, loss=Hinge()),
    "everything, batches of one": Training(EVERYTHING, rows=5, batch_size=1, optimizer=RMSprop()),
    "everything, one left over": Training(EVERYTHING, rows=33, batch_size=16, optimizer=SGD(0.1, 0.9)),
    "everything, more than the data": Training(EVERYTHING, rows=13, batch_size=100),
    "width 1": Training(NARROW, sample=(3,), outputs=1, loss=SquaredError(), optimizer=Adam(epsilon=1e-2)),
    "one linear": Training(Linear(1, 1), sample=(1,), outputs=1, loss=BinaryCrossEntropy(), weights="some zero"),
    "one linear, wide": Training(Linear(129, 65), sample=(129,), outputs=65, optimizer=SGD(0.1)),
    "many widths": Training(mlp([20, 1, 7, 9, 15, 31, 33, 65, 5]), loss=CrossEntropy(0.1), rows=29, batch_size=25),
    "whole vectors": Training(mlp([32, 64, 16]), sample=(32,), outputs=16, soft=True, rows=24, batch_size=24),
    "long batch": Training(mlp([20, 33, 5]), rows=300, batch_size=260),
    "many products": OF_THE_UNITS_SIZE,
    "products shared by columns": COLUMNWISE,
    "sums shared": TERMWISE,
    "long sums": Training(  # that the matrix unit takes for part of the rows, or of the columns, at a time
        mlp([1200, 130, 5]), sample=(1200,), rows=250, batch_size=200, optimizer=SGD(0.01, 0.9)
    ),
    "many numbers": Training(mlp([70, 90, 5]), sample=(70,), optimizer=RMSprop(), rows=40),
}
VECTORS = ("_params", "_gradient", "_first", "_second", "_transposed", "_sums", "_zeros", "_room")


def guards(engine):
    """Everything around the buffers, as writable views of bytes."""
    for name in VECTORS:
        array = getattr(engine, name)
        yield name, array[:GUARD].view(np.uint8)
        yield name, array[len(array) - GUARD :].view(np.uint8)
    end = 0
    for place, size in sorted(engine.program.buffers.values()):
        assert place - end >= GUARD
        yield "_work", engine._work[end:place]
        end = place + size
    assert len(engine._work) - end >= GUARD
    yield "_work", engine._work[end:]


def guarded_run(training, byte):
    """The bytes of all that a run gives, with that byte in all guards, which stays there."""
    engine = training.compiled(guard=GUARD)
    engine._tell()
    engine._room[GUARD : len(engine._room) - GUARD] = byte
    # the engine looks for NaN over the parameters with what is around them
    fill = {"_params": LARGE if byte == NAN else byte, "_gradient": LARGE if byte == NAN else byte}
    for name, guard in guards(engine):
        guard[:] = fill.get(name, byte)
    curve, params = training.run(engine)
    assert np.isfinite(curve).all()
    for name, guard in guards(engine):
        assert (guard == fill.get(name, byte)).all(), f"{name} was written beyond its end"
    assert engine._zeros[GUARD : len(engine._zeros) - GUARD].tolist() == [0] * engine.program.widest
    return curve.tobytes() + params.flat.tobytes()


def assert_within(training):
    training = training.but(epochs=2)
    plain = training.run(training.compiled())
    assert guarded_run(training, NAN) == guarded_run(training, OTHER)
    assert guarded_run(training, NAN) == plain[0].tobytes() + plain[1].flat.tobytes()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", TRAININGS)
def test_buffers(name, threads, dtype):
    assert_within(TRAININGS[name].but(threads=threads, dtype=dtype))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", TRAININGS)
def test_buffers_of_steps_at_once(name, threads, monkeypatch):
    """And of weights that the matrix unit turns each time."""
    monkeypatch.setattr(lower, "APART", 0)
    monkeypatch.setattr(matrix_unit, "HEAVY", 0)
    assert_within(TRAININGS[name].but(threads=threads, dtype=np.float32, clip_norm=None, regularizer=None))


@pytest.mark.parametrize("kind", NARROWER)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", TRAININGS)
def test_buffers_of_narrower_vectors(name, threads, kind, monkeypatch):
    monkeypatch.setenv("HANDGRAD_VECTORS", kind)
    # of AVX-512 in float64 the tests above are, where there is AMX
    assert_within(TRAININGS[name].but(threads=threads, dtype=np.float32 if kind == "avx512" else np.float64))


def surrounded(array, by):
    """The array, read-only, within a larger one that holds `by`."""
    whole = np.full((len(array) + 64, *array.shape[1:]), by, array.dtype)
    whole[32:-32] = array
    whole.flags.writeable = False
    return whole[32:-32], whole


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", TRAININGS)
def test_the_users_arrays(name, threads, dtype):
    training = TRAININGS[name].but(threads=threads, dtype=dtype, epochs=2, weights="random")
    data = training.data
    plain = training.run(training.compiled())
    x, around_x = surrounded(data.x, np.nan)
    y, around_y = surrounded(data.y, 2**60 if data.y.dtype.kind == "i" else np.nan)
    weight, around_weight = surrounded(data.weight, np.nan)
    before = [array.tobytes() for array in (around_x, around_y, around_weight)]
    inside = Rows(x, y, weight)
    engine = training.compiled(data=inside)
    assert np.shares_memory(engine._y, y), "the kernels were to read the array itself"
    assert np.shares_memory(engine._weight, weight)
    curve, params = training.run(engine, inside)
    assert np.array_equal(curve, plain[0])
    assert np.array_equal(params.flat, plain[1].flat)
    assert [array.tobytes() for array in (around_x, around_y, around_weight)] == before


def test_the_users_parameters_are_only_read():
    training = TRAININGS["everything"].but(epochs=2)
    flat, whole = surrounded(training.params.flat, np.nan)
    before = whole.tobytes()

    class Given(Training):
        params = training.params.like(flat)

    given = Given(**{name: getattr(training, name) for name in training.__dataclass_fields__})
    engine = given.compiled()
    result = training.run(engine)
    assert whole.tobytes() == before
    assert np.array_equal(result[1].flat, training.run(training.compiled())[1].flat)


# Arrays that end, or begin, right at a page that may not be touched: the process would not survive.
PAGES = """
import ctypes, mmap, sys
import numpy as np
import handgrad.engines.compiled.engine as module
from engines.compiled.test_bounds import TRAININGS
from handgrad.training.data import Rows

PAGE, kept = mmap.PAGESIZE, []
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

def walled(count, dtype, at_end):
    size = count * np.dtype(dtype).itemsize
    length = -(-size // PAGE) * PAGE
    pages = mmap.mmap(-1, length + 2 * PAGE)
    whole = np.frombuffer(pages, np.uint8)
    for wall in (0, PAGE + length):
        assert libc.mprotect(whole.ctypes.data + wall, PAGE, 0) == 0
    kept.append((pages, whole))
    begin = PAGE + (length - size if at_end else 0)
    return whole[begin : begin + size].view(dtype)

def copied(array, at_end):
    copy = walled(array.size, array.dtype, at_end).reshape(array.shape)
    copy[...] = array
    return copy

if sys.argv[1] == "fault":
    array = walled(3, np.float64, True)
    print("begun", flush=True)
    np.lib.stride_tricks.as_strided(array, (4,))[3]
for name, training in TRAININGS.items():
    for dtype in (np.float64, np.float32):
        for threads in (1, 2):
            training = training.but(dtype=dtype, threads=threads, epochs=2, weights="random")
            data = training.data
            expected = training.run(training.compiled())
            for at_end in (True, False):
                print(name, dtype.__name__, threads, at_end, flush=True)
                inside = Rows(*(copied(array, at_end) for array in (data.x, data.y, data.weight)))
                plain, module.zeros = module.zeros, lambda count, dtype: walled(count, dtype, at_end)
                engine = training.compiled(data=inside)
                engine._tell()
                module.zeros = plain
                curve, params = training.run(engine, inside)
                assert np.array_equal(curve, expected[0]) and np.array_equal(params.flat, expected[1].flat)
print("whole")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="mprotect is of POSIX")
@pytest.mark.parametrize(("what", "survives"), [("trainings", True), ("fault", False)])
def test_pages_that_may_not_be_touched(what, survives):
    run = subprocess.run(
        [sys.executable, "-c", PAGES, what],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (run.returncode == 0) == survives, (run.stdout[-200:], run.stderr)
    assert run.stdout.splitlines()[-1] == ("whole" if survives else "begun"), run.stderr
