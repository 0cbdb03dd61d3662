"""Kernels on the disk: found again, never stale, compiled once, and old ones deleted."""

import gc
import os
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from numba import types
from numba.core import config
from numba.extending import intrinsic

from engines.compiled.kernels.small import DAY, SIGNATURE, compiles, finish, forget, only_file, plus_one, start
from handgrad.engines.compiled.kernels import cache

pytestmark = pytest.mark.usefixtures("folder")


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
    assert not run["whole"], "what Numba needs to compile alone was imported"
    assert run["own"] == 42
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


def key(name="plus", signature=SIGNATURE):
    return cache._place(name, signature)[1]


@pytest.mark.parametrize("option", ["CPU_NAME", "BOUNDSCHECK", "OPT"])
def test_key_depends_on_numbas_options(monkeypatch, option):
    before = key()
    monkeypatch.setattr(config, option, "skylake" if option == "CPU_NAME" else 1)
    assert key() != before


def test_key_depends_on_everything(monkeypatch):
    keys = [key(), key("minus"), key(signature=types.int32(types.int64)), key(signature=(types.int64,))]
    for attribute, value in [("_sources", lambda: "changed"), ("version", lambda package: package + "7")]:
        with monkeypatch.context() as patch:
            patch.setattr(cache, "_versions", cache._versions.__wrapped__)
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


@pytest.mark.parametrize("collects", [False, True])
@pytest.mark.parametrize("fault", [None, KeyboardInterrupt])
def test_the_collector_of_cycles_waits_while_numba_compiles(collects, fault):
    """And goes on as it was, also where compiling ends early."""
    seen = []

    @intrinsic
    def look(typing, x):
        def codegen(context, builder, signature, args):
            seen.append(gc.isenabled())
            if fault:
                raise fault
            return args[0]

        return types.int64(types.int64), codegen

    (gc.enable if collects else gc.disable)()
    try:
        with pytest.raises(fault) if fault else nullcontext():
            cache.compiled("plus", lambda: lambda x: look(x) + 1, SIGNATURE)
        assert gc.isenabled() == collects
    finally:
        gc.enable()
    assert seen
    assert not any(seen)


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
