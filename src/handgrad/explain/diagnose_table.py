"""A diagnosis in words: plain text, and rich."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handgrad.explain.diagnose import Diagnosis, Finding

WIDTH = 100
PARTS = ("says", "cause", "remedy")
WORDS = {"says": "seen", "cause": "cause", "remedy": "to do"}


def text(diagnosis: Diagnosis) -> str:
    """All findings in plain text."""
    lines = [verdict(diagnosis)]
    for finding in diagnosis.findings:
        lines += ["", title(finding)]
        for part in PARTS:
            lead = f"  {WORDS[part]:<7}"
            lines.append(textwrap.fill(getattr(finding, part), WIDTH, initial_indent=lead, subsequent_indent=" " * 9))
    return "\n".join(lines)


def rendered(diagnosis: Diagnosis) -> Any:
    """All findings for rich, at any width."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = [Text(verdict(diagnosis), style="bold green" if diagnosis.ok else "bold yellow")]
    for finding in diagnosis.findings:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column()
        for part in PARTS:
            grid.add_row(f"  {WORDS[part]}", Text(getattr(finding, part)))
        parts += [Text(""), Text(title(finding), style="bold"), grid]
    return Group(*parts)


def verdict(diagnosis: Diagnosis) -> str:
    """The whole in a line."""
    count = len(diagnosis.findings)
    found = "nothing found wrong" if not count else f"{count} finding{'s' * (count > 1)}"
    return f"{found} in {diagnosis.trace.title}, on {diagnosis.trace.rows:,} rows"


def title(finding: Finding) -> str:
    """What is wrong, and where."""
    from handgrad.explain.diagnose import FAULTS

    return FAULTS[finding.fault] + (f", at {finding.layer}" if finding.layer else "")
