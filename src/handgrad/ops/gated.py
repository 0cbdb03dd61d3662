"""Gated linear units: content times a function of a gate, both projections of the same input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handgrad.errors import ShapeError
from handgrad.ops.activations import gelu, identity, relu, sigmoid, swish
from handgrad.ops.arrays import Array, operand, same_dtype
from handgrad.ops.base import Cache, Elementwise, Kink, Op, match_upstream
from handgrad.ops.linear import linear


class Gated(Op):
    """y = c * f(g), with the content c = x W1 + b1 first and the gate g = x W2 + b2 second; f is the gate's activation.

    x is (..., n_in), the weights (n_in, n_out), the biases (n_out,) or None. Saves x, c and g (and the two weights, by
    reference): f(g) and f'(g) are taken again in backward, which costs less than to keep them.
    dc = dy f(g) and dg = dy c f'(g); each then flows through its own linear map, and dx is the sum of both.
    Dauphin et al. (2017), "Language modeling with gated convolutional networks"; Shazeer (2020), "GLU variants".
    """

    inputs = ("x", "w_content", "w_gate", "b_content", "b_gate")
    derivative = (
        r"\frac{\partial L}{\partial c} = \frac{\partial L}{\partial y} \odot f(g),\quad"
        r"\frac{\partial L}{\partial g} = \frac{\partial L}{\partial y} \odot c \odot f'(g)"
    )
    saves = "x, c, g"

    def __init__(self, name: str, gate: Elementwise, formula: str, kinks: tuple[Kink, ...] = ()):
        self.name, self.gate, self.formula, self.kinks = name, gate, formula, kinks  # type: ignore[misc]

    def forward(
        self, x: Array, w_content: Array, w_gate: Array, b_content: Array | None = None, b_gate: Array | None = None
    ) -> tuple[Array, Cache]:
        x, w_content, w_gate = operand(x), operand(w_content), operand(w_gate)
        same_dtype(x=x, w_content=w_content, w_gate=w_gate, b_content=b_content, b_gate=b_gate)
        if w_content.shape != w_gate.shape:
            raise ShapeError(
                f"w_content and w_gate must have one shape, got {tuple(w_content.shape)} and {tuple(w_gate.shape)}"
            )
        c, _ = linear.forward(x, w_content, b_content)
        g, _ = linear.forward(x, w_gate, b_gate)
        f, _ = self.gate.value(g)
        return c * f, (x, c, g, w_content, w_gate, b_content is not None, b_gate is not None)

    def backward(
        self, dout: Array, cache: Cache, needs: Sequence[bool] = (True, True, True, True, True)
    ) -> tuple[Any, ...]:
        """(dx, dw_content, dw_gate, db_content, db_gate); None in place of each that `needs` leaves out."""
        dc, dg, cache_c, cache_g = self._branches(dout, cache)
        dx_c, dw_c, db_c = linear.backward(dc, cache_c, needs=(needs[0], needs[1], needs[3]))
        dx_g, dw_g, db_g = linear.backward(dg, cache_g, needs=(needs[0], needs[2], needs[4]))
        return dx_c + dx_g if needs[0] else None, dw_c, dw_g, db_c, db_g

    def _branches(self, dout: Array, cache: Cache) -> tuple[Any, ...]:
        """The gradients by content and gate, and the caches of the two linear maps that they flow through."""
        x, c, g, w_content, w_gate, content_bias, gate_bias = cache
        dout = match_upstream(dout, c.shape, c)
        f, saved = self.gate.value(g)
        dc, dg = dout * f, dout * c * self.gate.local(saved)
        return dc, dg, (x, w_content, content_bias, "in_out", False), (x, w_gate, gate_bias, "in_out", False)

    def sample_gradients(self, dout: Array, cache: Cache, dx: bool = True) -> tuple[Any, ...]:
        """As backward, with the gradients by weights and biases for each sample alone; dx=False leaves dx out."""
        dc, dg, cache_c, cache_g = self._branches(dout, cache)
        dx_c, dw_c, db_c = linear.sample_gradients(dc, cache_c, dx)
        dx_g, dw_g, db_g = linear.sample_gradients(dg, cache_g, dx)
        return dx_c + dx_g if dx else None, dw_c, dw_g, db_c, db_g

    def jvp(self, tangents: Sequence[Any], cache: Cache) -> Array:
        x, c, g, w_content, w_gate, content_bias, gate_bias = cache
        tx, tw_content, tw_gate, tb_content, tb_gate = tangents
        f, saved = self.gate.value(g)
        tc = linear.jvp((tx, tw_content, tb_content), (x, w_content, content_bias, "in_out", False))
        tg = linear.jvp((tx, tw_gate, tb_gate), (x, w_gate, gate_bias, "in_out", False))
        return tc * f + c * self.gate.local(saved) * tg


def _formula(gate: str) -> str:
    return rf"y = (x W_1 + b_1) \odot {gate}"


glu = Gated("glu", sigmoid, _formula(r"\sigma(x W_2 + b_2)"))
swiglu = Gated("swiglu", swish, _formula(r"\operatorname{swish}(x W_2 + b_2)"))
bilinear = Gated("bilinear", identity, _formula(r"(x W_2 + b_2)"))
reglu = Gated("reglu", relu, _formula(r"\max(0, x W_2 + b_2)"), (Kink("x W_2 + b_2 = 0", "0"),))
geglu = Gated("geglu", gelu, _formula(r"\operatorname{gelu}(x W_2 + b_2)"))
