"""Measurements as a table: a column for each configuration, a line for each rival, the comparison below."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from handgrad.cli.bench.suite import OURS, Measurement

Row = tuple[str, list[str]]


def lines(measurements: Sequence[Measurement]) -> tuple[list[Row], list[Row]]:
    """(the rivals with the microseconds of their steps, handgrad beside the best of them and beside the limit)."""
    titles: dict[str, str] = {}
    for measurement in measurements:
        titles |= measurement.titles
    times = [(title, [micros(m.median(name)) for m in measurements]) for name, title in titles.items()]
    times = [row for row in times if any(cell != "-" for cell in row[1])]
    compared: list[Row] = []
    if any(m.limit is not None for m in measurements):
        times.append(("limit", [micros(m.limit) for m in measurements]))
    if any(m.ratio is not None for m in measurements):
        compared.append(("best rival", [m.best_rival or "-" for m in measurements]))
        compared.append(("its time / handgrad's", ["-" if m.ratio is None else f"{m.ratio:.2f}" for m in measurements]))
    if any(m.shares for m in measurements):
        compared.append(("share of the limit", [percent(m.share) for m in measurements]))
        compared.append(("of that at median rates", [percent(m.usual_share) for m in measurements]))
    return times, compared


def micros(seconds: float | None) -> str:
    """Microseconds, with three digits or more."""
    if seconds is None:
        return "-"
    value = 1e6 * seconds
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def percent(share: float | None) -> str:
    """A share in percent."""
    return "-" if share is None else f"{100 * share:.0f} %"


def shown(measurements: Sequence[Measurement], heading: str) -> Table:
    """The table for a terminal, the best time of each column in bold."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(f"  {heading}", no_wrap=True)
    for measurement in measurements:
        table.add_column(measurement.configuration.name, justify="right")
    times, compared = lines(measurements)
    best = [_fastest(measurement) for measurement in measurements]
    for title, cells in times:
        own = any(m.titles.get(OURS) == title for m in measurements)
        styled = [Text(c, style="bold green" if b == title else "") for c, b in zip(cells, best, strict=True)]
        table.add_row(Text(f"  {title}", style="bold" if own else "dim" if title == "limit" else ""), *styled)
    table.add_row("")
    for title, cells in compared:
        table.add_row(Text(f"  {title}", style="cyan"), *cells)
    return table


def _fastest(measurement: Measurement) -> str | None:
    medians = {name: measurement.median(name) or 0.0 for name in measurement.seconds}
    return measurement.titles[min(medians, key=lambda name: medians[name])] if medians else None


def markdown(measurements: Sequence[Measurement], heading: str) -> str:
    """The same table in Markdown."""
    times, compared = lines(measurements)
    rows = [
        (heading, [m.configuration.name for m in measurements]),
        ("---", ["---:"] * len(measurements)),
        *times,
        *compared,
    ]
    return "\n".join(f"| {' | '.join((title, *cells))} |" for title, cells in rows)


def left_out(measurements: Sequence[Measurement]) -> list[str]:
    """A sentence for each reason that a rival is left out, with the configurations it is of."""
    found: dict[tuple[str, str], list[str]] = {}
    for measurement in measurements:
        for name, reason in measurement.left_out.items():
            found.setdefault((measurement.titles[name], reason), []).append(measurement.configuration.name)
    sentences = []
    for (title, reason), names in found.items():
        where = "" if len(names) == len(measurements) else f" in {', '.join(names)}"
        sentences.append(f"without {title}{where}: {reason}")
    return sentences
