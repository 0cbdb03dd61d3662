"""Each fault is found where it is, with its numbers; healthy networks are left in peace; what is published is so."""

import io
import json
import math

import numpy as np
import pytest

import handgrad as hg
from explain.diagnose.faults import FAULTS
from explain.diagnose.networks import FIRST, healthy
from explain.diagnose.others import FIRST_OTHER, OTHERS
from explain.diagnose.report import (
    BEGIN,
    COUNT,
    END,
    LIMITS_BEGIN,
    LIMITS_END,
    OTHERS_BEGIN,
    OTHERS_END,
    PAGE,
    alarms,
    between,
    hits,
    limits,
    other_alarms,
)
from handgrad.errors import DTypeError
from handgrad.explain import diagnose as module
from handgrad.explain.diagnose.chance import chance
from handgrad.explain.trace.tape import record

RNG = np.random.default_rng(2)
X, Y = RNG.normal(size=(120, 6)), RNG.integers(4, size=120)
MODEL = hg.mlp([6, 16, 16, 4])


def published():
    """The numbers of each row of docs/diagnose.md's table: found, at its layer, false alarms at the start, trained."""
    lines = [line for line in between(PAGE.read_text(), BEGIN, END).splitlines()[2:] if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {c[0]: (*(int(n.split(" of ")[0]) for n in c[2:4]), *map(int, c[4:6])) for c in cells}


def test_the_table_has_every_fault():
    assert list(published()) == list(FAULTS)
    assert {fault for fault, _ in FAULTS.values()} == set(module.FAULTS) - {"not_finite"}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_found_as_published(name):
    """On a tenth of the networks, of which no more may be missed than on all of them."""
    found, placed = hits(name, range(FIRST, FIRST + 10))
    assert found >= 10 - (COUNT - published()[name][0])
    assert placed >= 10 - (COUNT - published()[name][1])
    assert placed >= 7


def test_healthy_networks_are_left_in_peace_as_published():
    start, trained = alarms(10)
    for name, (fault, _) in FAULTS.items():
        assert start[fault] <= published()[name][2]
        assert trained[fault] <= published()[name][3]
    assert sum((start + trained).values()) <= 2


def test_healthy_networks_of_other_kinds_are_left_in_peace_as_published():
    """One of each."""
    lines = between(PAGE.read_text(), OTHERS_BEGIN, OTHERS_END).splitlines()[2:]
    assert [line.split(" | ")[0].lstrip("| ") for line in lines] == [make.__doc__ for make, _ in OTHERS]
    for place, line in enumerate(lines):
        said = [cell.strip() for cell in line.strip("|").split("|")[1:]]
        for found, published_ones in zip(other_alarms(place, range(FIRST_OTHER, FIRST_OTHER + 1)), said, strict=True):
            assert all(module.FAULTS[fault] in published_ones for fault in found)


def test_the_limits_are_those_published():
    assert between(PAGE.read_text(), LIMITS_BEGIN, LIMITS_END) == limits(), "run: python -m explain.diagnose.report"


def test_healthy_means_learnt():
    for start, trained in healthy(3):
        assert trained.history.column("loss")[-1] < trained.history.column("loss")[0]
        assert not np.array_equal(start.params.flat, trained.params.flat)


@pytest.mark.parametrize("name", FAULTS)
def test_findings_say_all_there_is_to_say(name):
    fault, plant = FAULTS[name]
    diagnosis = plant(1).network.diagnose()
    assert not diagnosis.ok
    text = str(diagnosis)
    for finding in diagnosis.findings:
        assert module.FAULTS[finding.fault] in text
        assert any(char.isdigit() for char in finding.says)
        assert finding.evidence
        assert finding.cause
        assert finding.remedy
    json.dumps(diagnosis.to_dict(), allow_nan=False)
    assert fault in diagnosis


def test_chance_is_what_is_known():
    def at(loss, y, outputs):
        model = hg.Linear(6, outputs)
        tape = record(model, model.init(0), X, y, loss=loss)
        return chance(tape).loss

    assert at("cross_entropy", Y, 4) == pytest.approx(math.log(4))
    assert at(hg.CrossEntropy(0.2), Y, 4) == pytest.approx(math.log(4))
    assert at("hinge", Y, 4) == pytest.approx(3)
    assert at(hg.Hinge(0.5), Y, 4) == pytest.approx(1.5)
    assert at("binary_cross_entropy", np.eye(4)[Y], 4) == pytest.approx(math.log(2))
    y = RNG.normal(3, 2, size=(120, 2))
    assert at("squared_error", y, 2) == pytest.approx(y.var(axis=0).mean())
    assert at("squared_error", y[:, 0], 1) == pytest.approx(y[:, 0].var())
    # no constant does better
    for loss, scores in (
        ("huber", np.linspace(-5, 9, 200)),
        (hg.Quantile(0.8), np.linspace(-5, 9, 200)),
        ("poisson", np.linspace(-3, 3, 200)),
    ):
        y = abs(RNG.normal(3, 2, size=(120, 1)))
        best = min(float(hg.layers.loss(loss).forward(np.full((120, 1), s), y)[0]) for s in scores)
        assert at(loss, y, 1) <= best + 0.02 * abs(best)


def test_a_loss_of_ones_own_has_no_chance():
    class Own(hg.SquaredError):
        pass

    assert hg.diagnose(hg.Linear(6, 1), hg.Linear(6, 1).init(0), X, 50 + X[:, :1], loss=Own()).ok


def test_zero_initialization():
    params = MODEL.init(0)
    diagnosis = hg.diagnose(MODEL, params.like(params.flat * 0), X, Y)
    assert [(f.fault, f.layer) for f in diagnosis.findings] == [("broken_symmetry", "0"), ("broken_symmetry", "2")]
    assert diagnosis["broken_symmetry"][0].evidence["zero"]
    last = params.like(params.flat.copy())
    last["4.weight"][:] = 0  # a start that is often made on purpose
    (finding,) = hg.diagnose(MODEL, last, X, Y).findings
    assert finding.fault == "zero_gradient"
    assert finding.evidence["parameters"] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert "layer '4'" in finding.says


def test_equal_weights_with_different_gradients_are_no_broken_symmetry():
    params = MODEL.init(0)
    params["2.weight"][:, 1] = params["2.weight"][:, 0]  # but what is made of the two units differs
    assert hg.diagnose(MODEL, params, X, Y).ok


def test_numbers_that_are_not_finite():
    params = MODEL.init(0)
    params["2.weight"][0, 0] = np.nan
    (finding,) = hg.diagnose(MODEL, params, X, Y).findings
    assert (finding.fault, finding.layer) == ("not_finite", "2.weight")
    params = MODEL.init(0)
    params["0.weight"][:] = 1e200
    params["2.weight"][:] = 1e200
    (finding,) = hg.diagnose(MODEL, params, X, Y)["not_finite"]
    assert finding.layer == "2"


def test_targets_that_are_not_finite():
    model = hg.mlp([6, 16, 1])
    y = np.where(np.arange(120) < 3, np.nan, 1.0)[:, None]
    (finding,) = hg.diagnose(model, model.init(0), X, y, loss="squared_error").findings
    assert (finding.fault, finding.layer) == ("not_finite", "")
    assert finding.says.startswith("y holds 3 numbers that are NaN")


@pytest.mark.parametrize(
    ("history", "got"), [([1, 2], "got 1 at row 0"), ("abc", "got 'a'"), ([{"loss": 1}, {"loss": "x"}], "'x' at row 1")]
)
def test_histories_that_are_none(history, got):
    with pytest.raises(DTypeError, match=rf"history must be fit's, or its rows.*{got}"):
        hg.diagnose(MODEL, MODEL.init(0), X, Y, history=history)
    rows = [{"loss": 1.0}, {"loss": None}]  # as JSON has it
    assert "rate_too_large" in hg.diagnose(MODEL, MODEL.init(0), X, Y, history=rows)


def test_one_row():
    assert str(hg.diagnose(MODEL, MODEL.init(0), X[:1], Y[:1])).endswith("on 1 row")


def test_shared_linear_layers_are_not_to_be_collapsed():
    shared = hg.Linear(6, 6)
    model = hg.Sequential([shared, hg.Identity(), shared, hg.ReLU(), hg.Linear(6, 4)])
    (finding,) = hg.diagnose(model, model.init(0), X, Y)["linear_layers"]
    assert "collapse" not in finding.remedy
    model = hg.Sequential([hg.Linear(6, 2), hg.Linear(2, 6), hg.ReLU(), hg.Linear(6, 4)])
    (finding,) = hg.diagnose(model, model.init(0), X, Y)["linear_layers"]
    assert "collapse" in finding.remedy
    assert "of rank 2 at most" in finding.says
    around = hg.Sequential([hg.Linear(6, 6), hg.Residual(hg.Linear(6, 6)), hg.ReLU(), hg.Linear(6, 4)])
    assert hg.diagnose(around, around.init(0), X, Y)["linear_layers"] == ()


def test_a_network_that_has_learnt_it_all_has_no_fault():
    model = hg.Linear(6, 4)
    params = model.init(0)
    params["bias"][0] = 1e3
    y = np.zeros(120, int)
    assert "zero_gradient" in hg.diagnose(model, params, X, y, loss="hinge")
    assert hg.diagnose(model, params, X, y, loss="hinge", history=[{"epoch": 1, "loss": 0.0}]).ok


def test_few_rows_say_nothing_of_dead_units():
    params = MODEL.init(0)
    params["0.bias"][:12] = -99
    assert "dead_relus" in hg.diagnose(MODEL, params, X, Y)
    assert "dead_relus" not in hg.diagnose(MODEL, params, X[:20], Y[:20])


def test_one_fault_at_many_layers_is_told_once():
    deep = hg.mlp([6, *[16] * 7, 4])
    params = deep.init(0)
    for name in params:
        if name.endswith("bias"):
            params[name][:12] = -99
    text = str(hg.diagnose(deep, params, X, Y))
    assert "dead ReLUs, at 7 layers" in text
    assert "at 1   12 of 16 units" in text
    assert "also   at 7, 9, 11, 13" in text
    assert text.count("no gradient brings them back") == 1
    assert max(map(len, text.splitlines())) <= 80


def test_a_step_that_overshoots():
    """Of a parabola, L = w**2: a step of rate r goes from w to (1 - 2 r) w, so that the loss grows by (1 - 2 r)**2."""
    model, x, y = hg.Linear(1, 1, bias=False), np.ones((40, 1)), np.zeros((40, 1))
    params, rows = {"weight": np.array([[10.0]])}, [{"epoch": 1, "loss": 100.0}]
    y[:20], y[20:] = 1, -1
    for rate, sign in ((0.05, False), (0.9, False), (1.2, True)):
        diagnosis = hg.diagnose(model, params, x, y, loss="squared_error", optimizer=hg.SGD(rate), history=rows)
        assert diagnosis.trace.loss_after_step == pytest.approx(1 + 100 * (1 - 2 * rate) ** 2)
        assert diagnosis.trace.loss_predicted == pytest.approx(101 - 400 * rate)
        (finding,) = diagnosis["rate_too_large"] or [None]
        assert ("one step on these rows" in str(finding)) == sign
    assert "loss_after_step" in finding.evidence


def test_histories_that_are_not_numbers():
    rows = [{"epoch": i, "loss": loss} for i, loss in enumerate([1.5, math.nan])]
    (finding,) = hg.diagnose(MODEL, MODEL.init(0), X, Y, history=rows)["rate_too_large"]
    assert "no number, or infinite, in epoch 2" in finding.says


def test_an_epoch_that_was_thrown_far_above_the_start():
    rows = [{"epoch": i, "loss": loss} for i, loss in enumerate([40.0, 2.0, 1.4, 1.38])]
    (finding,) = hg.diagnose(MODEL, MODEL.init(0), X, Y, history=rows)["rate_too_large"]
    assert "40 in epoch 1, where the network starts with" in finding.says
    # inputs that are too large make it start there: that is no fault of the rate
    assert "rate_too_large" not in hg.diagnose(MODEL, MODEL.init(0), 100 * X, Y, history=rows[:1])


def test_noise_and_columns_of_0_are_no_fault_of_a_trained_network():
    rows = [{"epoch": i, "loss": 1.38 + 0.02 * (-1) ** i} for i in range(9)]  # nothing to learn, and up and down
    x = X.copy()
    x[:, 2] = 0
    assert hg.diagnose(MODEL, MODEL.init(0), x, Y, history=rows).ok
    far = [{"epoch": i, "loss": 3 + 0.4 * (-1) ** i} for i in range(9)]  # noise of a loss that is large
    assert "rate_too_large" not in hg.diagnose(MODEL, MODEL.init(0), x, Y, history=far)
    assert "unused_input" in hg.diagnose(MODEL, MODEL.init(0), x, Y)


def test_sample_weights_and_histories():
    params = MODEL.init(0)
    weight = RNG.random(120)
    assert hg.diagnose(MODEL, params, X, Y, sample_weight=weight).ok
    rows = [{"epoch": i, "loss": loss} for i, loss in enumerate([1.5, 1.2, 0.7, 1.6])]
    assert "rate_too_large" in hg.diagnose(MODEL, params, X, Y, history=rows)
    slow = [{"epoch": i, "loss": 1.6 - 1e-4 * i} for i in range(8)]
    assert "rate_too_small" in hg.diagnose(MODEL, params, X, Y, optimizer=hg.Adam(1e-5), history=slow)
    assert hg.diagnose(MODEL, params, X, Y, history=slow).ok  # steps of a usual length: there is nothing to learn
    assert "rate_too_large" not in hg.diagnose(MODEL, params, X, Y, history=rows[:3])
    assert hg.diagnose(MODEL, params, X, Y, history=[]).trace.rows == 120


def test_figures_and_tables():
    mpl = pytest.importorskip("matplotlib", reason="figures need matplotlib")
    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from rich.console import Console

    healthy_one = hg.diagnose(MODEL, MODEL.init(0), X, Y)
    ill = FAULTS["vanishing gradients"][1](1).network.diagnose()
    for diagnosis in (healthy_one, ill):
        for figure in (diagnosis.plot(), diagnosis.trace.plot()):
            figure.savefig(io.BytesIO(), format="png", dpi=40)
            assert len(figure.axes) == 4  # the last of dead and flat units
            labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
            assert [label.split("  ")[1] for label in labels] == [layer.name for layer in diagnosis.trace.layers]
            plt.close(figure)
    plain = hg.diagnose(hg.Linear(6, 4), hg.Linear(6, 4).init(0), X, Y).plot()
    assert len(plain.axes) == 3
    params = MODEL.init(0)
    params["2.weight"][0, 0] = np.nan
    broken = hg.diagnose(MODEL, params, X, Y).plot()  # the layer of a parameter that is named is marked
    bold = [tick.get_text() for tick in broken.axes[0].get_yticklabels() if tick.get_fontweight() == "bold"]
    assert bold == ["Linear  2"]
    marked = ill.plot()
    assert "vanishing gradients, at 0" in marked.get_suptitle()
    plt.close("all")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(ill)
    assert "vanishing gradients, at 0" in console.export_text()
    with pytest.raises(KeyError, match="is no fault that diagnose knows"):
        ill["vanishing"]
