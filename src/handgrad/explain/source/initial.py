"""First values of parameters as NumPy code: by their initializer, or as numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import handgrad.initializers as initializers
from handgrad.errors import UnsupportedError
from handgrad.initializers import Constant
from handgrad.layers import Parameter
from handgrad.layers.linear import Transposed

DRAWN: dict[Callable[..., Any], str] = {
    initializers.he_normal: "rng.standard_normal({shape}) * np.sqrt(2 / {n_in})",
    initializers.he_uniform: "rng.uniform(-1, 1, {shape}) * np.sqrt(6 / {n_in})",
    initializers.glorot_normal: "rng.standard_normal({shape}) * np.sqrt(2 / {both})",
    initializers.glorot_uniform: "rng.uniform(-1, 1, {shape}) * np.sqrt(6 / {both})",
    initializers.lecun_normal: "rng.standard_normal({shape}) * np.sqrt(1 / {n_in})",
    initializers.lecun_uniform: "rng.uniform(-1, 1, {shape}) * np.sqrt(3 / {n_in})",
    initializers.zeros: "np.zeros({shape})",
    initializers.ones: "np.ones({shape})",
}


def drawn(name: str, spec: Parameter) -> str:
    """The code that draws a parameter with `rng`. Raises UnsupportedError for an initializer of the caller's own."""
    draw, shape, end = spec.init, spec.shape, ""
    if isinstance(draw, Transposed):
        draw, shape, end = draw.draw, shape[::-1], ".T"
    if isinstance(draw, Constant):
        code = f"np.full({shape}, {draw.value!r})"
    elif draw in DRAWN:
        n_in, n_out = shape[0], int(np.prod(shape[1:]))
        given = shape if len(shape) > 1 else shape[0]
        code = DRAWN[draw].format(shape=given, n_in=n_in, both=n_in + n_out)
    else:
        raise UnsupportedError(
            f"the initializer of {name!r}, {getattr(draw, '__name__', draw)!r}, is none of the library's; "
            "give write_source the first values as params="
        )
    return f"({code}).T" if end and "*" in code else code + end


def written(values: Mapping[str, np.ndarray]) -> str:
    """A function that gives these numbers, exactly."""
    lines = ["def given():", '    """The first values of all parameters, as they were given."""', "    return {"]
    for name, array in values.items():
        numbers = ", ".join(repr(float(x)) for x in array.ravel())
        body = textwrap.fill(numbers, 110, initial_indent=" " * 12, subsequent_indent=" " * 12)
        lines += [f'        "{name}": np.array(', "            [", *[f"    {line}" for line in body.splitlines()]]
        lines += ["            ]", f"        ).reshape({array.shape}),"]
    return "\n".join([*lines, "    }"]) + "\n"
