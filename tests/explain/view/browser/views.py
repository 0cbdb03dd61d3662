"""Each view of the page: the kind of document, and the way from there."""

from explain.view.browser.documents import LATER


def network(shown):
    shown.find("[data-node]").first.wait_for()


def opened(name):
    def steps(shown):
        network(shown)
        shown.open(name)

    return steps


def stepping(times):
    def steps(shown):
        network(shown)
        shown.find('[data-walk="next"]').click()
        shown.press(*["n"] * times)

    return steps


def turned(name):
    def steps(shown):
        network(shown)
        shown.find("nav button", has_text=name).click()

    return steps


VIEWS = {
    "circuit": ("neuron", network),
    "circuit-open": ("small graph", opened("f")),
    "network": ("swiglu", network),
    "network-open": ("swiglu", opened("0.content")),
    "network-stepping": ("swiglu", stepping(3)),
    "mnist-open": ("mnist", opened("2")),
    "deep": ("100 layers", network),
    "training": ("frames", opened("0")),
    "not-finite": ("not finite", opened("0")),
    "initializations": ("variants", network),
    "compare": ("variants", turned("Side by side")),
    "report": ("report", turned("Report")),
    "report-regression": ("regression", turned("Report")),
    "examples": ("together", network),
    "problem": (LATER, lambda shown: shown.find("[role=alert]").wait_for()),
}
