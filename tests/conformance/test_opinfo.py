"""PyTorch's OpInfo samples: our ops give PyTorch's values and, for random upstream gradients, its gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from conformance.harness import Beyond, Tape, same_numbers
from conformance.torch_operators import OPERATORS, Match
from handgrad import ops

torch = pytest.importorskip("torch", reason='PyTorch is not installed; make test EXTRA="torch==2.13.0" runs these')
pytest.importorskip("expecttest", reason="PyTorch's OpInfo samples need the package expecttest beside torch")

RTOL, ATOL = 1e-12, 1e-13


@cache
def infos() -> dict[str, list[Any]]:
    from torch.testing._internal.common_methods_invocations import op_db

    return {name: [info for info in op_db if info.name == name] for name in OPERATORS}


@cache
def samples(name: str) -> tuple[Any, ...]:
    """The samples of one function, in all its variants, and again with the keywords that OpInfo leaves at default.

    Made once, as it takes longer than to compare them: nothing writes to one, as each side is given copies of its own.
    """
    return tuple(_samples(name))


def _samples(name: str) -> Iterator[Any]:
    found = infos()[name]
    assert found, f"torch {torch.__version__} has no OpInfo named {name}"
    for info in found:
        for sample in info.sample_inputs("cpu", torch.float64, requires_grad=True):
            sample.kwargs = {k: positive(k, v) for k, v in sample.kwargs.items()}
            yield info, sample
            for keywords in OPERATORS[name].again:
                if OPERATORS[name].allows(sample):
                    yield info, type(sample)(sample.input, args=sample.args, kwargs={**sample.kwargs, **keywords})


def positive(name: str, value: Any) -> Any:
    """Weights made positive: PyTorch's samples have them negative, which a weight here cannot be."""
    return value.abs() if name in ("weight", "pos_weight") and isinstance(value, torch.Tensor) else value


def beyond(match: Match, sample: Any) -> Beyond | None:
    return next((b for b in match.beyond if b.applies(sample)), None)


def to_numpy(tensor: Any) -> np.ndarray:
    array = tensor.detach().numpy().copy()
    array.setflags(write=False)
    return array


def to_torch(tensor: Any) -> Any:
    return tensor.detach().clone()


def ours(match: Match, sample: Any, convert: Callable[[Any], Any]) -> tuple[Tape, Any, list[Any]]:
    """The tape, our output, and our arrays of the tensors in the sample that a gradient is compared of."""
    arrays = []

    def converted(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        arrays.append(convert(value))
        return arrays[-1]

    args = [converted(value) for value in (sample.input, *sample.args)]
    leaves = arrays[:1] if match.targets else list(arrays)
    kwargs = {name: converted(value) for name, value in sample.kwargs.items()}
    tape = Tape()
    return tape, match.run(tape, *args, **kwargs), leaves


def theirs(info: Any, match: Match, sample: Any) -> tuple[Any, Any, list[Any]]:
    """PyTorch's output, a random upstream gradient, and PyTorch's gradients."""
    args = [v.detach().clone().requires_grad_() if differentiable(v) else v for v in (sample.input, *sample.args)]
    leaves = [v for v in args if isinstance(v, torch.Tensor)]
    leaves = leaves[:1] if match.targets else leaves
    out = info(*args, **sample.kwargs)
    upstream = torch.from_numpy(np.asarray(np.random.default_rng(7).standard_normal(tuple(out.shape))))
    return out, upstream, torch.autograd.grad(out, leaves, upstream)


def differentiable(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


@pytest.mark.parametrize("convert", [to_numpy, to_torch])
@pytest.mark.parametrize("name", OPERATORS)
def test_every_sample_agrees_or_is_refused(name: str, convert: Callable[[Any], Any]) -> None:
    match, ran = OPERATORS[name], 0
    for number, (info, sample) in enumerate(samples(name)):
        out_of_scope = beyond(match, sample)
        if out_of_scope is not None:
            if out_of_scope.error is not None:
                with pytest.raises(out_of_scope.error):
                    ours(match, sample, convert)
            continue
        out, upstream, gradients = theirs(info, match, sample)
        tape, value, leaves = ours(match, sample, convert)
        assert isinstance(value, torch.Tensor) == (convert is to_torch)
        same_numbers(value, out.detach(), RTOL, ATOL, f"{name}, sample {number}")
        mine = tape.gradients(value, convert(upstream), leaves)
        for i, (actual, expected) in enumerate(zip(mine, gradients, strict=True)):
            same_numbers(actual, expected, RTOL, ATOL, f"{name}, sample {number}, gradient {i}")
        ran += 1
    assert ran > 0, f"no sample of {name} was run"


def test_what_is_out_of_scope_is_little() -> None:
    ran = left_out = 0
    for name, match in OPERATORS.items():
        found = [beyond(match, sample) for _, sample in samples(name)]
        reasons = [b for b in found if b is not None]
        print(f"{name}: {len(found) - len(reasons)} run, {len(reasons)} out of scope")
        for reason in match.beyond:
            print(f"    {reasons.count(reason)}: {reason.reason}")
            assert reason in reasons, f"{name}: a reason that no sample needs: {reason.reason}"
        ran, left_out = ran + len(found) - len(reasons), left_out + len(reasons)
    print(f"{ran} samples of {len(OPERATORS)} functions run, {left_out} out of scope; torch {torch.__version__}")
    assert ran > 0.9 * (ran + left_out)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("nn.functional.silu", ops.gelu), ("amax", ops.mean), ("nn.functional.relu", ops.identity)],
)
def test_a_wrong_gradient_is_seen(name: str, wrong: Any) -> None:
    """PyTorch's values with another op's backward."""
    info, sample = next((i, s) for i, s in samples(name) if s.input.ndim)
    _, upstream, (expected,) = theirs(info, OPERATORS[name], sample)
    tape, value, leaves = ours(Match(lambda do, x, **_: do(wrong, x)), sample, to_numpy)
    with pytest.raises(AssertionError):
        same_numbers(tape.gradients(value, to_numpy(upstream), leaves)[0], expected, RTOL, ATOL, name)
