"""Writes the table of ops in docs/ops.md from what the ops say of themselves.

python docs/generate.py
"""

from pathlib import Path

from handgrad import ops

PAGE = Path(__file__).parent / "ops.md"
BEGIN, END = "<!-- table of ops: made by docs/generate.py -->\n", "<!-- end of table -->\n"


def table() -> str:
    """One row an op: name, formula, local gradient, what the cache holds, kinks."""
    lines = ["| op | formula | gradient | saves | at a kink |", "|---|---|---|---|---|"]
    for name in ops.__all__:
        op = getattr(ops, name)
        if isinstance(op, ops.Op):
            kinks = "; ".join(f"${kink.where}$: ${kink.subgradient}$" for kink in op.kinks)
            # a bar would end the cell
            formula, derivative = (text.replace("|", r"\vert ") for text in (op.formula, op.derivative))
            lines.append(f"| `{name}` | ${formula}$ | ${derivative}$ | {op.saves} | {kinks} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """docs/ops.md with the table as it should be."""
    before, rest = PAGE.read_text().split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
