"""Measure `diagnose` on networks with and without faults and write docs/diagnose.md's tables.

PYTHONPATH=tests python -m explain.diagnose.report
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

from explain.diagnose.faults import FAULTS
from explain.diagnose.networks import FIRST, healthy
from explain.diagnose.others import FIRST_OTHER, OTHERS
from handgrad.explain.diagnose import FAULTS as FAULT_NAMES
from handgrad.explain.diagnose.limits import LIMITS

PAGE = Path(__file__).parents[3] / "docs" / "diagnose.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
LIMITS_BEGIN, LIMITS_END = "<!-- limits: begin -->", "<!-- limits: end -->"
OTHERS_BEGIN, OTHERS_END = "<!-- others: begin -->", "<!-- others: end -->"
COUNT, OTHER_COUNT = 100, 20
HEAD = (
    "| planted | how | found | at its layer | false alarms at the start | false alarms, trained |\n"
    "|---|---|---:|---:|---:|---:|"
)


def hits(name: str, seeds: range) -> tuple[int, int]:
    """(networks in which the planted fault was found, and of these at the layer it was planted in)."""
    fault, plant = FAULTS[name]
    found = placed = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # faulty networks overflow
        for seed in seeds:
            planted = plant(seed)
            said = planted.network.diagnose()[fault]
            found += bool(said)
            placed += any(planted.layer in (None, finding.layer) for finding in said)
    return found, placed


def alarms(count: int) -> tuple[Counter[str], Counter[str]]:
    """How many healthy networks each fault was said of: at their start, and trained."""
    start, trained = Counter[str](), Counter[str]()
    for pair in healthy(count):
        for network, counter in zip(pair, (start, trained), strict=True):
            counter.update({finding.fault for finding in network.diagnose().findings})
    return start, trained


def row(name: str, found: tuple[int, int], count: int, start: Counter[str], trained: Counter[str]) -> str:
    """A line of the table."""
    fault, plant = FAULTS[name]
    how = (plant.__doc__ or "").strip().rstrip(".")
    share = [f"{n} of {count}" for n in found]
    return f"| {name} | {how} | {share[0]} | {share[1]} | {start[fault]} | {trained[fault]} |"


def table(count: int = COUNT) -> str:
    start, trained = alarms(count)
    lines = [row(name, hits(name, range(FIRST, FIRST + count)), count, start, trained) for name in FAULTS]
    drawn = healthy(count)[-1][0].seed + 1 - FIRST
    healthy_ones = f"The {count} healthy networks are those that learnt of the first {drawn} drawn."
    return "\n".join([HEAD, *lines, "", healthy_ones])


def other_alarms(place: int, seeds: range) -> tuple[Counter[str], Counter[str]]:
    """The same, of a family of OTHERS."""
    make, epochs = OTHERS[place]
    start, trained = Counter[str](), Counter[str]()
    for network in map(make, seeds):
        for each, counter in ((network, start), (network.trained(epochs), trained)):
            counter.update({finding.fault for finding in each.diagnose().findings})
    return start, trained


def others(count: int = OTHER_COUNT) -> str:
    """The table of the other families."""
    lines = [f"| {count} networks of each kind | false alarms at the start | false alarms, trained |", "|---|---|---|"]
    for place, (make, _) in enumerate(OTHERS):
        found = other_alarms(place, range(FIRST_OTHER, FIRST_OTHER + count))
        said = [", ".join(f"{n} {FAULT_NAMES[fault]}" for fault, n in each.items()) or "0" for each in found]
        lines.append(f"| {make.__doc__} | {said[0]} | {said[1]} |")
    return "\n".join(lines)


def limits() -> str:
    """Every threshold and its reason."""
    lines = ["| limit | value | why |", "|---|---:|---|"]
    return "\n".join([*lines, *(f"| {name} | {limit.value:g} | {limit.reason} |" for name, limit in LIMITS.items())])


def between(page: str, begin: str, end: str) -> str:
    """What stands between two marks."""
    return page.split(begin)[1].split(end)[0].strip()


def replaced(page: str, begin: str, end: str, text: str) -> str:
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"


def main() -> None:
    parts = ((LIMITS_BEGIN, LIMITS_END, limits()), (OTHERS_BEGIN, OTHERS_END, others()), (BEGIN, END, table()))
    page = PAGE.read_text()  # only now, since measuring takes minutes
    for begin, end, text in parts:
        page = replaced(page, begin, end, text)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
