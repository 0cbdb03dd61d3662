"""`view`: a network with its values and all its gradients as one page, in a notebook, as a file, as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from handgrad import __version__
from handgrad.errors import DTypeError, ValueRangeError
from handgrad.explain.trace import Trace
from handgrad.explain.view.checks import checks_of_run, checks_of_tape
from handgrad.explain.view.document import frame, graph, same_structure
from handgrad.explain.view.frames import TraceFrames
from handgrad.explain.view.of_run import network_of_run
from handgrad.explain.view.of_tape import network_of_trace
from handgrad.explain.view.outputs import View
from handgrad.explain.view.places import Network
from handgrad.explain.view.schema import FORMAT, VERSION
from handgrad.explain.view.tensors import packed
from handgrad.models.graph import Run

__all__ = ["TraceFrames", "View", "view"]

BUDGET = 3_500_000  # characters that all tensors of a document take, so that its page stays below 5 MB
LAST = 0.6  # of it for the moment that is shown first, where there are several


def view(
    what: Trace | Run | TraceFrames | Mapping[str, Trace],
    *,
    frames: Iterable[tuple[str, Trace]] | TraceFrames = (),
    report: Mapping[str, Any] | None = None,
    checks: bool = True,
    title: str | None = None,
    budget: int = BUDGET,
    now: str = "now",
) -> View:
    """A page with the network as a graph, every value and gradient on it, and how each follows from the next.

    what: a trace; a run of a Graph, after `backward`; or a mapping of labels to traces, shown side by side, such as
        {"zeros": ..., "he": ...}.
    frames: (label, trace) pairs of the same model at earlier moments, as TraceFrames collects them in training.
    report: of a training, as `handgrad.explain.view.report.report` makes it.
    checks: whether each gradient is compared with numbers, on the first rows of the batch, which takes a moment.
    budget: characters that all numbers together may take. Arrays are exact up to 65,536 numbers, and where the budget
        does not allow that, the largest ones are shown as blocks, with the reason.
    now: what the moment of `what` is called on the slider, after those of `frames`.

    A notebook shows it; `.to_html("page.html")` writes one file that needs nothing else, `.to_svg()` gives a picture,
    `.to_json()` the document. Raises DTypeError, or ValueRangeError for frames of another model.
    """
    pairs = list(frames.frames if isinstance(frames, TraceFrames) else frames)
    variants: dict[str, list[tuple[str, Any]]]
    if isinstance(what, TraceFrames):
        last = what.last  # raises where there is none
        variants, what = {"": [*pairs, *what.frames]}, last
    elif isinstance(what, Mapping):
        if not what or pairs:
            raise ValueRangeError("what must name one trace or more, without frames, where several are shown together")
        variants = {str(label): [("", each)] for label, each in what.items()}
    else:
        variants = {"": [*pairs, (now if pairs else "", what)]}
    share = budget // len(variants)
    made = [_variant(label, moments, checks, share) for label, moments in variants.items()]
    first = next(iter(variants.values()))[-1][1]
    named = title if title is not None else _title(first)
    head = {"format": FORMAT, "version": VERSION, "library": __version__, "title": named}
    return View({**head, "variants": made, "report": None if report is None else dict(report)})


def _title(what: Any) -> str:
    return what.title if isinstance(what, Trace) else f"{what.output.name} = {what.output}"


def _variant(label: str, moments: list[tuple[str, Any]], checks: bool, budget: int) -> dict[str, Any]:
    networks = [_network(what, checks and what is moments[-1][1]) for _, what in moments]
    graphs = [graph(network) for network in networks]
    for (moment, _), each in zip(moments, graphs, strict=True):
        if not same_structure(each, graphs[-1]):
            raise ValueRangeError(f"frames must be of one model, but {moment!r} has other nodes than the last")
    last = budget if len(moments) == 1 else int(budget * LAST)
    others = (budget - last) // max(1, len(moments) - 1)
    shares = [others] * (len(moments) - 1) + [last]
    frames = [
        packed(frame(network, moment), share)
        for network, (moment, _), share in zip(networks, moments, shares, strict=True)
    ]
    return {"label": label, "graph": graphs[-1], "frames": frames}


def _network(what: Any, checks: bool) -> Network:
    if isinstance(what, Trace):
        network = network_of_trace(what)
        return replace(network, checks=checks_of_tape(what.tape)) if checks else network
    if isinstance(what, Run):
        if not what.went_back:
            raise ValueRangeError(
                "what must be a run after backward, so that it has gradients: call run.backward() first"
            )
        network = network_of_run(what)
        return replace(network, checks=checks_of_run(what, network.values)) if checks else network
    raise DTypeError(f"what must be a trace, a run of a graph or a mapping of traces, got {type(what).__name__}")
