"""PyTorch: equal outputs and gradients both ways, files that load into modules, modules that are refused by name."""

import copy
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import handgrad as hg
from formats.layers import EVERY, close, covered, samples
from handgrad.errors import ParameterError, ShapeError

torch = pytest.importorskip("torch", reason="needs PyTorch: make test EXTRA=torch==2.13.0")
safetensors_torch = pytest.importorskip("safetensors.torch")  # which needs PyTorch too
nn = torch.nn

TOLERANCES = {np.float32: 1e-6, np.float64: 1e-12}
# LayerNorm of rows that vary little multiplies what rounding leaves by up to 1 / sqrt(epsilon)
GRADIENTS = {np.float32: 2e-5, np.float64: 2e-11}


def outward(model, params):
    """Each parameter of the model by its name, as its module has it."""
    specs = {name: np.asarray(array) for name, array in params.items()}
    for name, key in model.parameter_keys().items():
        if id_of(model)[key[0]].__class__ is hg.Linear and name.endswith("weight"):
            layer = id_of(model)[key[0]]
            specs[name] = specs[name] if layer.layout == "out_in" else specs[name].T
    return specs


def id_of(model):
    found = {id(model): model}
    for child in getattr(model, "children", dict)().values():
        found |= id_of(child)
    return found


def ours(sample, model, params):
    out, cache = model.forward(params, sample.x)
    dout = np.random.default_rng(1).normal(size=out.shape).astype(out.dtype)
    dx, grads = model.backward(dout, cache)
    return out, dout, dx, grads


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("place", range(len(samples(np.float32))), ids=[str(each) for each in samples(np.float32)])
def test_outputs_and_gradients_are_equal_both_ways(place, dtype):
    sample, tolerance, wide = samples(dtype)[place], TOLERANCES[dtype], GRADIENTS[dtype]
    model, params = sample.layer, sample.params
    module = hg.to_torch(model, params).eval()
    out, dout, dx, grads = ours(sample, model, params)
    x = torch.tensor(sample.x, requires_grad=True)
    y = module(x)
    assert y.dtype == x.dtype
    close(y.detach(), out, tolerance)
    y.backward(torch.from_numpy(dout))
    close(x.grad, dx, wide)
    assert list(module.state_dict()) == [name for name, _ in module.named_parameters()]
    assert module.state_dict().keys() == params.keys()
    expected = outward(model, grads)
    for name, parameter in module.named_parameters():
        close(parameter.grad, expected[name], wide)

    again, taken = hg.from_torch(module)
    assert taken.flat.dtype == dtype or not params
    assert taken.keys() == params.keys()
    back, _, dx_back, grads_back = ours(sample, again, taken)
    close(back, out, tolerance)
    close(dx_back, dx, wide)
    expected_back = outward(again, grads_back)
    for name in grads:
        close(expected_back[name], expected[name], wide)


def test_every_layer_is_in_the_table():
    assert EVERY - covered() == {hg.Layer, hg.Graph}


MODULES = [
    (hg.Linear(3, 2), nn.Linear),
    (hg.ReLU(), nn.ReLU),
    (hg.LeakyReLU(), nn.LeakyReLU),
    (hg.Sigmoid(), nn.Sigmoid),
    (hg.Tanh(), nn.Tanh),
    (hg.Swish(), nn.SiLU),
    (hg.GELU("tanh"), nn.GELU),
    (hg.Softmax(), nn.Softmax),
    (hg.Dropout(), nn.Dropout),
    (hg.LayerNorm(3), nn.LayerNorm),
    (hg.Flatten(), nn.Flatten),
    (hg.Identity(), nn.Identity),
    (hg.Sequential([]), nn.Sequential),
]


@pytest.mark.parametrize(("layer", "kind"), MODULES)
def test_modules_are_pytorchs_own_where_it_has_them(layer, kind):
    assert type(hg.to_torch(layer, layer.init(0))) is kind


def test_a_saved_file_loads_strictly_into_the_module(tmp_path):
    shared = hg.Linear(5, 5, layout="out_in")
    model = hg.Sequential(
        [hg.Linear(4, 5, layout="out_in"), hg.LayerNorm(5), shared, hg.Residual(hg.GEGLU(5, 5)), hg.Residual(shared)]
    )
    params = model.init(3, np.float32)
    hg.save(model, params, tmp_path / "m.safetensors")
    module = hg.to_torch(model, model.init(4, np.float32))
    report = module.load_state_dict(safetensors_torch.load_file(tmp_path / "m.safetensors"), strict=True)
    assert not report.missing_keys
    assert not report.unexpected_keys
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    close(module(torch.from_numpy(x)).detach(), model.forward(params, x)[0], 1e-6)


def test_parameters_a_file_lacks_or_has_besides_are_named_by_pytorch(tmp_path):
    model = hg.Sequential([hg.Linear(4, 5, layout="out_in")])
    state = dict(hg.to_torch(model, model.init(0)).state_dict())
    state["1.weight"] = state.pop("0.bias")
    with pytest.raises(RuntimeError, match=r'(?s)Missing key.*"0.bias".*Unexpected key.*"1.weight"'):
        hg.to_torch(model, model.init(0)).load_state_dict(state)


def test_a_shared_module_stays_shared():
    layer = hg.Linear(3, 3)
    model = hg.Sequential([layer, hg.Tanh(), layer])
    module = hg.to_torch(model, model.init(0))
    assert module[0] is module[2]
    assert list(module.state_dict()) == ["0.weight", "0.bias"]
    again, params = hg.from_torch(module)
    assert again.layers[0] is again.layers[2]
    assert list(params) == ["0.weight", "0.bias"]
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        twin.load_state_dict({name: torch.zeros_like(each) for name, each in module.state_dict().items()})
        assert twin[0] is twin[2]
        assert not twin[0].weight.any()
    assert module[0].weight.any()
    outer = nn.Sequential(module)  # within another module, too
    outer.load_state_dict(outer.state_dict())
    assert list(outer.state_dict()) == ["0.0.weight", "0.0.bias"]


def test_training_goes_on_in_pytorch():
    """The same steps of SGD on the same batch, in both."""
    model = hg.mlp([3, 8, 2], "swiglu")
    params = model.init(0)
    x, y = np.random.default_rng(0).normal(size=(9, 3)), np.arange(9) % 2
    module = hg.to_torch(model, params)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(5):
        _, grads = hg.value_and_grad(model, "cross_entropy", params, x, y)
        params.flat -= 0.1 * grads.flat
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    close(module(torch.from_numpy(x)).detach(), model.forward(params, x)[0], 1e-12)


def test_parameters_are_copies_and_the_generator_is_left_alone():
    model = hg.mlp([3, 4, 2], layout="out_in")
    params = model.init(0)
    state = torch.get_rng_state()
    module = hg.to_torch(model, params)
    assert torch.equal(state, torch.get_rng_state())
    before = params.flat.copy()
    with torch.no_grad():
        module[0].weight.zero_()
    np.testing.assert_array_equal(params.flat, before)
    _, taken = hg.from_torch(module)
    taken.flat[...] = 7
    assert not module[0].weight.any()


def test_from_a_module_of_pytorchs_own():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Sequential(nn.Flatten(), nn.Linear(6, 5, bias=False), nn.LayerNorm(5, eps=1e-3)),
        nn.SiLU(),
        nn.Dropout(0.3),
        nn.Linear(5, 4),
        nn.Softmax(dim=-1),
    ).eval()
    model, params = hg.from_torch(module)
    assert params.keys() == module.state_dict().keys()
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(params[name], tensor.numpy())
    x = torch.randn(7, 2, 3)
    close(model.forward(params, x.numpy())[0], module(x).detach(), 1e-6)


def test_a_normalization_without_scale_or_shift():
    _model, params = hg.from_torch(nn.Sequential(nn.LayerNorm(3, elementwise_affine=False), nn.Linear(3, 1)))
    assert params["0.weight"].tolist() == [1, 1, 1]
    assert params["0.bias"].tolist() == [0, 0, 0]


class Own(nn.Module):
    pass


class OwnLinear(nn.Linear):
    """Of PyTorch's, and not it."""


def with_extra():
    module = nn.Sequential(nn.Linear(2, 2))
    module[0].register_parameter("scale", nn.Parameter(torch.ones(1)))
    return module


def with_buffer():
    module = nn.Sequential(nn.Linear(2, 2))
    module.register_buffer("count", torch.ones(1))
    return module


def with_hook():
    module = nn.Sequential(nn.ReLU())
    module[0].register_forward_hook(lambda *_: None)
    return module


def tied():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].weight = module[0].weight
    return module


def mixed():
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())


def swapped():
    module = hg.to_torch(hg.Sequential([hg.GLU(2, 2)]), hg.Sequential([hg.GLU(2, 2)]).init(0))
    module[0].gate = nn.Linear(2, 2)
    return module


def endless():
    module = nn.Sequential()
    for _ in range(150):
        module = nn.Sequential(module)
    return module


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU(), Own())), r"layer '1\.1': .*Own has no layer here"),
        (lambda: nn.Sequential(OwnLinear(2, 2)), r"layer '0': .*OwnLinear has no layer here"),
        (lambda: nn.Sequential(nn.Conv1d(1, 1, 1)), r"layer '0': torch.nn.modules.conv.Conv1d has no layer"),
        (lambda: nn.Sequential(nn.Dropout1d()), "Dropout1d has no layer"),
        (lambda: nn.Sequential(nn.Softmax()), r"layer '0': Softmax must name its axis"),
        (lambda: nn.Sequential(nn.Flatten(0)), "Flatten must be from axis 1 to the last, got 0"),
        (lambda: nn.Sequential(nn.LayerNorm((2, 3))), r"over the last axis alone, got \(2, 3\)"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 3)), r"layer '1': .*takes 2 features"),
        (with_extra, r"layer '0': Linear has the parameters \['scale'\]"),
        (with_buffer, r"Sequential has the buffers \['count'\]"),
        (with_hook, "layer '0': ReLU has hooks of its own"),
        (tied, r"layer '1': '1\.weight' and '0\.weight' are one parameter in two modules"),
        (mixed, r"must be all of one type, got float32 in '0\.weight' and float64 in '1\.weight'"),
        (lambda: nn.Sequential(nn.Linear(2, 2).bfloat16()), r"got bfloat16 in '0\.weight'"),
        (lambda: nn.Sequential(nn.Linear(2, 2, device="meta")), r"'0\.weight' is on no device"),
        (lambda: nn.Sequential(nn.Dropout(1.0)), "layer '0': .*rate"),
        (swapped, "layer '0': content and gate of a gated unit must be projections"),
        (endless, "nested 100 deep"),
        (lambda: "module", "takes an nn.Module, got str"),
    ],
)
def test_modules_that_no_layer_is(make, message):
    with pytest.raises((hg.FormatError, hg.errors.HandgradError), match=message):
        hg.from_torch(make())


class Mine(hg.ReLU):
    pass


class OwnSequential(hg.Sequential):
    pass


def test_layers_that_have_no_module():
    graph = hg.Graph()
    graph.input("x")
    with pytest.raises(hg.FormatError, match=r"layer '0\.layer': to_torch has no module for Mine"):
        hg.to_torch(hg.Sequential([hg.Residual(Mine())]), {})
    with pytest.raises(hg.FormatError, match=r"layer '0': to_torch has no module for OwnSequential"):
        hg.to_torch(hg.Sequential([OwnSequential([])]), {})
    with pytest.raises(hg.FormatError, match="no module for Graph"):
        hg.to_torch(graph, {})


def test_parameters_of_another_model():
    model = hg.Linear(2, 1)
    with pytest.raises(ParameterError, match=r"missing \['bias'\], unknown \['scale'\]"):
        hg.to_torch(model, {"weight": np.ones((2, 1)), "scale": np.ones(1)})
    with pytest.raises(ShapeError, match="'weight' must have shape"):
        hg.to_torch(model, {"weight": np.ones((1, 2)), "bias": np.ones(1)})
    with pytest.raises(hg.FormatError, match="int64"):
        hg.to_torch(model, {"weight": np.ones((2, 1), int), "bias": np.ones(1)})


def test_without_pytorch_the_error_says_what_to_install():
    code = """
import sys
sys.modules["torch"] = None
import handgrad as hg
for call in (lambda: hg.to_torch(hg.ReLU(), {}), lambda: hg.from_torch(None)):
    try:
        call()
    except ImportError as error:
        print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.count("needs torch: pip install 'handgrad[torch]'") == 2


def test_the_page_about_it(tmp_path, monkeypatch):
    """The blocks of docs/files.md that need PyTorch, which the tests of the pages leave out."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "files.md").read_text()
    blocks = re.findall(r"^```py\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    model = hg.mlp([4, 16, 3], "swiglu", layer_norm=True)
    names = {"hg": hg, "np": np, "model": model, "params": model.init(0, np.float32)}
    for block in blocks:
        exec(block, names)
