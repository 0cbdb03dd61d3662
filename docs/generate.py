"""Writes the table of ops in docs/ops.md from what the ops say of themselves, and the pictures of docs/graph.md.

python docs/generate.py
"""

import re
from pathlib import Path

from handgrad import ops

PAGE = Path(__file__).parent / "ops.md"
BEGIN, END = "<!-- table of ops: made by docs/generate.py -->\n", "<!-- end of table -->\n"
GRAPHS = PAGE.with_name("graph.md")
PICTURES = {"graph_small.svg": "small", "graph_sigmoid.svg": "sigmoid"}  # by the name that the page's code has for each


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


def pictures() -> dict[Path, str]:
    """The pictures that the code of docs/graph.md draws, by their files."""
    names: dict[str, object] = {}
    for source in re.findall(r"^```python\n(.*?)^```", GRAPHS.read_text(), re.MULTILINE | re.DOTALL):
        exec(source, names)
        if names.keys() >= set(PICTURES.values()):
            break
    return {PAGE.parent / "images" / file: str(names[name]) for file, name in PICTURES.items()}


if __name__ == "__main__":
    for file, text in {PAGE: page(), **pictures()}.items():
        file.write_text(text)
        print(f"wrote {file}")
