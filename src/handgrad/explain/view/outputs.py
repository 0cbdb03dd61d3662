"""`View`: a document and its three outputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from handgrad.errors import ValueRangeError
from handgrad.explain.svg import Picture
from handgrad.explain.view import schema
from handgrad.formats.atomic import replacing


@dataclass(frozen=True, repr=False)
class View:
    """What `view` gives: the document, as JSON's types, and all that can be made of it.

    Shown by itself, a notebook gets the page in a frame of its own, which stays in the file when it is saved, and shows
    when that is opened again, with a kernel or without; `widget()` is for a page that Python goes on changing.
    """

    document: dict[str, Any]

    @classmethod
    def together(cls, views: Sequence[View], title: str) -> Self:
        """Several on one page, with a menu of their titles."""
        if not views:
            raise ValueRangeError("views must hold one view at least, got none")
        documents = [document for view in views for document in view.documents]
        head = {name: documents[0][name] for name in ("format", "version", "library")}
        return cls({**head, "title": title, "documents": documents})

    @property
    def title(self) -> str:
        """Of the page."""
        return str(self.document["title"])

    @property
    def documents(self) -> list[dict[str, Any]]:
        """Itself, or those that were put together."""
        return list(self.document.get("documents", [self.document]))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The view that `to_json` wrote. Raises FormatError, which names the field that is wrong, or says that the text
        is cut short or of another version."""
        return cls(schema.read(text))

    def to_json(self, path: str | Path | None = None) -> str:
        """The document as one line of strict JSON, written to `path` if that is given."""
        return _written(json.dumps(self.document, allow_nan=False, separators=(",", ":")), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """One page that works offline: it holds all it needs, and its policy forbids every request."""
        from handgrad.explain.view.html import page

        return _written(page(self), path)

    def to_svg(self, path: str | Path | None = None) -> Picture:
        """A picture of the network, its shapes and the norms of its gradients, for places that run no script."""
        from handgrad.explain.view.picture import picture

        return Picture(_written(picture(self.documents[0]), path))

    def widget(self) -> Any:
        """An anywidget; its `document` may be set to another view's JSON, and the page follows. Needs the extra
        `notebook`. JupyterLab keeps a widget in the file only with Settings > Save Widget State Automatically on."""
        from handgrad.explain.view.widget import widget

        return widget(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from handgrad.explain.view.html import frame

        return {"text/plain": repr(self), "text/html": frame(self)}

    def __repr__(self) -> str:
        counts = [len(variant["graph"]["nodes"]) for each in self.documents for variant in each["variants"]]
        return f"View({self.title!r}, {sum(counts)} nodes; .to_html(path) writes the page)"


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        with replacing(Path(path)) as file:
            file.write(text.encode("utf-8", "replace"))  # a name may hold half a character
    return text
