"""The Jacobian of every op by every input: its products, its numbers and its transpose, on the one table of ops."""

import numpy as np
import pytest

from handgrad import ops
from handgrad.errors import ShapeError
from handgrad.ops.jacobians import Call, Diagonal, Implicit, Kronecker, Reshaped, SoftmaxJacobian, local_jacobian
from mathtext import unlike
from table import CASES, Case

LARGEST = 20_000
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def jacobians(case: Case):
    """(number of the input, its Jacobian, the inputs, the cache) for each input that was given."""
    inputs = case.draw()
    out, cache = case.forward(inputs)
    call = Call(inputs, np.asarray(out), cache)
    for i, x in enumerate(inputs):
        if x is not None:
            yield i, local_jacobian(case.op, call, i), inputs, out, cache


@every_case
def test_products_are_those_of_jvp_and_backward(case):
    tangents = case.draw(1)
    for i, J, inputs, out, cache in jacobians(case):
        u = np.asarray(case.upstream(out))
        alone = [None if x is None else np.zeros_like(x) for x in inputs]
        alone[i] = tangents[i]
        assert J.shape == (*np.shape(out), *inputs[i].shape)
        np.testing.assert_allclose(J @ tangents[i], case.op.jvp(tuple(alone), cache), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(u @ J, case.op.backward(u, cache)[i], rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(J.T @ u, u @ J, rtol=1e-14)
        np.testing.assert_allclose(tangents[i] @ J.T, J @ tangents[i], rtol=1e-14)


@every_case
def test_dense_is_the_same_map(case):
    tangents = case.draw(1)
    for i, J, inputs, out, _ in jacobians(case):
        if J.size > LARGEST:
            continue
        dense, u = J.dense(), np.asarray(case.upstream(out))
        assert dense.shape == J.shape
        np.testing.assert_allclose(np.tensordot(dense, tangents[i], inputs[i].ndim), J @ tangents[i], 1e-9, 1e-10)
        np.testing.assert_allclose(np.tensordot(u, dense, u.ndim), u @ J, rtol=1e-9, atol=1e-10)
        turned = J.T.dense().reshape(inputs[i].size, -1)
        np.testing.assert_allclose(turned, dense.reshape(-1, inputs[i].size).T, rtol=1e-12, atol=1e-14)
        if J.batch:
            blocks = J.blocks()
            for row in range(J.out_shape[0]):
                index = (row, *[slice(None)] * (len(J.out_shape) - 1), row)
                np.testing.assert_array_equal(blocks[row], dense[index])


@every_case
def test_it_says_what_it_is(case):
    for _, J, *_ in jacobians(case):
        assert J.text
        assert repr(J) == f"Jacobian, {J.out_shape} by {J.in_shape}: {J.text}"
        assert J._repr_latex_() == f"${J.latex}$"
        assert J.T.text


def test_latex_renders():
    mathtext = pytest.importorskip("matplotlib.mathtext", reason="matplotlib is not installed")
    parser = mathtext.MathTextParser("path")
    texts = {each for case in CASES for _, J, *_ in jacobians(case) for each in (J.latex, J.T.latex)}
    texts |= {f"({each})" for each in texts}
    assert len(texts) > 100
    assert all(text.isascii() for text in texts)
    for text in unlike(texts):
        parser.parse(f"${text}$")


def of(op, *inputs, i=0, data=(), **hyper):
    inputs = tuple(np.asarray(x, float) for x in inputs)
    return local_jacobian(op, Call.of(op, inputs, data, **hyper), i)


def test_the_linear_layer_for_one_sample_is_the_transposed_weight():
    x, w, b = np.array([1.0, -2.0, 3.0]), np.arange(6.0).reshape(3, 2), np.zeros(2)
    J = of(ops.linear, x, w, b)
    assert isinstance(J, Kronecker)
    assert J.text == "Wᵀ"
    np.testing.assert_array_equal(J.dense(), w.T)
    assert J.density() == 5 / 6  # one weight is 0
    turned = of(ops.linear, x, w.T, b, layout="out_in")
    assert turned.text == "W"
    np.testing.assert_array_equal(turned.dense(), w.T)


def test_the_linear_layer_for_a_batch_repeats_it_for_each_sample():
    x, w, b = np.ones((4, 3)), np.arange(6.0).reshape(3, 2), np.zeros(2)
    J = of(ops.linear, x, w, b)
    assert J.text == "I4 ⊗ Wᵀ"
    assert J.T.text == "I4 ⊗ W"
    np.testing.assert_array_equal(J.dense().reshape(8, 12), np.kron(np.eye(4), w.T))
    np.testing.assert_array_equal(J.blocks(), np.broadcast_to(w.T, (4, 2, 3)))
    by_weight = of(ops.linear, x, w, b, i=1)
    assert by_weight.text == "X ⊗ I2"
    np.testing.assert_array_equal(by_weight.dense().reshape(8, 6), np.kron(x, np.eye(2)))
    by_bias = of(ops.linear, x, w, b, i=2)
    np.testing.assert_array_equal(by_bias.dense().reshape(8, 2), np.kron(np.ones((4, 1)), np.eye(2)))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_softmax(temperature):
    x = np.array([0.3, -1.0, 2.0])
    J = of(ops.softmax, x, temperature=temperature)
    assert isinstance(J, SoftmaxJacobian)
    assert J.text == ("diag(p) - p pᵀ" if temperature == 1 else "(diag(p) - p pᵀ) / 2.5")
    p = ops.softmax(x, temperature=temperature)
    np.testing.assert_allclose(J.dense(), (np.diag(p) - np.outer(p, p)) / temperature, rtol=1e-14)
    assert J.T is J


def test_structures():
    x, y = np.ones((2, 3)), np.full((2, 3), 2.0)
    assert isinstance(of(ops.sigmoid, x), Diagonal)
    assert isinstance(of(ops.multiply, x, y), Diagonal)
    assert isinstance(of(ops.add, x, y), Reshaped)
    assert of(ops.add, x, y).text == "I"
    assert of(ops.subtract, x, y, i=1).text == "-I"
    assert of(ops.add, x, np.ones(3), i=1).text == "1"
    assert of(ops.sum, x).text == "1ᵀ"
    assert isinstance(of(ops.reshape, x, shape=(3, 2)), Reshaped)
    assert of(ops.max, x, axis=1).text == "select"
    np.testing.assert_array_equal(of(ops.max, [1.0, 5.0, 2.0]).dense(), [0, 1, 0])
    assert of(ops.hinge, x, data=([0, 1],)).text == "∇hingeᵀ"


def test_chain_rule_and_sum():
    x, w = np.array([0.5, -1.0]), np.arange(6.0).reshape(2, 3)
    inner = of(ops.linear, x, w, np.zeros(3))
    outer = of(ops.tanh, x @ w)
    chain = outer @ inner
    assert chain.text == "diag(tanh') Wᵀ"
    np.testing.assert_allclose(chain.dense(), np.diag(1 - np.tanh(x @ w) ** 2) @ w.T, rtol=1e-14)
    assert chain.T.text == "W diag(tanh')"
    np.testing.assert_allclose((chain + chain).dense(), 2 * chain.dense(), rtol=1e-14)
    assert (chain + chain).text == "diag(tanh') Wᵀ + diag(tanh') Wᵀ"
    with pytest.raises(ShapeError, match="takes"):
        _ = inner @ outer
    with pytest.raises(ShapeError, match="one shape"):
        _ = inner + outer


def test_shapes_that_do_not_fit_are_named():
    J = of(ops.linear, np.ones(2), np.ones((2, 3)), np.zeros(3))
    with pytest.raises(ShapeError, match=r"J @ v: v must have the shape of the input, \(2,\), got \(3,\)"):
        _ = J @ np.ones(3)
    with pytest.raises(ShapeError, match=r"u @ J: u must have the shape of the output, \(3,\), got \(2,\)"):
        _ = np.ones(2) @ J
    with pytest.raises(ShapeError, match="not block diagonal"):
        J.blocks()


def test_a_list_takes_the_dtype_of_the_jacobian():
    J = local_jacobian(ops.tanh, Call.of(ops.tanh, (np.ones(2, np.float32),)))
    assert (J @ [1, 2]).dtype == ([1.0, 2.0] @ J).dtype == J.dense().dtype == np.float32


def test_an_op_of_ones_own_is_known_by_its_products():
    class Cube(ops.Op):
        name, inputs, formula, derivative, saves = "cube", ("x",), "y = x^3", "3 x^2", "x"

        def forward(self, x):
            return x**3, x

        def backward(self, dout, cache):
            return (3 * cache**2 * dout,)

        def jvp(self, tangents, cache):
            return 3 * cache**2 * tangents[0]

    J = of(Cube(), np.array([1.0, 2.0]))
    assert isinstance(J, Implicit)
    np.testing.assert_array_equal(J.dense(), [[3, 0], [0, 12]])


def test_rows_serve_where_nothing_can_be_pushed():
    matrix = np.arange(6.0).reshape(2, 3)
    J = Implicit(None, lambda u: matrix.T @ u, (2,), (3,), matrix, "A")
    np.testing.assert_array_equal(J @ np.array([1.0, 0.0, 2.0]), matrix @ [1, 0, 2])
    np.testing.assert_array_equal(J.dense(), matrix)


def test_torch_jacobians_and_its_arrays():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    x, w, b = (torch.randn(*shape, dtype=torch.float64) for shape in ((4, 3), (3, 5), (5,)))
    J = local_jacobian(ops.linear, Call.of(ops.linear, (x, w, b)), 1)
    expected = torch.autograd.functional.jacobian(lambda w: torch.nn.functional.linear(x, w.T, b), w)
    assert isinstance(J.dense(), torch.Tensor)
    torch.testing.assert_close(J.dense(), expected, rtol=1e-12, atol=1e-12)
    soft = local_jacobian(ops.softmax, Call.of(ops.softmax, (x,), axis=0))
    expected = torch.autograd.functional.jacobian(lambda x: torch.softmax(x, 0), x)
    torch.testing.assert_close(soft.dense(), expected, rtol=1e-12, atol=1e-12)
