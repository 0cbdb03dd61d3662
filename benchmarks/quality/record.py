"""Results as they come in, a line of JSON each, so that a run can be cut and taken up again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def key_of(facts: Record) -> str:
    """The same for the same facts, whatever their order."""
    return json.dumps(facts, sort_keys=True)


class Records:
    """The lines of a file: each holds `of`, the facts that decide a result (set, model, split, versions, ...), and it.

    A line that a cut left unfinished is passed over, and so is found again. Of two lines of the same facts the later
    one counts.
    """

    def __init__(self, path: Path):
        self.path = path
        self.found: dict[str, Record] = {}
        text = path.read_text() if path.exists() else ""
        self.ended = text.endswith("\n") or not text
        for line in text.splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            self.found[key_of(record["of"])] = record

    def get(self, facts: Record) -> Record | None:
        """The result of these facts, or None."""
        return self.found.get(key_of(facts))

    def add(self, facts: Record, result: Record) -> None:
        """Write it down at once."""
        record = {"of": facts, **result}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(f"{'' if self.ended else chr(10)}{json.dumps(record)}\n")
        self.ended = True
        self.found[key_of(facts)] = record
