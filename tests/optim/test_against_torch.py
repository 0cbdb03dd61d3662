"""Fifty steps beside PyTorch's optimizers, and every step of its schedules."""

import numpy as np
import pytest

from handgrad.optim import SGD, Adam, AdamW, Constant, Cosine, OneCycle, RMSprop, Step, WarmUp

torch = pytest.importorskip("torch", reason="PyTorch is the reference these tests compare with")

OPTIMIZERS = {
    "sgd": (SGD(0.05), lambda w: torch.optim.SGD(w, lr=0.05)),
    "momentum": (SGD(0.05, momentum=0.9), lambda w: torch.optim.SGD(w, lr=0.05, momentum=0.9)),
    "nesterov": (
        SGD(0.05, momentum=0.8, nesterov=True),
        lambda w: torch.optim.SGD(w, lr=0.05, momentum=0.8, nesterov=True),
    ),
    "rmsprop": (
        RMSprop(0.01, decay=0.95, epsilon=1e-3),
        lambda w: torch.optim.RMSprop(w, lr=0.01, alpha=0.95, eps=1e-3),
    ),
    "adam": (
        Adam(0.02, beta1=0.8, beta2=0.99, epsilon=1e-3),
        lambda w: torch.optim.Adam(w, lr=0.02, betas=(0.8, 0.99), eps=1e-3),
    ),
    "adamw": (
        AdamW(0.02, beta1=0.8, beta2=0.99, epsilon=1e-3, weight_decay=0.1),
        lambda w: torch.optim.AdamW(w, lr=0.02, betas=(0.8, 0.99), eps=1e-3, weight_decay=0.1),
    ),
}


def gradient_of_bowl(w):
    """Of a bowl that is neither round nor quadratic, so that an error of any step shows in those after it."""
    return np.linspace(0.1, 3, w.size) * w + w**3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps(name):
    ours, theirs = OPTIMIZERS[name]
    params = np.random.default_rng(0).normal(size=30)
    reference = torch.tensor(params)
    reference.requires_grad_()
    their_optimizer = theirs([reference])
    state = ours.init(params)
    for step in range(50):
        state, update = ours.update(state, gradient_of_bowl(params), params)
        params = params + update
        reference.grad = torch.tensor(gradient_of_bowl(reference.detach().numpy()))
        their_optimizer.step()
        np.testing.assert_allclose(params, reference.detach().numpy(), rtol=1e-11, atol=1e-13, err_msg=f"{step=}")
    assert state["step"] == 50


def test_decayed_is_a_parameter_group_without_decay():
    w = np.random.default_rng(1).normal(size=12)
    decayed = np.arange(12) < 7
    weights, biases = torch.tensor(w[:7]).requires_grad_(), torch.tensor(w[7:]).requires_grad_()
    theirs = torch.optim.AdamW([{"params": [weights]}, {"params": [biases], "weight_decay": 0}], 0.02, weight_decay=0.5)
    ours = AdamW(0.02, weight_decay=0.5)
    state = ours.init(w)
    for _ in range(50):
        gradient = gradient_of_bowl(w)
        state, update = ours.update(state, gradient, w, decayed=decayed)
        weights.grad, biases.grad = torch.tensor(gradient[:7]), torch.tensor(gradient[7:])
        theirs.step()
        w = w + update
        np.testing.assert_allclose(w, torch.cat([weights, biases]).detach().numpy(), rtol=1e-11, atol=1e-13)


def their_rates(make, base, steps):
    """The rate in force at each step, 0 to steps - 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    schedule = make(optimizer)
    rates = []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < steps - 1:
            schedule.step()
    return rates


LR = torch.optim.lr_scheduler
SCHEDULES = {
    "cosine": (Cosine(0.3, 40, 0.01), lambda o: LR.CosineAnnealingLR(o, 40, 0.01), 0.3, 41),
    "step": (Step(0.3, 7, 0.5), lambda o: LR.StepLR(o, 7, 0.5), 0.3, 50),
    "one cycle": (OneCycle(0.3, 40), lambda o: LR.OneCycleLR(o, 0.3, total_steps=40), 0.3, 40),
    "one cycle, options": (
        OneCycle(0.3, 37, warm=0.41, start_div=10, final_div=50),
        lambda o: LR.OneCycleLR(o, 0.3, total_steps=37, pct_start=0.41, div_factor=10, final_div_factor=50),
        0.3,
        37,
    ),
    "one cycle, all rise": (
        OneCycle(0.3, 20, warm=1.0),
        lambda o: LR.OneCycleLR(o, 0.3, total_steps=20, pct_start=1.0),
        0.3,
        20,
    ),
    "warm-up": (
        WarmUp(8, Constant(0.3), start=0.03),
        lambda o: LR.LinearLR(o, start_factor=0.1, total_iters=8),
        0.3,
        20,
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name):
    ours, theirs, base, steps = SCHEDULES[name]
    np.testing.assert_allclose(
        [ours(step) for step in range(steps)], their_rates(theirs, base, steps), rtol=0, atol=1e-12
    )


def test_a_schedule_drives_the_optimizer():
    # the rate of a step is the one in force before it: a schedule late or early by one step would show
    rates = Cosine(0.3, 10)
    w = np.ones(3)
    reference = torch.ones(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([reference], lr=0.3, momentum=0.5)
    schedule = LR.CosineAnnealingLR(optimizer, 10)
    ours = SGD(rates, momentum=0.5)
    state = ours.init(w)
    for _ in range(10):
        state, update = ours.update(state, w)
        w = w + update
        reference.grad = reference.detach().clone()
        optimizer.step()
        schedule.step()
        np.testing.assert_allclose(w, reference.detach().numpy(), rtol=1e-12)
