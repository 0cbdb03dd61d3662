"""The figures of a trace and of a diagnosis, by matplotlib, in colours that colour-blind people tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from handgrad.explain.diagnose import Diagnosis
    from handgrad.explain.trace import Trace

# of Okabe and Ito's palette; what they tell apart, the shapes of the marks do too
INK, BLUE, ORANGE, GREEN, GREY = "#22262b", "#0072b2", "#d55e00", "#009e73", "#8a939c"
ROW = 0.24  # inches a layer takes
MOST_TICKS = 60
FAR = 30  # times as far as another layer: no straight axis shows both
USUAL = 1e-3  # of a weight's norm, in one step


def plot_trace(trace: Trace) -> Figure:
    """Panels with a row for each layer, the first on top: the spread of its output, the norms of the gradients by it
    and by its parameters, how much of each weight one step changes, and, where there are units that can be, how many
    are dead or flat."""
    return _panels(trace, frozenset())


def plot_diagnosis(diagnosis: Diagnosis) -> Figure:
    """The same, with the layers that a finding names marked, and the findings as the title."""
    named = frozenset(finding.layer for finding in diagnosis.findings if finding.layer)
    figure = _panels(diagnosis.trace, named)
    findings = [finding.title for finding in diagnosis.findings]
    shown = "; ".join(findings[:3]) + (f"; and {len(findings) - 3} more" if len(findings) > 3 else "")
    figure.suptitle(shown or "nothing found wrong", color=ORANGE if findings else GREEN, fontsize=10)
    return figure


def _panels(trace: Trace, marked: frozenset[str]) -> Figure:
    import matplotlib.pyplot as plt

    count = max(len(trace.layers), 1)
    height = min(1.6 + ROW * count, 24)
    with plt.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "text.color": INK}):
        panels = [_spreads, _gradients, _updates]
        if any(layer.dead is not None or layer.saturation is not None for layer in trace.layers):
            panels.append(_idle)
        size = (3 + 2.7 * len(panels), max(height, 2.6))
        figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, layout="constrained")
    for ax, draw in zip(axes, panels, strict=True):
        draw(ax, trace)
        ax.grid(axis="x", color="#e3e6e9", linewidth=0.8)
        ax.set_axisbelow(True)
        for i, layer in enumerate(trace.layers):
            if marked & {layer.name, *layer.parameters}:
                ax.axhspan(i - 0.45, i + 0.45, color=ORANGE, alpha=0.15, linewidth=0)
    every = max(1, -(-count // MOST_TICKS))
    ticks = range(0, len(trace.layers), every)
    axes[0].set_yticks(list(ticks), [_label(trace.layers[i]) for i in ticks])
    for i, tick in zip(ticks, axes[0].get_yticklabels(), strict=True):
        if marked & {trace.layers[i].name, *trace.layers[i].parameters}:
            tick.set(color=ORANGE, fontweight="bold")
    axes[0].set_ylim(count - 0.4, -0.6)
    return figure


def _label(layer: Any) -> str:
    kind = "x + f(x)" if layer.kind == "Residual" else layer.kind
    return f"{kind}  {layer.name}" if layer.name else kind


def _spreads(ax: Any, trace: Trace) -> None:
    """Of each output: from 1 to 99 % a line, from 25 to 75 % a bar, the median a mark."""
    for i, layer in enumerate(trace.layers):
        q = layer.values.quantiles
        if layer.values.bad:
            ax.annotate("not finite", (0.99, i), xycoords=("axes fraction", "data"), color=ORANGE, fontsize=8,
                        ha="right", va="center")  # fmt: skip
        ax.plot([q[0], q[-1]], [i, i], color=BLUE, linewidth=1, solid_capstyle="butt")
        ax.plot([q[2], q[4]], [i, i], color=BLUE, linewidth=6, alpha=0.55, solid_capstyle="butt")
        ax.plot(q[3], i, marker="|", color=INK, markersize=8)
    ax.set_title("values: median, 50 % and 98 % of them", fontsize=9)
    reach = [float(np.abs(layer.values.quantiles).max()) for layer in trace.layers]
    reach = [r for r in reach if 0 < r < np.inf]
    if reach and max(reach) > FAR * min(reach):
        ax.set_xscale("symlog", linthresh=max(min(reach), max(reach) / 1e3))


def _gradients(ax: Any, trace: Trace) -> None:
    """Norms on a logarithmic axis: by the output, and by the layer's parameters."""
    rows = [layer.gradient.norm for layer in trace.layers]
    own = [float(np.linalg.norm(layer.parameter_gradient_norms)) for layer in trace.layers]  # 0 where there are none
    rows, own = ([n if 0 < n < np.inf else np.nan for n in norms] for norms in (rows, own))  # gaps in the line
    places = range(len(rows))
    ax.plot(rows, places, "o-", color=BLUE, markersize=4, label="by the output")
    ax.plot(own, places, "D", color=ORANGE, markersize=5, label="by the parameters")
    ax.set_title("norm of the gradient", fontsize=9)
    _logarithmic(ax, [*rows, *own])
    ax.legend(frameon=False, fontsize=8, loc="best")


def _updates(ax: Any, trace: Trace) -> None:
    """One step over the norm of the weights, at the first layer each parameter stands in."""
    place = {layer.name: i for i, layer in reversed(list(enumerate(trace.layers)))}
    points = [(place[p.layers[0]], p.update_ratio) for p in trace.parameters if p.decays and p.layers]
    points = [(i, ratio) for i, ratio in points if ratio > 0 and np.isfinite(ratio)]
    ax.plot([r for _, r in points], [i for i, _ in points], "s", color=GREEN, markersize=5)
    ax.axvline(USUAL, color=GREY, linestyle=":", linewidth=1.2)
    ax.annotate("usual", (USUAL, 0), (3, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
                color=GREY, fontsize=8, va="bottom")  # fmt: skip
    ax.set_title(f"one step / weight ({trace.optimizer}, rate {trace.learning_rate:.3g})", fontsize=9)
    _logarithmic(ax, [*(r for _, r in points), USUAL])


def _idle(ax: Any, trace: Trace) -> None:
    """Of each layer: the share of its units that are dead, and of its outputs that are flat."""
    for values, color, hatch, name in (
        ([None if layer.dead is None else len(layer.dead) / layer.units for layer in trace.layers], GREY, "", "dead"),
        ([layer.saturation for layer in trace.layers], BLUE, "////", "flat"),
    ):
        shown = [(i, 100 * value) for i, value in enumerate(values) if value is not None]
        if shown:
            ax.barh(*zip(*shown, strict=True), height=0.5, color=color, alpha=0.7, hatch=hatch, label=name)
    ax.set_title("units dead, outputs flat, in %", fontsize=9)
    ax.set_xlim(0, 100)
    ax.legend(frameon=False, fontsize=8, loc="best")


def _logarithmic(ax: Any, values: list[float]) -> None:
    """A logarithmic axis of a decade at least, whatever little there is on it."""
    from matplotlib.ticker import NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_minor_formatter(NullFormatter())
    good = [v for v in values if v > 0 and np.isfinite(v)]
    if good:
        ax.set_xlim(min(min(good) / 2, max(good) / 20), max(good) * 2)
