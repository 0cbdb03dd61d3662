"""Special functions that the array API standard leaves out, taken from each array library's own."""

from __future__ import annotations

import array_api_compat
import numpy as np

from handgrad.ops.arrays import Array


def erfc(x: Array) -> Array:
    """1 - erf(x), accurate in both tails."""
    if array_api_compat.is_torch_array(x):
        import torch

        return torch.special.erfc(x)
    if array_api_compat.is_cupy_array(x):
        from cupyx.scipy.special import erfc as cupy_erfc

        return cupy_erfc(x)
    from scipy.special import erfc as scipy_erfc

    y = scipy_erfc(np.asarray(x))
    if array_api_compat.is_numpy_array(x):
        return y
    return array_api_compat.array_namespace(x).asarray(y, device=array_api_compat.device(x))
