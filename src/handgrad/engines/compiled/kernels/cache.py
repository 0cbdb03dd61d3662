"""Compiled kernels, kept on the disk between runs.

Numba's own cache is not used: it sees changes of one source file alone, fails on a damaged file and where no folder can
be written, and cannot tell beforehand whether it will compile. This one never fails a run: what cannot be loaded is
compiled, what cannot be written is not kept.

Loading executes machine code, so nothing is loaded from a folder or file that somebody else may have written.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import itertools
import os
import pickle
import re
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from handgrad.engines.compiled.kernels.options import ENTRY
from handgrad.errors import UnsupportedError

Kernel = Callable[..., Any]
UNUSED = 30 * 24 * 3600  # after so many seconds without use a file is deleted
DIGEST = hashlib.sha256().digest_size

_lock = threading.RLock()  # one for all kernels: Numba compiles one at a time anyway
_kernels: dict[tuple[str, str], Kernel] = {}
_announced = False


def compiled(name: str, build: Callable[[], Kernel], signature: Any, *, announce: bool = True) -> Kernel:
    """The kernel `name` for that signature: from disk when it is there, else compiled now and kept there.

    `build` gives the plain function of the entry point; `name` is of letters, digits and underscores. The kernel takes
    exactly the types of the signature and raises TypeError for any other. Numba's errors on compiling come through.
    """
    wanted = (name, str(signature))
    with _lock:
        if wanted not in _kernels:
            _kernels[wanted] = _load_or_compile(name, build, signature, announce)
        return _kernels[wanted]


def is_cached(name: str, signature: Any) -> bool:
    """Whether a sound file of that kernel is on the disk, so that a fresh process would not compile it."""
    return _read(*_place(name, signature)) is not None


def _load_or_compile(name: str, build: Callable[[], Kernel], signature: Any, announce: bool) -> Kernel:
    from numba import njit
    from numba.core import config
    from numba.core.bytecode import FunctionIdentity
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.serialize import dumps

    if getattr(config, "DISABLE_JIT", 0):
        raise UnsupportedError("the compiled engine needs Numba's compiler, which NUMBA_DISABLE_JIT turns off")
    dispatcher: Any = njit(**ENTRY)(build())
    path, key = _place(name, signature)
    with global_compiler_lock:  # as the user's own Numba functions may be compiling in another thread
        if not _load(dispatcher, path, key):
            if announce:
                _announce()
            # Numba numbers functions from 1 in every process, and the number alone keeps the symbols of a factory's
            # closures apart: two kernels of two processes would share one's inner functions (Numba's issue 10486).
            FunctionIdentity._unique_ids = itertools.count(secrets.randbits(62))
            with _uncollected():
                dispatcher.compile(signature)
            (result,) = dispatcher.overloads.values()
            if path and not result.library.has_dynamic_globals:  # addresses that hold in this process alone
                _write(path, key, name, dumps(result._reduce()))
    return _sealed(dispatcher, name)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Python's collector waits: again and again it would look through all that Numba makes, for 7 % of the time."""
    waits = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if waits:
            gc.enable()


def _load(dispatcher: Any, path: Path | None, key: str) -> bool:
    """Give the dispatcher the kernel from the disk; False where there is none that can be used."""
    from numba.core.compiler import CompileResult
    from numba.core.runtime import rtsys

    payload = _read(path, key)
    if path is None or payload is None:
        return False
    target = dispatcher.targetctx
    rtsys.initialize(target)  # the symbols of Numba's runtime: LLVM ends the process where it misses one
    try:
        result = CompileResult._rebuild(target, *pickle.loads(payload))
    except Exception:  # written by us but of no use: as good as missing
        return False
    target.insert_user_function(result.entry_point, result.fndesc, [result.library])  # for calls from compiled code
    dispatcher.add_overload(result)
    with suppress(OSError):
        os.utime(path)  # in use: so not deleted
    return True


def _sealed(dispatcher: Any, name: str) -> Any:
    """That dispatcher, without new types. Numba's disable_compile() would convert arguments: 2.7 to 2, unsaid."""
    (only,) = dispatcher.overloads

    def refuse(types: tuple[Any, ...]) -> None:
        if tuple(types) != only:  # compiled code asks for the right types too before it calls
            raise TypeError(f"the kernel {name} takes {only}; got {types}")

    dispatcher.compile = refuse
    return dispatcher


def _announce() -> None:
    global _announced
    if not _announced:
        _announced = True
        print("compiling kernels (first run only)", file=sys.stderr, flush=True)


def _place(name: str, signature: Any) -> tuple[Path | None, str]:
    """The kernel's file, or None where none can be kept, and the key to all that its machine code depends on."""
    from numba.core import config
    from numba.core.registry import cpu_target

    parts = [name, str(signature), sys.version, *_versions()]
    parts.append(cpu_target.target_context.codegen().magic_tuple())  # the processor, or the one Numba is told to take
    options = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
    parts += [getattr(config, option) for option in options]
    try:
        parts.append(_sources())
        key = hashlib.sha256(repr(parts).encode()).hexdigest()
        return _folder() / f"{name}-{key[:24]}.kernel", key
    except (OSError, RuntimeError):  # no sources to tell a change by; RuntimeError: a user without a home
        return None, ""


@functools.cache
def _versions() -> tuple[str, ...]:
    return tuple(map(version, ("numba", "llvmlite", "numpy")))


@functools.cache
def _sources() -> str:
    """A digest of the engine's sources; FileNotFoundError where it was installed without."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    if not files:
        raise FileNotFoundError("no sources")
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _folder() -> Path:
    """HANDGRAD_CACHE_DIR, or a folder in the user's own for caches; RuntimeError where the user has no home."""
    if given := os.environ.get("HANDGRAD_CACHE_DIR"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "handgrad"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "handgrad"
    caches = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(caches) if os.path.isabs(caches) else Path.home() / ".cache") / "handgrad"


def _trusted(status: os.stat_result) -> bool:
    """Whether nobody but the user can have written there."""
    return os.name != "posix" or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)


def _read(path: Path | None, key: str) -> bytes | None:
    """The kernel as written there; None where there is none, or a damaged one, another's or one not to be trusted."""
    with suppress(OSError):
        if path is not None and _trusted(path.parent.stat()):
            with open(path, "rb") as file:
                content = file.read() if _trusted(os.fstat(file.fileno())) else b""
            if content[:DIGEST] == hashlib.sha256(key.encode() + content[DIGEST:]).digest():
                return content[DIGEST:]
    return None


def _write(path: Path, key: str, name: str, payload: bytes) -> None:
    """Keep the kernel there, where that can be done, in one step; and delete old ones of that name."""
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not all(_trusted(place.stat()) for place in (path.parent, path) if place.exists()):
            return
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:  # no flushing to the disk, as the digest shows a file that was cut short
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(key.encode() + payload).digest() + payload)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):  # its place is taken already
                os.unlink(temporary)
            raise
        ours = re.compile(rf"\.?{name}-[0-9a-f]{{24}}\.kernel(\..+\.tmp)?")  # or a temporary one, left by a kill
        for entry in os.scandir(path.parent):
            if ours.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < time.time() - UNUSED:
                os.unlink(entry)
