"""How well handgrad's estimators predict, beside scikit-learn's, LightGBM and RealMLP, on real data sets.

    python -m benchmarks.quality
    python -m benchmarks.quality --models tabular,lightgbm --sets wine,diamonds --splits 3
    python -m benchmarks.quality --done              # the tables of what has been run, without a fit

benchmarks/requirements.txt says what to install; a model or a set that is not is left out. Sets are files inside those
packages: nothing is downloaded. A split is a quarter of the rows to test on, and of the rest at most --max-rows to
train on, drawn at random with the split's number, classes in proportion; the number is the model's seed too. Every
model has its own defaults and the preparation that it needs: scaled numbers, one-hot categories and a scaled target for
the linear models and the plain MLPs; medians and marks for missing numbers where a model refuses them; the table as it
is for the others.

Ranks and normalised scores are of the means over splits: 1 is the best model on a set, and of normalised scores 0 is
the constant guess. Seconds are the processor's, of one fit and of one predict, on each set, added up over sets; a
model's first fit in a process is not counted.

Each result is kept as it comes, under the versions that it is of (for handgrad a hash of its sources), so a run that
was cut goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import results
from benchmarks.quality import page
from benchmarks.quality.fits import Plan, run
from benchmarks.quality.models import MODELS
from benchmarks.quality.record import Records
from benchmarks.quality.sets import SETS
from handgrad import checks
from handgrad.cli.bench.command import check_threads

FOLDER = Path(__file__).parents[1]
FILE = FOLDER / "QUALITY.md"
HEAD = "# Predictive quality\n\nWritten by the command below with `--write`. What it measures, it says (`--help`).\n"
PACKAGES = ("handgrad", "numpy", "pandas", "scikit-learn", "lightgbm", "pytabkit", "torch")


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", default=",".join(MODELS), help=f"of {', '.join(MODELS)}")
    parser.add_argument("--sets", default=",".join(SETS), help=f"of {', '.join(SETS)}")
    parser.add_argument("--splits", type=int, default=10, help="of each set")
    parser.add_argument("--max-rows", type=int, default=3000, help="to train on, at most")
    parser.add_argument("--threads", type=int, default=1, help="of each model")
    parser.add_argument("--cache", type=Path, default=FOLDER / ".cache" / "quality.jsonl", help="results so far")
    parser.add_argument("--done", action="store_true", help="fit nothing: the tables of what has been run")
    parser.add_argument("--write", action="store_true", help=f"write the tables to benchmarks/{FILE.name}")
    return parser


def there(kind: str, given: str, table: Mapping[str, Any], notes: list[str]) -> list[str]:
    """Those of a list of names that are installed, in the table's order; the others are noted.

    Raises ValueRangeError for a name that is not there.
    """
    names = {checks.by_name(kind, name.strip(), {key: key for key in table}) for name in given.split(",")}
    reasons = {name: table[name].missing() for name in table if name in names}
    notes += [f"without {name}: {reason}" for name, reason in reasons.items() if reason]
    return [name for name, reason in reasons.items() if not reason]


def main() -> None:
    """Run what is missing, print, and write where asked."""
    given, notes, load = options().parse_args(), list[str](), results.load()
    console = Console(highlight=False, markup=False)
    with results.ended():
        check_threads(given.threads)
        splits, max_rows = checks.whole("splits", given.splits), checks.whole("max_rows", given.max_rows, 50)
        models, sets = there("model", given.models, MODELS, notes), there("set", given.sets, SETS, notes)
        plan, records = Plan(tuple(models), tuple(sets), splits, max_rows, given.threads), Records(given.cache)
        if not given.done:
            with results.Progress() as say:
                notes += run(plan, records, say)
    tables = page.tables(plan, records)
    console.print(tables, soft_wrap=True)
    for note in notes:
        console.print(f"  {note}", soft_wrap=True)
    if given.write:
        facts = [
            ("command", results.command("benchmarks.quality")),
            ("splits", f"{plan.splits} a set, at most {plan.max_rows:,} rows to train on"),
            ("threads", f"{plan.threads}"),
            ("load average before", load),
            *results.machine(PACKAGES),
        ]
        lines = "\n".join([*(f"- {note}" for note in notes), *(f"- {name}: {value}" for name, value in facts)])
        FILE.write_text(f"{HEAD}\n{tables}\n\n{page.sets(plan)}\n\n{lines}\n")


if __name__ == "__main__":
    main()
