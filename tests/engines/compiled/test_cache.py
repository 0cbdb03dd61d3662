"""Kernels on the disk: found again, never stale, never trusted blindly, and never a reason for a run to fail."""

import errno
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from numba import types
from numba.core import config, event
from numba.extending import intrinsic

from handgrad.engines.compiled import cache

SIGNATURE = types.int64(types.int64)
DAY = 24 * 3600
posix = pytest.mark.skipif(os.name != "posix", reason="owners and permissions of POSIX")

# In a process of its own: python script.py NAME..., which prints what it computed, how often Numba compiled, how long
# the kernels took to get, and whether Numba had been imported by then.
SCRIPT = '''
import json, os, sys, time
from handgrad.engines.compiled import cache
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
    start = time.perf_counter()
    kernels = {name: cache.compiled(name, *KERNELS[name][:2]) for name in sys.argv[1:]}
    seconds = time.perf_counter() - start
    results = {name: kernel(KERNELS[name][2]) for name, kernel in kernels.items()}
print(json.dumps({"results": results, "compiles": len(recorder.buffer) // 2, "seconds": seconds, "early": early}))
'''


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty cache, in a process that has asked for no kernel yet."""
    folder = tmp_path / "kernels"
    monkeypatch.setenv("HANDGRAD_CACHE_DIR", str(folder))
    monkeypatch.delenv("HANDGRAD_VECTORS", raising=False)
    forget(monkeypatch)
    return folder


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


def test_fresh_processes(tmp_path, folder):
    """Two compile at once; a third loads what both left. Both number their closures `inner` alike: they stay apart."""
    both = [start(tmp_path, "thousands", "mixed"), start(tmp_path, "millions", "mixed")]
    for run, err in map(finish, both):
        assert run["compiles"] >= 1
        assert not run["early"], "importing the cache imported Numba"
        assert err == "compiling kernels (first run only)\n"
    assert sorted(file.name.split("-")[0] for file in folder.iterdir()) == ["millions", "mixed", "thousands"]
    run, err = finish(start(tmp_path, "thousands", "millions", "mixed"))
    assert run["results"] == {"thousands": 8000, "millions": 8000000, "mixed": 12.0}
    assert run["compiles"] == 0
    assert run["seconds"] < 1  # 0.25 on an idle machine, nearly all of it Numba getting ready
    assert err == ""


def test_found_again(folder, monkeypatch):
    assert not cache.is_cached("plus", SIGNATURE)
    assert compiles()
    assert cache.is_cached("plus", SIGNATURE)
    forget(monkeypatch)
    assert not compiles()


def test_kept_in_memory(folder):
    kernel = cache.compiled("plus", plus_one, SIGNATURE)
    only_file(folder).unlink()
    assert cache.compiled("plus", plus_one, SIGNATURE) is kernel
    assert not compiles()


def test_permissions(folder):
    compiles()
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o700
        assert only_file(folder).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("loaded", [False, True])
def test_other_types(loaded, monkeypatch):
    kernel = cache.compiled("plus", plus_one, SIGNATURE)
    if loaded:
        forget(monkeypatch)
        kernel = cache.compiled("plus", plus_one, SIGNATURE)
    for wrong in (2.5, 1j, "x", None):
        with pytest.raises(TypeError, match=r"the kernel plus takes \(int64,\); got"):
            kernel(wrong)
    with pytest.raises(TypeError):
        kernel(1, 2)


def test_called_from_compiled_code(monkeypatch):
    compiles()
    forget(monkeypatch)
    loaded = cache.compiled("plus", plus_one, SIGNATURE)

    def caller():
        return lambda x: loaded(x)

    assert compiles("caller", caller)


def test_call_is_quick():
    arguments = range(8)
    kernel = cache.compiled("eight", lambda: lambda a, b, c, d, e, f, g, h: a + h, types.int64(*[types.int64] * 8))
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(1000):
            kernel(*arguments)
        best = min(best, time.perf_counter() - start)
    assert best / 1000 < 2e-6  # 0.4 µs on an idle machine


def damaged(change):
    return lambda file: file.write_bytes(change(file.read_bytes()))


def signed(payload):
    """As a file of ours is, with a payload that is of no use."""

    def replace(file):
        _, key = cache._place("plus", SIGNATURE)
        file.write_bytes(cache.hashlib.sha256(key.encode() + payload).digest() + payload)

    return replace


@pytest.mark.parametrize(
    "corrupt",
    [
        pytest.param(damaged(lambda content: b""), id="empty"),
        pytest.param(damaged(lambda content: content[:20]), id="cut in the digest"),
        pytest.param(damaged(lambda content: content[:32]), id="digest alone"),
        pytest.param(damaged(lambda content: content[: len(content) // 2]), id="cut"),
        pytest.param(damaged(lambda content: bytes([content[0] ^ 1]) + content[1:]), id="flip in the digest"),
        pytest.param(damaged(lambda content: content[:500] + bytes([content[500] ^ 1]) + content[501:]), id="flip"),
        pytest.param(damaged(lambda content: content + b"\0"), id="longer"),
        pytest.param(damaged(lambda content: os.urandom(5000)), id="noise"),
        pytest.param(damaged(lambda content: pickle.dumps({"a": 1})), id="another pickle"),
        pytest.param(signed(pickle.dumps({"a": 1})), id="another pickle, signed"),
        pytest.param(signed(b"garbage"), id="garbage, signed"),
        pytest.param(signed(b"cno.such.module\nthing\n."), id="a pickle of what is missing, signed"),
    ],
)
def test_corrupted(folder, monkeypatch, corrupt):
    compiles()
    file = only_file(folder)
    sound = len(file.read_bytes())
    corrupt(file)
    forget(monkeypatch)
    assert compiles()
    assert abs(len(only_file(folder).read_bytes()) - sound) < 200  # symbols vary in length
    forget(monkeypatch)
    assert not compiles()


def test_corrupted_code_is_never_unpickled(folder, monkeypatch):
    compiles()
    file = only_file(folder)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    forget(monkeypatch)
    monkeypatch.setattr(cache.pickle, "loads", lambda payload: pytest.fail("unpickled"))
    assert not cache.is_cached("plus", SIGNATURE)
    assert compiles()


def test_kernel_of_another_name_in_its_place(folder, monkeypatch):
    """A sound file, renamed: its digest is of another kernel."""
    compiles()
    content = only_file(folder).read_bytes()
    path, _ = cache._place("minus", SIGNATURE)
    path.write_bytes(content)
    assert not cache.is_cached("minus", SIGNATURE)


def test_folder_in_place_of_the_file(folder, monkeypatch):
    compiles()
    file = only_file(folder)
    file.unlink()
    file.mkdir()
    (file / "precious").touch()
    forget(monkeypatch)
    assert compiles()
    assert (only_file(folder) / "precious").exists()


@posix
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_folder_that_others_may_write(folder, monkeypatch, mode):
    compiles()
    folder.chmod(mode)
    forget(monkeypatch)
    assert not cache.is_cached("plus", SIGNATURE)
    assert compiles()
    assert compiles("other")
    only_file(folder)  # the first one: nothing was written


@posix
@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_file_that_others_may_write(folder, monkeypatch, mode):
    compiles()
    file = only_file(folder)
    before = file.read_bytes()
    file.chmod(mode)
    forget(monkeypatch)
    assert not cache.is_cached("plus", SIGNATURE)
    assert compiles()
    assert file.read_bytes() == before


@posix
def test_another_owner(folder, monkeypatch):
    compiles()
    user = os.geteuid()
    monkeypatch.setattr(cache.os, "geteuid", lambda: user + 1)
    forget(monkeypatch)
    assert not cache.is_cached("plus", SIGNATURE)
    assert compiles()
    assert compiles("other")
    only_file(folder)


def test_folder_that_cannot_be_made(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HANDGRAD_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert compiles()
    assert not cache.is_cached("plus", SIGNATURE)
    assert "compiling" in capsys.readouterr().err


@posix
def test_folder_that_cannot_be_written(folder, monkeypatch):
    folder.mkdir(mode=0o555)
    assert compiles()
    if os.geteuid() != 0:
        assert list(folder.iterdir()) == []


def failing(code):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("function", ["tempfile.mkstemp", "os.replace", "os.fdopen", "Path.mkdir"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_full_or_read_only_disk(folder, monkeypatch, function, code):
    folder.mkdir(mode=0o700)
    place, attribute = function.split(".")
    monkeypatch.setattr(getattr(cache, place), attribute, failing(code))
    assert compiles()
    assert list(folder.iterdir()) == []


def test_loads_from_a_read_only_disk(monkeypatch):
    compiles()
    monkeypatch.setattr(cache.os, "utime", failing(errno.EROFS))
    forget(monkeypatch)
    assert not compiles()


def test_no_home(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("HANDGRAD_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", home)
    assert compiles()
    assert not cache.is_cached("plus", SIGNATURE)


@pytest.mark.parametrize(
    ("platform", "variable", "value", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "/far", "/far/handgrad"),
        ("linux", "XDG_CACHE_HOME", "not/absolute", "/home/me/.cache/handgrad"),
        ("linux", "XDG_CACHE_HOME", "", "/home/me/.cache/handgrad"),
        ("darwin", "XDG_CACHE_HOME", "", "/home/me/Library/Caches/handgrad"),
        ("win32", "LOCALAPPDATA", "/local", "/local/handgrad"),
        ("win32", "LOCALAPPDATA", "", "/home/me/AppData/Local/handgrad"),
        ("linux", "HANDGRAD_CACHE_DIR", "/mine", "/mine"),
    ],
)
def test_default_folder(monkeypatch, platform, variable, value, expected):
    monkeypatch.setenv("HANDGRAD_CACHE_DIR", "")
    monkeypatch.setattr(cache.sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    monkeypatch.setenv(variable, value)
    assert cache._folder() == Path(expected)


def key(name="plus", signature=SIGNATURE):
    return cache._place(name, signature)[1]


@pytest.mark.parametrize("option", ["CPU_NAME", "BOUNDSCHECK", "OPT"])
def test_key_depends_on_numbas_options(monkeypatch, option):
    before = key()
    monkeypatch.setattr(config, option, "skylake" if option == "CPU_NAME" else 1)
    assert key() != before


def test_key_depends_on_everything(monkeypatch):
    keys = [key(), key("minus"), key(signature=types.int32(types.int64)), key(signature=(types.int64,))]
    with monkeypatch.context() as patch:
        patch.setenv("HANDGRAD_VECTORS", "avx2")
        keys.append(key())
    for attribute, value in [("_sources", lambda: "changed"), ("version", lambda package: package + "7")]:
        with monkeypatch.context() as patch:
            patch.setattr(cache, attribute, value)
            keys.append(key())
    with monkeypatch.context() as patch:
        patch.setattr(cache.sys, "version", "3.99")
        keys.append(key())
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]


def test_changed_source_compiles_anew(tmp_path, monkeypatch):
    compiles()
    sources = tmp_path / "sources"
    sources.mkdir()
    monkeypatch.setattr(cache, "__file__", str(sources / "cache.py"))
    monkeypatch.setattr(cache, "_sources", cache._sources.__wrapped__)
    keys = []
    for name, text in [("a.py", "x = 1"), ("a.py", "x = 2"), ("b.py", "x = 3"), ("c.txt", "no source")]:
        (sources / name).write_text(text)
        keys.append(key())
    (sources / "a.py").rename(sources / "d.py")
    assert len({*keys, key()}) == 4
    assert keys[2] == keys[3]
    forget(monkeypatch)
    assert compiles()


def test_nothing_is_kept_without_sources(tmp_path, folder, monkeypatch):
    """Installed without them, a kernel could not be told from one of another version."""
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "nowhere" / "cache.py"))
    monkeypatch.setattr(cache, "_sources", cache._sources.__wrapped__)
    assert compiles()
    assert not folder.exists()


def test_sources_are_read_once(monkeypatch):
    key()
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read again"))
    key()


def test_switch_of_vectors_gives_another_kernel(folder, monkeypatch):
    assert compiles()
    monkeypatch.setenv("HANDGRAD_VECTORS", "avx2")
    assert compiles()
    assert len(list(folder.iterdir())) == 2
    monkeypatch.delenv("HANDGRAD_VECTORS")
    assert not compiles()


def test_threads_compile_once(folder):
    builds = []

    def build():
        builds.append(None)
        return plus_one()

    kernels = []
    threads = [
        threading.Thread(target=lambda: kernels.append(cache.compiled("plus", build, SIGNATURE))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert len(kernels) == 5
    assert len(set(map(id, kernels))) == 1


def test_old_files(folder, monkeypatch):
    stem = "0123456789abcdef01234567"
    old = [f"plus-{stem}.kernel", f".plus-{stem}.kernel.ab_12.tmp"]
    young = [f"plus-{stem[::-1]}.kernel"]
    foreign = ["plus.kernel", "plus-notes.kernel", f"plus_more-{stem}.kernel", f"plus-{stem}.kernel.bak", "plus.py"]
    folder.mkdir(mode=0o700)
    for age, names in [(31, old), (29, young), (400, foreign)]:
        for name in names:
            (folder / name).touch()
            os.utime(folder / name, (time.time() - age * DAY,) * 2)
    compiles()
    path, _ = cache._place("plus", SIGNATURE)
    assert {file.name for file in folder.iterdir()} == {path.name, *young, *foreign}


def test_use_keeps_a_file_young(folder, monkeypatch):
    compiles()
    os.utime(only_file(folder), (time.time() - 20 * DAY,) * 2)
    forget(monkeypatch)
    assert not compiles()
    assert only_file(folder).stat().st_mtime > time.time() - DAY


def test_announced_once_and_only_when_compiling(monkeypatch, capsys):
    compiles()
    compiles("other")
    captured = capsys.readouterr()
    assert captured.err == "compiling kernels (first run only)\n"
    assert captured.out == ""
    forget(monkeypatch)
    compiles()
    assert capsys.readouterr().err == ""


def test_announced_on_request_alone(capsys):
    cache.compiled("plus", plus_one, SIGNATURE, announce=False)
    assert capsys.readouterr().err == ""
    compiles("other")
    assert "compiling" in capsys.readouterr().err


def test_interrupted_compiling(folder):
    patient = False

    @intrinsic
    def slow(typing, x):
        def codegen(context, builder, signature, args):
            if not patient:
                raise KeyboardInterrupt
            return args[0]

        return types.int64(types.int64), codegen

    def build():
        return lambda x: slow(x) + 1

    with pytest.raises(KeyboardInterrupt):
        cache.compiled("plus", build, SIGNATURE)
    assert not folder.exists()
    patient = True
    assert compiles(build=build)


@pytest.mark.parametrize("late", [False, True])
def test_interrupted_writing(folder, monkeypatch, late):
    replace = os.replace

    def interrupted(*args):
        if late:
            replace(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compiles()
    assert len(list(folder.iterdir())) == late
    assert compiles() != late


def test_addresses_of_this_process_are_not_kept(folder):
    import ctypes

    absolute = ctypes.CDLL(None).abs if os.name == "posix" else ctypes.cdll.msvcrt.abs
    absolute.argtypes, absolute.restype = [ctypes.c_int], ctypes.c_int
    assert compiles(build=lambda: lambda x: absolute(x) + 1)
    assert not cache.is_cached("plus", SIGNATURE)


def test_faults_of_a_kernel_come_through(folder):
    from numba.core.errors import TypingError

    with pytest.raises(TypingError):
        cache.compiled("plus", lambda: lambda x: x.nothing, SIGNATURE)
    assert not folder.exists()
