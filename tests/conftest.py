"""What all tests share."""

import gc
import os

import pytest
from hypothesis import settings

from handgrad.engines.choice import cores

settings.register_profile("house", deadline=None)  # no test asserts a time: machines are shared
settings.load_profile("house")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One process more than there are cores: the tests of subprocesses and browsers wait for a third of their time."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else cores() + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Without looking for garbage, of which 19,000 new tests leave none; nor is any looked for among them later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()
