"""A view as one HTML file that needs nothing else, and as a frame within another page."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from handgrad.errors import HandgradError
from handgrad.explain.view.picture import picture

if TYPE_CHECKING:
    from handgrad.explain.view.outputs import View

SCRIPT = "page.js"  # beside this module: the page, built from web/
EXPORT = re.compile(r"export\s*\{([^{}]*)\}\s*;?\s*$")  # its last statement
PLACE, DATA = "handgrad-view", "handgrad-document"
HEIGHT = 860  # pixels of a frame
# no request of any kind is allowed: not of scripts, fonts, pictures, nor of data
POLICY = (
    "default-src 'none'; script-src '{hash}'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="handgrad {library}">
<title>{title}</title>
<style>html, body {{ margin: 0; height: 100% }} #{place} {{ min-height: 100% }}</style>
</head>
<body>
<div id="{place}"><p>Where nothing else appears here, this browser does not run the page's script.</p></div>
<noscript>
<h1>{title}</h1>
<p>This page shows more where scripts are allowed. The network, with the gradient at each place:</p>
{pictures}
</noscript>
<script type="application/json" id="{data}">{json}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def page(view: View) -> str:
    """The whole file."""
    script, digest = _inline()
    return PAGE.format(
        policy=escape(POLICY.format(hash=digest)),
        title=escape(view.title),
        library=escape(str(view.document["library"])),
        place=PLACE,
        data=DATA,
        pictures="\n".join(picture(document) for document in view.documents),
        json=embedded(view.to_json()),
        script=script,
    )


def frame(view: View, height: int = HEIGHT) -> str:
    """The page in a frame: it reaches nothing of the page around it, and stays in a notebook that is saved."""
    told = f"{escape(view.title)}: a page by handgrad.view, to be seen where notebooks are trusted."
    return (
        f'<iframe sandbox="allow-scripts" title="{escape(view.title)}" width="100%" height="{height}" '
        f'style="border: 1px solid #8a939c; border-radius: 4px" srcdoc="{escape(page(view))}">{told}</iframe>'
    )


def embedded(json: str) -> str:
    """JSON as it may stand in a script element: no character in it ends that, or a line of JavaScript."""
    return json.replace("<", r"\u003c").replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")


@lru_cache(maxsize=1)
def _inline() -> tuple[str, str]:
    """(the page's module with the call that starts it, the hash by which the policy knows it)."""
    text = source()
    found = EXPORT.search(text)
    names = dict(re.findall(r"([\w$]+)\s+as\s+(\w+)", found[1])) if found else {}
    mount = next((local for local, name in names.items() if name == "mount"), None)
    if mount is None:
        raise HandgradError(f"{SCRIPT} must end with an export of mount: build it anew from web/")
    assert found is not None
    start = f'{mount}(document.getElementById("{PLACE}"),document.getElementById("{DATA}").textContent);'
    script = text[: found.start()] + start
    # within a script element these two would end it, or begin another; in strings, where they stand, \x3c is the same
    script = re.sub(r"<(?=/?script)", r"\\x3c", script, flags=re.IGNORECASE)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return script, f"sha256-{digest}"


def source() -> str:
    """The page's module, as it is in the package."""
    return files("handgrad.explain.view").joinpath(SCRIPT).read_text("utf-8")
