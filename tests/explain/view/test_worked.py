"""How each value is made of others, as the document says it, gives the values."""

import json
import operator

import numpy as np
import pytest

import handgrad as hg
from explain.view.batches import array, neuron, only, traced
from handgrad import ops

SIGNS = {"+": operator.add, "-": operator.sub, "·": operator.mul, "/": operator.truediv}


def graphs():
    g = hg.Graph()
    x, y = g.input("x"), g.input("y")
    run = g.run(ops.sum(ops.tanh(x * y) / y - x), x=np.full((2, 3), 0.5), y=np.full((2, 3), 2.0)).backward()
    inner = hg.Graph()
    z = inner.input("z")
    inner.output(ops.relu(z) * z)
    return run, traced([hg.Linear(4, 5), inner, hg.Linear(5, 3)], 4)


SHOWN = {
    "gates": lambda: traced([hg.SwiGLU(4, 5), hg.Residual(hg.GLU(5, 5)), hg.Linear(5, 3)], 4),
    "out_in": lambda: traced([hg.Linear(4, 5, layout="out_in"), hg.LeakyReLU(0.1), hg.Linear(5, 3, bias=False)], 4),
    "penalty": lambda: traced([hg.Linear(4, 3)], 4, regularizer=hg.L2(0.1)),
    "shared": lambda: traced([layer := hg.Linear(4, 4), hg.Tanh(), layer, hg.Linear(4, 3)], 4),
    "run": lambda: graphs()[0],
    "graph in a model": lambda: graphs()[1],
    "neuron": neuron,
}


@pytest.mark.parametrize("kind", SHOWN)
def test_values_follow_from_what_they_are_made_of(kind):
    nodes, _, frame = only(hg.view(SHOWN[kind](), checks=False))
    seen = 0
    for name, node in nodes.items():
        if node["worked"] is None:
            continue
        of = [array((frame["nodes"].get(one) or frame["parameters"][one])["value"]) for one in node["worked"]["of"]]
        text = node["worked"]["text"]
        if node["worked"]["kind"] == "linear":
            weight = of[1].T if text == "out_in" else of[1]
            expected = of[0] @ weight + (of[2] if len(of) > 2 else 0)
        elif node["worked"]["kind"] == "sign":
            expected = SIGNS[text](*of) if len(of) == 2 else -of[0]
        else:
            options = {"alpha": 0.1} if text == "leaky_relu" else {}
            expected = getattr(ops, text).forward(*of, **options)[0]
        np.testing.assert_allclose(array(frame["nodes"][name]["value"]), expected, rtol=1e-12)
        seen += 1
    assert seen


def test_constants_leave_it_out():
    g = hg.Graph()
    run = g.run(ops.sum(2.0 * g.input("x")), x=np.ones(3)).backward()
    nodes, _, _ = only(hg.view(run))
    assert [node["worked"] for node in nodes.values()] == [None] * len(nodes)


def test_a_name_that_is_nowhere_is_refused():
    made = json.loads(traced([hg.Linear(4, 3)], 4).view(checks=False).to_json())
    made["variants"][0]["graph"]["nodes"][1]["worked"]["of"][0] = "gone"
    with pytest.raises(hg.FormatError, match=r"nodes\[1\].worked.of must name nodes or parameters, got 'gone'"):
        hg.View.from_json(json.dumps(made))
