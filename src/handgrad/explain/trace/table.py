"""A trace as two tables, of layers and of parameters: plain text, and rich."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handgrad.explain.trace import LayerTrace, ParameterTrace, Trace

NEAR_ZERO = 1e-6  # of its spread: a mean that is 0 to rounding is shown as 0


def text(trace: Trace) -> str:
    """The whole trace in plain text, within 80 columns for most models."""
    parts = [*headline(trace), ""]
    parts += _aligned(LAYER_HEAD, [_layer_cells(layer, trace.rows) for layer in trace.layers])
    if trace.parameters:
        parts += ["", *_aligned(PARAMETER_HEAD, [_parameter_cells(p) for p in trace.parameters])]
    parts += ["", LEGEND]
    return "\n".join(parts)


def rendered(trace: Trace) -> Any:
    """The whole trace for rich, at any width."""
    from rich.console import Group
    from rich.text import Text

    first, *others = headline(trace)
    parts: list[Any] = [Text(first, style="bold"), *(Text(line, style="dim") for line in others), Text("")]
    parts.append(_table(LAYER_HEAD, [_layer_cells(layer, trace.rows) for layer in trace.layers]))
    if trace.parameters:
        parts += [Text(""), _table(PARAMETER_HEAD, [_parameter_cells(p) for p in trace.parameters])]
    parts += [Text(""), Text(LEGEND, style="dim")]
    return Group(*parts)


def headline(trace: Trace) -> tuple[str, ...]:
    """What was run, what came of it, and what one step would make of that."""
    shape = times(trace.input_shape)
    return (
        f"{trace.title}, {trace.parameter_count:,} parameters in {trace.dtype}; X {shape}",
        f"{trace.loss} {number(trace.loss_value)}; gradient norm {number(trace.gradient_norm)}; "
        f"caches hold {size(trace.cache_bytes)}",
        f"one step of {trace.optimizer} at rate {number(trace.learning_rate)} makes it "
        f"{number(trace.loss_after_step)}, by the gradient alone {number(trace.loss_predicted)}",
    )


LEGEND = (
    "gradient: the norm of the loss's gradient by that output or parameter;\n"
    "update: the norm of one step; update/norm: the share of the parameter it changes"
)
LAYER_HEAD = ("layer", "", "output", "mean", "std", "gradient", "cache", "units")
PARAMETER_HEAD = ("parameter", "shape", "std", "norm", "gradient", "update", "update/norm")


def _layer_cells(layer: LayerTrace, rows: int) -> list[str]:
    values, shape = layer.values, layer.output_shape
    mean = 0.0 if abs(values.mean) < NEAR_ZERO * values.std else values.mean
    return [
        layer.name or "-",
        "x + f(x)" if layer.kind == "Residual" else layer.kind,
        times(shape[1:] if shape[:1] == (rows,) else shape),  # in a graph not all is a batch
        *map(number, (mean, values.std, layer.gradient.norm)),
        size(layer.cache_bytes),
        units(layer),
    ]


def _parameter_cells(p: ParameterTrace) -> list[str]:
    numbers = (p.values.std, p.values.norm, p.gradient.norm, p.update_norm, p.update_ratio)
    return [p.name, times(p.shape), *map(number, numbers)]


def units(layer: LayerTrace) -> str:
    """What there is to say of its units: dead ones, flat ones."""
    said = []
    if layer.dead is not None:
        said.append(f"{len(layer.dead)} of {layer.units} dead")
    if layer.saturation is not None:
        said.append(f"{layer.saturation:.0%} flat")
    if layer.values.bad:
        said.append(f"{layer.values.bad} not finite")
    return ", ".join(said)


def number(value: float) -> str:
    """Three digits; a dash for what is not there."""
    if math.isnan(value):
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{value:.1e}"


def size(count: int) -> str:
    """Bytes in the unit that reads best."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.3g} {unit}"


def times(shape: Sequence[int]) -> str:
    """A shape as 64 x 10."""
    return " x ".join(map(str, shape)) or "1"


def _aligned(head: Sequence[str], rows: list[list[str]]) -> list[str]:
    """Lines: the head, a rule, the rows; names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    left = _left(head)
    lines = [
        "  ".join(
            cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in (list(head), *rows)
    ]
    rule = "-" * max(map(len, lines))
    return [lines[0].rstrip(), rule, *(line.rstrip() for line in lines[1:])]


def _left(head: Sequence[str]) -> set[int]:
    return {i for i, name in enumerate(head) if name in ("layer", "", "output", "units", "parameter", "shape")}


def _table(head: Sequence[str], rows: list[list[str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    left = _left(head)
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i in left else "right", no_wrap=i == 0, overflow="fold")
    for row in rows:
        cells = [Text(cell, style="cyan" if i == 0 else "yellow" if _warns(cell) else "") for i, cell in enumerate(row)]
        table.add_row(*cells)
    return table


def _warns(cell: str) -> bool:
    return (" dead" in cell and not cell.startswith("0 of")) or "not finite" in cell
