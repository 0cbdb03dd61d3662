"""The same table on other array libraries: outputs and gradients equal NumPy's, and float32 stays float32."""

import importlib
from typing import Any

import numpy as np
import pytest

from proofs import close
from table import CASES, Case

TOLERANCES = {"float64": 1e-12, "float32": 2e-5}


@pytest.fixture(params=["array_api_strict", "torch"])
def library(request) -> Any:
    return pytest.importorskip(
        request.param, reason=f"needs {request.param}; for PyTorch: make test EXTRA=torch==2.13.0"
    )


def convert(value: Any, library: Any) -> Any:
    # a copy: other tests make the table's arrays read-only, of which PyTorch warns
    return library.asarray(value.copy()) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_op_gives_numpys_numbers(case: Case, library: Any, dtype: str) -> None:
    inputs, tangents = case.draw(dtype=dtype), case.draw(1, dtype)
    out, cache = case.forward(inputs)
    u = case.upstream(out)
    there = [tuple(convert(x, library) for x in arrays) for arrays in (inputs, tangents)]
    args = [convert(a, library) for a in case.args]
    hyper = {name: convert(value, library) for name, value in case.hyper.items()}
    given, given_cache = case.op.forward(*there[0], *args, **hyper)
    tolerance = TOLERANCES[dtype]
    results = [
        ("output", given, out),
        ("tangent", case.op.jvp(there[1], given_cache), case.op.jvp(tangents, cache)),
        *zip(
            case.op.inputs,
            case.op.backward(convert(u, library), given_cache),
            case.op.backward(u, cache),
            strict=True,
        ),
    ]
    for name, one, other in results:
        assert (one is None) == (other is None), name
        if one is not None:
            assert type(one) is type(library.asarray(0.0)), f"{name} is {type(one)}"
            assert one.dtype == getattr(library, dtype), f"{name} is {one.dtype}"
            close(np.asarray(one), other, tolerance, name, scale=1e-2)


def test_the_strict_library_is_always_there() -> None:
    assert importlib.import_module("array_api_strict")
