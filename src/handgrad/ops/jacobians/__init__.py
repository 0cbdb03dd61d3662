"""Jacobians that know their structure: what an op's local gradient is, as a linear map that need not be formed."""

from handgrad.ops.jacobians.base import Jacobian, Product, Sum, Transposed, product, total
from handgrad.ops.jacobians.local import Call, local_jacobian
from handgrad.ops.jacobians.maps import (
    Diagonal,
    Implicit,
    Kronecker,
    Reshaped,
    SoftmaxJacobian,
    Stretched,
)

__all__ = [
    "Call",
    "Diagonal",
    "Implicit",
    "Jacobian",
    "Kronecker",
    "Product",
    "Reshaped",
    "SoftmaxJacobian",
    "Stretched",
    "Sum",
    "Transposed",
    "local_jacobian",
    "product",
    "total",
]
