"""Measure every op's mutation kill rate and write it to docs/proofs.md: PYTHONPATH=tests python -m mutation.report"""

from __future__ import annotations

from pathlib import Path

from mutation.equivalent import EQUIVALENT
from mutation.harness import Result, measure
from table import OPS, ROWS

PAGE = Path(__file__).parents[2] / "docs" / "proofs.md"
BEGIN, END = "<!-- mutation: begin -->", "<!-- mutation: end -->"
HEAD = "| op | rows | mutants | killed | equivalent | kill rate |\n|---|---:|---:|---:|---:|---:|"


def row(name: str, result: Result) -> str:
    """A line of the table. The rate is of the mutants that change what is computed."""
    alive, equivalent = len(result.survivors), len(result.equivalent)
    killed = result.mutants - alive - equivalent
    rate = 100 * killed / (killed + alive)
    return f"| `{name}` | {len(ROWS[name])} | {result.mutants} | {killed} | {equivalent} | {rate:.4g} % |"


def published(page: str) -> dict[str, str]:
    """Each op's line in the page."""
    lines = page.split(BEGIN)[1].split(END)[0].splitlines()
    return {line.split("`")[1]: line for line in lines if line.startswith("| `")}


def table() -> str:
    results = {name: measure(name) for name in sorted(OPS)}
    alive = sum(len(r.survivors) for r in results.values())
    equivalent = sum(len(r.equivalent) for r in results.values())
    mutants = sum(r.mutants for r in results.values())
    summary = (
        f"{mutants} mutants of {len(results)} ops: {mutants - alive - equivalent} killed, {alive} alive, "
        f"{equivalent} equivalent, for the reasons below."
    )
    lines = "\n".join(row(name, result) for name, result in results.items())
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for (op, mutator, change), why in EQUIVALENT.items():
        reasons.setdefault((mutator, change, why), []).append(f"`{op}`")
    listed = "\n".join(
        f"- {', '.join(names)}, {mutator}, `` {change} ``: {why}." for (mutator, change, why), names in reasons.items()
    )
    return f"{summary}\n\n{HEAD}\n{lines}\n\nEquivalent mutants:\n\n{listed}"


def main() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")


if __name__ == "__main__":
    main()
