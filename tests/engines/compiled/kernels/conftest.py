"""A cache of its own for the tests that ask for one."""

import pytest

from engines.compiled.kernels.small import forget


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache, in a process that has asked for no kernel yet."""
    folder = tmp_path / "kernels"
    monkeypatch.setenv("HANDGRAD_CACHE_DIR", str(folder))
    monkeypatch.delenv("HANDGRAD_VECTORS", raising=False)
    forget(monkeypatch)
    return folder
