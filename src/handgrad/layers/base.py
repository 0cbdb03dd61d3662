"""The contract of a layer: an op bound to named parameters and hyperparameters. Nothing is stored on it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

import numpy as np

from handgrad.errors import DTypeError, ParameterError, ShapeError, UnsupportedError
from handgrad.layers.parameters import Parameter, Parameters
from handgrad.ops.apart import keeps_apart
from handgrad.ops.arrays import Array
from handgrad.ops.base import Cache, Elementwise, Op

Shape = tuple[Any, ...] | None  # of one sample; None where unknown, and ... in front for leading axes not known
Gradients = dict[str, Array]
Visit = Callable[[str, "Layer", Array], None]


class Layer:
    """A pure pair of functions. Subclasses are frozen dataclasses.

    params = layer.init(rng)                                       a mapping of names to arrays
    out, cache = layer.forward(params, x, train=False, rng=None)   train and rng matter to Dropout alone
    dx, grads = layer.backward(dout, cache)                        grads: names and shapes of params
    tangent = layer.jvp(v, {"weight": ...}, cache)                 the derivative along v and the tangents

    Safe to share between threads and to place twice in one model. Most subclasses name an op, its hyperparameters and
    their parameters; everything else follows here. A layer of your own may write forward and backward itself.
    """

    op: ClassVar[Op]

    def parameters(self) -> dict[str, Parameter]:
        """The layer's parameters, in the order in which the op takes them after x."""
        return {}

    def hyper(self) -> dict[str, Any]:
        """The keyword arguments for the op."""
        return {}

    def __repr__(self) -> str:
        """As it would be written: arguments that have their default are left out."""
        parts = []
        for name, argument in inspect.signature(type(self)).parameters.items():
            value = getattr(self, "initializer" if name == "init" else name, ...)
            if value is ...:  # a class of the user's own may keep its arguments elsewhere
                continue
            if argument.default is argument.empty:
                parts.append(repr(list(value) if isinstance(value, tuple) else value))
            elif value is not argument.default and not _equal(value, argument.default):
                parts.append(f"{name}={getattr(value, '__name__', None) or repr(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def output_shape(self, shape: Shape = None) -> Shape:
        """The shape of one sample's output from the shape of its input; None where it can't be known.

        Raises ShapeError when the layer can't take that input. By default a layer whose op is elementwise keeps the
        shape, and of any other it is not known.
        """
        return shape if isinstance(getattr(self, "op", None), Elementwise) else None

    def init(self, rng: np.random.Generator | int, dtype: Any = np.float64) -> Parameters:
        """First values of the parameters. rng: a generator or a seed; dtype: numpy.float32 or numpy.float64."""
        return Parameters.draw(self.parameters(), rng, dtype)

    def forward(
        self, params: Mapping[str, Array], x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Cache]:
        """The output and the cache that backward needs. x: (m, ...), samples as rows."""
        try:
            weights = [params[name] for name in self.parameters()]
        except KeyError as error:
            raise ParameterError(f"params has no {error.args[0]!r}; it has {sorted(params)}") from None
        return self.op.forward(x, *weights, **self.hyper())

    def backward(self, dout: Array, cache: Cache) -> tuple[Array, Gradients]:
        """The downstream gradient dx, and the gradients of the parameters."""
        dx, *grads = self.op.backward(dout, cache)
        return dx, dict(zip(self.parameters(), grads, strict=False))

    def jvp(self, tangent: Array, tangents: Mapping[str, Array], cache: Cache) -> Array:
        """The derivative of the output along `tangent`, of x, and `tangents`, one for each parameter."""
        if not isinstance(getattr(self, "op", None), Op):
            raise UnsupportedError(f"{type(self).__name__} has no op, so that it must have a jvp of its own")
        given = (tangent, *(tangents[name] for name in self.parameters()))
        left_out = [None] * (len(self.op.inputs) - len(given))  # a bias, say
        return self.op.jvp((*given, *left_out), cache)

    def __call__(self, node: Any) -> Any:
        """The layer on a graph's node: a new node. On arrays, call forward."""
        if not hasattr(node, "__handgrad_call__"):
            given = type(node).__name__
            raise DTypeError(f"{self!r} is called on a Graph's node, got {given}; for arrays: forward(params, x)")
        return node.__handgrad_call__(self, node)

    def parameter_gradients(self, dout: Array, cache: Cache) -> Gradients:
        """The gradients of the parameters alone: what a first layer needs, where nobody asks for dx."""
        return self.backward(dout, cache)[1]

    def sample_gradients(self, dout: Array, cache: Cache, dx: bool = True) -> tuple[Array | None, Gradients]:
        """As backward, with the parameters' gradients for each sample alone, as `SampleGradients`; dx=False: no dx.

        Raises UnsupportedError for a layer whose parameters have no such rule, and for one without parameters that
        does not keep samples apart, or is not known to: one of your own may write it.
        """
        if not self.parameters() and self.keeps_apart(cache):
            return self.backward(dout, cache)[0], {}
        rule = getattr(getattr(self, "op", None), "sample_gradients", None)
        if rule is None or type(self).backward is not Layer.backward:
            raise UnsupportedError(f"{type(self).__name__} has no rule for each sample's own gradients")
        down, *gradients = rule(dout, cache, dx)
        return down, dict(zip(self.parameters(), gradients, strict=False))

    def keeps_apart(self, cache: Cache) -> bool:
        """Whether each row of the output is made of the same row of x alone, in the call that left this cache.

        It is asked of layers without parameters. False for one of your own, unless it says so.
        """
        return type(self).backward is Layer.backward and keeps_apart(getattr(self, "op", None), cache)

    def parameter_keys(self) -> dict[str, Hashable]:
        """What tells each parameter from all others: layers placed twice have equal keys."""
        return {name: (id(self), name) for name in self.parameters()}

    def visit(
        self,
        visit: Visit,
        params: Mapping[str, Array],
        x: Array,
        *,
        train: bool = False,
        rng: np.random.Generator | None = None,
        name: str = "",
    ) -> Array:
        """forward, with visit(name, layer, output) called for each layer within that is no container, in order."""
        out, _ = self.forward(params, x, train=train, rng=rng)
        visit(name, self, out)
        return out


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:  # arrays compare to arrays
        return False


def features(shape: Shape, n: int, layer: str) -> tuple[Any, ...]:
    """The leading axes of a sample's shape whose last axis must hold n features. Raises ShapeError when it does not."""
    if shape is None:
        return (...,)
    if not shape or shape[-1] != n:
        raise ShapeError(f"{layer} takes {n} features on the last axis, got samples of shape {shape_text(shape)}")
    return shape[:-1]


def shape_text(shape: tuple[Any, ...]) -> str:
    """The shape as an error shows it: (..., 4)."""
    return "(" + ", ".join("..." if n is ... else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
