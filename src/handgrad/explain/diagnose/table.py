"""A diagnosis in words: plain text, and rich."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handgrad.explain.diagnose.findings import Diagnosis

WIDTH = 80
MOST = 3  # findings of one fault that are told in full


def text(diagnosis: Diagnosis) -> str:
    """All findings in plain text."""
    lines = [verdict(diagnosis)]
    for title, parts in sections(diagnosis):
        lines += ["", textwrap.fill(title, WIDTH, subsequent_indent="  ")]
        width = max(len(word) for word, _ in parts)
        for word, said in parts:
            lead = f"  {word:<{width}}  "
            lines.append(textwrap.fill(said, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead)))
    return "\n".join(lines)


def rendered(diagnosis: Diagnosis) -> Any:
    """All findings for rich, at any width."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown: list[Any] = [Text(verdict(diagnosis), style="bold green" if diagnosis.ok else "bold yellow")]
    for title, parts in sections(diagnosis):
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column()
        for word, said in parts:
            grid.add_row(f"  {word}", Text(said))
        shown += [Text(""), Text(title, style="bold"), grid]
    return Group(*shown)


def verdict(diagnosis: Diagnosis) -> str:
    """The whole in a line."""
    count = len(diagnosis.findings)
    found = "nothing found wrong" if not count else f"{count} finding{'s' * (count > 1)}"
    rows = diagnosis.trace.rows
    return f"{found} in {diagnosis.trace.title}, on {rows:,} row{'s' * (rows != 1)}"


def sections(diagnosis: Diagnosis) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Of each fault the title and what there is to say, word by word; the same fault at many layers is told once."""
    for _, group in groupby(diagnosis.findings, lambda finding: (finding.fault, finding.cause, finding.remedy)):
        same = list(group)
        first, rest = same[0], [finding.layer for finding in same[MOST:]]
        if len(same) == 1:
            title, seen = first.title, [("seen", first.says)]
        else:
            title = f"{first.name}, at {len(same)} layers"
            seen = [(f"at {finding.layer}", finding.says) for finding in same[:MOST]]
        also = [("also", f"at {', '.join(rest)}")] if rest else []
        yield title, [*seen, *also, ("cause", first.cause), ("to do", first.remedy)]
