"""What the user of the command names as the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Data:
    """given: DATA of the command line: files, a folder, a pattern, or a SELECT.

    table: of a SQLite or DuckDB file. sql: a SELECT over its tables. skip_bad_rows: to count the rows that can't be
    read and go on, in place of an error. text: columns to read as text, also where they look like numbers. spelled: the
    column to keep as the file spells it, too. styles: how cells of text files are written, by their columns, as it was
    found before; it is found anew for all others.
    """

    given: str | None
    table: str | None = None
    sql: str | None = None
    skip_bad_rows: bool = False
    text: frozenset[str] = frozenset()
    spelled: str | None = None
    styles: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What to call it in a title."""
        if self.given is None or self.sql is not None:
            return "the SELECT"
        return Path(self.given).name if self.table is None else f"{Path(self.given).name}, table {self.table}"

    @property
    def arguments(self) -> list[str]:
        """What names the same rows on the command line."""
        options = (("--table", self.table), ("--sql", self.sql))
        beside = [part for option, value in options if value is not None for part in (option, value)]
        return [*([] if self.given is None else [self.given]), *beside, *["--skip-bad-rows"] * self.skip_bad_rows]
