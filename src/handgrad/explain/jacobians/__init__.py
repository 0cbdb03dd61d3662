"""Jacobians of ops, layers and models, their products with vectors, and products with second derivatives."""

from handgrad.explain.jacobians.curvature import gauss_newton_vp, hessian_vp
from handgrad.explain.jacobians.functions import jacobian, jvp, vjp

__all__ = ["gauss_newton_vp", "hessian_vp", "jacobian", "jvp", "vjp"]
