"""A view as a notebook widget, by anywidget: the same page, whose document Python may change."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from handgrad.errors import HandgradError

if TYPE_CHECKING:
    from handgrad.explain.view.outputs import View


def widget(view: View) -> Any:
    """The widget. Raises HandgradError without anywidget."""
    return _kind()(document=view.to_json())


@cache
def _kind() -> Any:
    """The class, made when first asked for: anywidget is an extra."""
    try:
        import anywidget
        import traitlets
    except ImportError:
        raise HandgradError("a widget needs anywidget: pip install 'handgrad[notebook]'") from None
    from handgrad.explain.view.html import source

    class ViewWidget(anywidget.AnyWidget):
        """document: a view's JSON; set it to show another."""

        _esm = source()
        document = traitlets.Unicode().tag(sync=True)

    return ViewWidget
