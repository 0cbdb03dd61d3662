"""What all containers share: names for the parameters of layers within layers, each shared one counted once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager

from handgrad.errors import DTypeError, HandgradError, ParameterError
from handgrad.layers.base import Gradients, Layer
from handgrad.layers.parameters import Parameter
from handgrad.ops.arrays import Array


class Container(Layer):
    """A layer made of layers, which `children` names. A parameter is called as PyTorch calls it: "0.weight".

    The same layer placed twice, here or in containers within, has one set of parameters, under the name of its first
    place, and its gradients add.
    """

    _specs: dict[str, Parameter]
    _names: dict[str, dict[str, str]]  # child -> the child's name of a parameter -> this container's name of it

    def children(self) -> dict[str, Layer]:
        """The layers within, by their place."""
        raise NotImplementedError

    def _bind(self) -> None:
        """Give every parameter of the children its name here. To be called once, at the end of construction."""
        specs: dict[str, Parameter] = {}
        names: dict[str, dict[str, str]] = {}
        first: dict[Hashable, str] = {}
        for place, child in self.children().items():
            if not isinstance(child, Layer):
                raise DTypeError(f"{place} of {type(self).__name__} must be a Layer, got {type(child).__name__}")
            keys = child.parameter_keys()
            names[place] = {}
            for name, spec in child.parameters().items():
                own = first.setdefault(keys[name], f"{place}.{name}")
                specs.setdefault(own, spec)
                names[place][name] = own
        object.__setattr__(self, "_specs", specs)
        object.__setattr__(self, "_names", names)

    def parameters(self) -> dict[str, Parameter]:
        return dict(self._specs)

    def parameter_keys(self) -> dict[str, Hashable]:
        keys: dict[str, Hashable] = {}
        for place, child in self.children().items():
            for name, key in child.parameter_keys().items():
                keys.setdefault(self._names[place][name], key)
        return keys

    def _params_of(self, params: Mapping[str, Array], place: str) -> dict[str, Array]:
        """The child's parameters, under the child's own names."""
        try:
            return {name: params[own] for name, own in self._names[place].items()}
        except KeyError as error:
            raise ParameterError(f"params has no {error.args[0]!r}; it has {sorted(params)}") from None

    def _add_gradients(self, grads: Gradients, place: str, of_child: Gradients) -> None:
        """Put the child's gradients under this container's names, added where the parameter is shared."""
        for name, own in self._names[place].items():
            gradient, before = of_child[name], grads.get(own)
            grads[own] = (
                before + gradient
                if before is not None and gradient is not None
                else (before if gradient is None else gradient)
            )


@contextmanager
def within(place: str) -> Iterator[None]:
    """Errors that arise inside say that they did so at `place`."""
    try:
        yield
    except HandgradError as error:
        raise error.within(place) from error.__cause__
