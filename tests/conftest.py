"""What all tests share."""

from hypothesis import settings

settings.register_profile("house")  # no test asserts a time: machines are shared
settings.load_profile("house")
