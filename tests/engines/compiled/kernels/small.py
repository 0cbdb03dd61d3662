"""Small kernels, and how the tests of the cache ask for them."""

import json
import os
import subprocess
import sys

import pytest
from numba import types
from numba.core import event

from handgrad.engines.compiled.kernels import cache

SIGNATURE = types.int64(types.int64)
DAY = 24 * 3600
posix = pytest.mark.skipif(os.name != "posix", reason="owners and permissions of POSIX")

# In a process of its own: python script.py NAME..., which prints what it computed, how often Numba compiled, whether
# Numba had been imported before, whether all of it had been by then, and, where nothing was compiled, what a function
# of the user's own gives after that.
SCRIPT = '''
import json, os, sys
import numpy as np
from handgrad.engines.compiled.kernels import cache
early = "numba" in sys.modules
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, event
from numba.extending import intrinsic

@intrinsic
def four_times(typing, x):
    """Through a vector of LLVM's."""
    def codegen(context, builder, signature, args):
        vector = ir.Constant(ir.VectorType(ir.DoubleType(), 4), ir.Undefined)
        for lane in range(4):
            vector = builder.insert_element(vector, args[0], ir.IntType(32)(lane))
        vector = builder.fadd(builder.fadd(vector, vector), builder.fadd(vector, vector))
        return builder.extract_element(vector, ir.IntType(32)(3))
    return types.float64(types.float64), codegen

@intrinsic
def give_way(typing):
    """Through a function of the C library."""
    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), [])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
    return types.int32(), codegen

def factory(value):
    @njit(no_cpython_wrapper=True)
    def inner(x):  # calls itself, so that it stays a function of its own in the machine code
        return value if x < 2 else inner(x - 1) + inner(x - 2)
    def kernel(x):
        return inner(x)
    return kernel

def mixed():
    @njit(no_cpython_wrapper=True)
    def one(x):
        return four_times(x)
    @njit(no_cpython_wrapper=True)
    def two(x):
        return one(x) + (give_way() if os_is_posix else 0)
    def kernel(x):
        return one(x) + two(x)
    return kernel

os_is_posix = os.name == "posix"
number = types.int64(types.int64)
KERNELS = {
    "thousands": (lambda: factory(1000), number, 5),
    "millions": (lambda: factory(1000000), number, 5),
    "mixed": (mixed, types.float64(types.float64), 1.5),
}
results = {}
with event.install_recorder("numba:compile") as recorder:
    kernels = {name: cache.compiled(name, *KERNELS[name][:2]) for name in sys.argv[1:]}
    results = {name: kernel(KERNELS[name][2]) for name, kernel in kernels.items()}
compiles, whole, own = len(recorder.buffer) // 2, "numba.np.linalg" in sys.modules, None
if not compiles:
    own = njit(lambda x: np.array([x, 2]).sum())(40)
print(json.dumps({"results": results, "compiles": compiles, "early": early, "whole": whole, "own": own}))
'''


def forget(monkeypatch):
    """As in a new process."""
    monkeypatch.setattr(cache, "_kernels", {})
    monkeypatch.setattr(cache, "_announced", False)


def plus_one():
    def kernel(x):
        return x + 1

    return kernel


def compiles(name="plus", build=plus_one, signature=SIGNATURE):
    """Whether asking for the kernel compiles it. It must be right in any case."""
    with event.install_recorder("numba:compile") as recorder:
        assert cache.compiled(name, build, signature)(41) == 42
    return bool(recorder.buffer)


def only_file(folder):
    (file,) = folder.iterdir()
    return file


def start(tmp_path, *names):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONHASHSEED": "0"}  # Numba's symbols depend on it
    command = [sys.executable, str(script), *names]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out), err
