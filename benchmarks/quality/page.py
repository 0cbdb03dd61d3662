"""benchmarks/QUALITY.md: the tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from benchmarks.quality.models import CONSTANT, MODELS
from benchmarks.quality.record import Records
from benchmarks.quality.scores import HITS, LOSSES, SCORES, summary

if TYPE_CHECKING:
    from benchmarks.quality.fits import Plan

Means = dict[str, dict[str, dict[str, float]]]
SLOWEST = "realmlp"


def means(plan: Plan, records: Records) -> Means:
    """By set and model, the means over splits of all scores, of `fit` and of `predict`; whole ones alone."""
    found: Means = {}
    for name in plan.sets:
        for model in plan.models:
            rows = [records.get(plan.of(model, name, split)) for split in range(plan.splits)]
            whole = [{**row["scores"], "fit": row["fit"], "predict": row["predict"]} for row in rows if row]
            if len(whole) == plan.splits:
                found.setdefault(name, {})[model] = {key: fmean(row[key] for row in whole) for key in whole[0]}
    return found


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table of Markdown; the first columns are of words, the others of figures."""
    lines = [head, ["---"] * words + ["---:"] * (len(head) - words), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def seconds(value: float) -> str:
    """In three digits or so."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def figure(score: str, value: float) -> str:
    """A mean score."""
    return f"{value:,.4f}" if score != "rmse" or value < 10 else f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"


def overall(found: Means, models: Sequence[str]) -> str:
    """Ranks, normalised scores and times over the sets that all the models have. Says so where there are none."""
    ranked = [model for model in models if model != CONSTANT]
    whole = {name: of for name, of in found.items() if all(model in of for model in models)}
    if not whole or not ranked or CONSTANT not in models:
        return "No set has been run whole by all models."
    over = summary(whole, ranked, CONSTANT)
    fit = {model: sum(of[model]["fit"] for of in whole.values()) for model in ranked}
    predict = {model: sum(of[model]["predict"] for of in whole.values()) for model in ranked}
    slow = fit.get(SLOWEST)
    head = [
        f"{len(whole)} sets",
        *(f"{word}: {kind}" for word in ("rank", "normalised") for kind in (HITS, LOSSES)),
        *("fit, s", f"/ {MODELS[SLOWEST].title}'s", "predict, s"),
    ]
    rows = [
        [
            MODELS[model].title,
            *(f"{over[kind][model]['rank']:.2f}" for kind in (HITS, LOSSES)),
            *(f"{over[kind][model]['normalised']:.3f}" for kind in (HITS, LOSSES)),
            seconds(fit[model]),
            f"{fit[model] / slow:.3f}" if slow else "-",
            seconds(predict[model]),
        ]
        for model in sorted(ranked, key=lambda model: sum(over[kind][model]["rank"] for kind in (HITS, LOSSES)))
    ]
    return grid(head, rows)


def each(found: Means, models: Sequence[str]) -> str:
    """Every set's mean scores, the best in bold, and the seconds of a fit."""
    rows = []
    for name, of in found.items():
        for key in [score for score in SCORES if score in next(iter(of.values()))]:
            texts = {model: figure(key, of[model][key]) for model in models if model in of}
            best = (max if SCORES[key].higher else min)(of[model][key] for model in texts)
            shown = [
                "-" if model not in texts else f"**{texts[model]}**" if of[model][key] == best else texts[model]
                for model in models
            ]
            rows.append([name, SCORES[key].title, *shown])
        rows.append([name, "fit, s", *(seconds(of[model]["fit"]) if model in of else "-" for model in models)])
    return grid(["set", "score", *(MODELS[model].title for model in models)], rows, words=2)


def tables(plan: Plan, records: Records) -> str:
    """What there is to read."""
    found = means(plan, records)
    models = [model for model in plan.models if any(model in of for of in found.values())]
    if not models:
        return "Nothing has been run whole."
    return f"{overall(found, models)}\n\n{each(found, models)}"


def sets(plan: Plan) -> str:
    """What the sets are."""
    return "\n".join(f"- {plan.table(name).line()}" for name in plan.sets)
