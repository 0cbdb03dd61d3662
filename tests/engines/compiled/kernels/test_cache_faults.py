"""Kernels on the disk that are damaged, not to be trusted or cannot be kept: never a reason for a run to fail."""

import errno
import os
import pickle
from pathlib import Path

import pytest

from engines.compiled.kernels.small import SIGNATURE, compiles, forget, only_file, posix
from handgrad.engines.compiled.kernels import cache

pytestmark = pytest.mark.usefixtures("folder")


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
