"""How many random examples the tests draw: few by default, HANDGRAD_SOAK times as many in `make soak`."""

import os

FACTOR = int(os.environ.get("HANDGRAD_SOAK", "1"))


def examples(count: int) -> int:
    return count * FACTOR
