"""The rivals, by name: what each is called, where it is made, and what it needs installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import handgrad.checks as checks
from handgrad.cli.bench.configurations import Configuration


@dataclass(frozen=True)
class Entry:
    """A rival: its title in tables, the class that a worker makes, the modules it needs, the blocks it can't do."""

    title: str
    target: str
    needs: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    ours: bool = False  # handgrad itself: not a rival to be ahead of

    def missing(self, configuration: Configuration) -> str | None:
        """Why it can't run this configuration here, or None."""
        absent = [module for module in self.needs if find_spec(module) is None]
        if absent:
            return f"{' and '.join(absent)} not installed"
        kinds = sorted({block.kind for block in configuration.blocks} & set(self.lacks))
        return f"it has no block {kinds[0]!r}" if kinds else None


_HERE = "handgrad.cli.bench.rivals"

RIVALS = {
    "handgrad": Entry("handgrad", f"{_HERE}.own:Handgrad", ours=True),
    "eager": Entry("handgrad eager", f"{_HERE}.own:Eager", ours=True),
    "torch": Entry("PyTorch eager", f"{_HERE}.pytorch:Torch", ("torch",)),
    "sklearn": Entry("scikit-learn", f"{_HERE}.scikit:Sklearn", ("sklearn",), lacks=("swiglu",)),
    "numpy": Entry("NumPy by hand", f"{_HERE}.plain:Numpy"),
}


def chosen(names: Iterable[str], table: Mapping[str, Entry]) -> dict[str, Entry]:
    """The rivals of those names, in the table's order. Raises ValueRangeError for a name that is not there."""
    wanted = {checks.by_name("rival", name, {key: key for key in table}) for name in names}
    return {name: entry for name, entry in table.items() if name in wanted}
