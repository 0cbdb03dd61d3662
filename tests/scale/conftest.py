"""One Ray cluster for all tests that need it, whichever of pytest's processes they run in, and one of them at a time:
several trainings at once are more processes than a small machine has room for."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import pytest

from scale.hosts import environment, possible


def _read_environment() -> None:
    """Have Ray, which may be loaded already, look again at how it is to prove who it is."""
    from ray._raylet import AuthenticationTokenLoader, Config

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that all of pytest's processes see. Skips where there can be no cluster."""
    for name, reason in (("ray", "workers need Ray"), ("torch", "workers are joined by torch.distributed")):
        if find_spec(name) is None:
            pytest.skip(reason)
    if sys.platform != "linux":
        pytest.skip("the processes of a cluster are kept together by what Linux alone has")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ray"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def kept_cluster(shared):
    """The address of the cluster, for as long as the tests last."""
    from scale.keeper import kept

    with kept(shared, "one") as notes:
        yield notes["address"]


@pytest.fixture
def turn(shared):
    """Meanwhile, no other test of this kind runs."""
    from scale.keeper import locked

    with locked(shared / "turn.lock"):
        yield


@pytest.fixture
def cluster(shared, kept_cluster, turn):
    """The address of the cluster, whose environment is that of this test alone."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment(shared).items():
            patched.setenv(name, value)
        patched.syspath_prepend(shared / "quick")
        _read_environment()
        yield kept_cluster
    _read_environment()


@pytest.fixture
def hosts(shared, turn, tmp_path):
    """Two hosts with a Ray node each."""
    from scale.hosts import Hosts
    from scale.keeper import kept

    if reason := possible():
        pytest.skip(reason)
    with kept(tmp_path, "two") as notes:
        yield Hosts(**notes)
