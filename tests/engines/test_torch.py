"""The same layers on PyTorch's tensors: gradients are NumPy's, and autograd's of the same network."""

import numpy as np
import pytest

from handgrad import value_and_grad
from handgrad.errors import DeviceError
from handgrad.layers import GELU, GLU, L2, LayerNorm, Linear, ReLU, SwiGLU
from handgrad.models import Residual, Sequential, mlp

torch = pytest.importorskip("torch", reason="needs PyTorch: make test EXTRA=torch==2.13.0")
functional = torch.nn.functional

DTYPES = {"float32": (np.float32, 2e-5), "float64": (np.float64, 1e-12)}


def plain(p, x):
    return torch.relu(x @ p["0.weight"] + p["0.bias"]) @ p["2.weight"] + p["2.bias"]


def outward(p, x):
    h = functional.gelu(functional.linear(x, p["0.weight"], p["0.bias"]))
    return functional.linear(h, p["2.weight"])


def gated(p, x):
    h = (x @ p["0.content.weight"] + p["0.content.bias"]) * functional.silu(x @ p["0.gate.weight"] + p["0.gate.bias"])
    h = functional.layer_norm(h, (8,), p["1.weight"], p["1.bias"], 1e-5)
    return h @ p["2.weight"] + p["2.bias"]


def shared(p, x):
    def block(h):
        content, gate = h @ p["0.layer.content.weight"], h @ p["0.layer.gate.weight"]
        return h + content * torch.sigmoid(gate)

    return block(block(x)) @ p["2.weight"] + p["2.bias"]


BLOCK = Residual(GLU(5, 5, bias=False))
MODELS = {
    "relu": (mlp([5, 8, 3]), plain),
    "out_in": (
        Sequential([Linear(5, 8, layout="out_in"), GELU(), Linear(8, 3, bias=False, layout="out_in")]),
        outward,
    ),
    "swiglu and layer norm": (Sequential([SwiGLU(5, 8), LayerNorm(8), Linear(8, 3)]), gated),
    "shared residual": (Sequential([BLOCK, BLOCK, Linear(5, 3)]), shared),
}
LOSSES = {
    "cross_entropy": lambda scores, y: functional.cross_entropy(scores, y),
    "hinge": lambda scores, y: functional.multi_margin_loss(scores, y) * scores.shape[1],  # theirs is over classes
    "squared_error": lambda scores, y: functional.mse_loss(scores, y),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_numpy_torch_and_autograd_agree(name, loss, dtype):
    model, theirs = MODELS[name]
    kind, tolerance = DTYPES[dtype]
    rng = np.random.default_rng(0)
    params = model.init(1, kind)
    params.flat[...] = rng.normal(0, 0.6, params.flat.shape)
    x = rng.standard_normal((6, 5)).astype(kind)
    y = rng.standard_normal((6, 3)).astype(kind) if loss == "squared_error" else rng.integers(3, size=6)
    penalty = L2(0.05)
    value, grads = value_and_grad(model, loss, params, x, y, regularizer=penalty)

    tensors, tx, ty = params.like(torch.from_numpy(params.flat.copy())), torch.from_numpy(x), torch.from_numpy(y)
    for given in (tensors, dict(tensors)):
        torch_value, torch_grads = value_and_grad(model, loss, given, tx, ty, regularizer=penalty)
        assert isinstance(torch_grads.flat, torch.Tensor)
        assert torch_grads.flat.dtype == tx.dtype == torch_value.dtype
        np.testing.assert_allclose(torch_value, value, rtol=tolerance)
        np.testing.assert_allclose(torch_grads.flat, grads.flat, rtol=tolerance, atol=tolerance)

    leaves = {key: tensor.clone().requires_grad_() for key, tensor in tensors.items()}
    weights = [leaf for leaf in leaves.values() if leaf.ndim == 2]
    total = LOSSES[loss](theirs(leaves, tx), ty) + 0.05 * sum((w * w).sum() for w in weights)
    total.backward()
    np.testing.assert_allclose(value, total.detach(), rtol=tolerance)
    for key, leaf in leaves.items():
        np.testing.assert_allclose(grads[key], leaf.grad, rtol=tolerance, atol=tolerance)


def test_libraries_do_not_mix():
    model = Sequential([ReLU(), Linear(3, 2)])
    params = model.init(0)
    x, y = np.ones((4, 3)), np.zeros((4, 2))
    with pytest.raises(DeviceError, match=r"layer '1': .*torch"):
        value_and_grad(model, "squared_error", params, torch.from_numpy(x), y)
    with pytest.raises(DeviceError, match="y is an array of torch"):
        value_and_grad(model, "squared_error", params, x, torch.from_numpy(y))
    mixed = {"1.weight": params["1.weight"], "1.bias": torch.zeros(2, dtype=torch.float64)}
    with pytest.raises(DeviceError, match=r"1\.bias is an array of torch and 1\.weight of numpy"):
        value_and_grad(model, "squared_error", mixed, x, y)
