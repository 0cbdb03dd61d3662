"""What all tests share."""

import gc

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)  # no test asserts a time: machines are shared
settings.load_profile("house")


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
