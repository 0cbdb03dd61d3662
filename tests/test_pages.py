"""Memory of arrays: on a line of the cache, zeros, each process's own, and the system's again when large ones go."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import handgrad as hg
from handgrad import pages

# Once an array of 24 MB has come and gone, C's allocator on Linux keeps those up to that size for later
RESIDENT = """
import resource

import numpy as np

import handgrad as hg
from handgrad import pages


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


np.ones(3 * 2**20)
before, last = resident(), np.ones(10)
{made}
after = np.ones(1000)  # the heap does not end with what comes back
held = resident()
del array
print(held - before, resident() - before)
"""


@pytest.mark.parametrize("count", [0, 1, pages.LARGE // 8 - 1, pages.LARGE // 8, pages.LARGE])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_zeros(count, dtype):
    array = pages.zeros(count, dtype)
    assert array.shape == (count,)
    assert array.dtype == dtype
    assert not count or array.ctypes.data % pages.LINE == 0
    assert not array.any()
    array += 1
    assert (array == 1).all()
    made = pages.empty(count, dtype)
    assert (made.shape, made.dtype) == (array.shape, dtype)
    assert not count or made.ctypes.data % pages.LINE == 0
    copied = pages.copy(array)
    assert copied.dtype == dtype
    assert not count or copied.ctypes.data % pages.LINE == 0
    np.testing.assert_array_equal(copied, array)
    assert not np.shares_memory(copied, array)


@pytest.mark.parametrize("count", [2**57, 2**60, np.int64(2**60)])  # more than the system has, and can count
def test_no_room_is_a_memory_error(count):
    with pytest.raises(MemoryError):
        pages.zeros(count, np.float64)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process")
@pytest.mark.parametrize(
    "made",
    ["array = pages.zeros(2**20, np.float64)\narray += 1", "array = hg.mlp([1023, 1024]).init(0)"],
    ids=["array", "parameters"],
)
def test_it_comes_back_at_once(made):
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT.format(made=made)], capture_output=True, text=True, check=True
    )
    held, left = map(float, done.stdout.split())
    assert held > 7
    assert left < held - 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_its_own():
    array = pages.zeros(pages.LARGE, np.uint8)
    child = os.fork()
    if not child:
        try:
            array += 1
        finally:
            os._exit(int(array[-1]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert not array.any()


def test_parameters_of_many_numbers_are_as_any():
    params = hg.mlp([600, 500]).init(0)
    assert params.flat.nbytes > pages.LARGE
    copied = pickle.loads(pickle.dumps(params))
    copied.flat += 1
    np.testing.assert_array_equal(copied.flat, params.flat + 1)
    assert params.flat.flags.writeable
