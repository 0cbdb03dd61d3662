"""How Numba compiles the kernels."""

from __future__ import annotations

from typing import Any

# No "nnan" and "ninf": NaN and infinity must come out as they would in NumPy, since they are looked for.
# error_model: with Python's, which raises, loops with / and sqrt do not vectorise.
# The wrappers that Python calls are made for the entry points alone: each costs compile time.
EXACT: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
INNER = EXACT | {"fastmath": {"nsz", "contract", "reassoc"}}  # sums in any order: so they vectorise
INLINE = INNER | {"inline": "always"}  # for what is called from one place: it is compiled there, once, and not twice
ENTRY = INNER | {"no_cpython_wrapper": False, "no_cfunc_wrapper": False}
