"""The parts of the script: forward, the loss, backward, the update, the training loop."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace

import numpy as np

from handgrad.explain.derive.code import Line, backward_lines, commented, imports, saved, step_lines, unpacked
from handgrad.explain.derive.functions import helpers_for
from handgrad.explain.derive.model import Written, call
from handgrad.explain.derive.parse import parse
from handgrad.explain.derive.program import Program
from handgrad.explain.derive.shapes import show
from handgrad.explain.source.initial import drawn, written
from handgrad.explain.source.optimizers import Rule
from handgrad.layers import Loss, Parameter

MASK = '''\
def mask(x, rate, rng):
    """What Dropout multiplies x by: 1 / (1 - rate) where it keeps, 0 where it drops; without rng 1."""
    if rng is None:
        return np.ones(x.shape)
    return (rng.random(x.shape, dtype=np.float32) >= rate) / (1 - rate)
'''


@dataclass(frozen=True)
class Plan:
    """All that the script says. program: the model from X to its scores; specs: parameters by their name there."""

    title: str
    model: Written
    program: Program
    specs: dict[str, Parameter]
    loss: Loss
    rule: Rule
    strength: float
    epochs: int
    batch_size: int
    seed: int
    values: dict[str, np.ndarray] | None

    @property
    def scores(self) -> str:
        """The name of the model's output."""
        return self.program.output


def source(plan: Plan) -> str:
    """The whole script."""
    forward, used = _forward(plan)
    parts = [forward, _loss(plan), _backward(plan, used), _step(plan), _update(plan), _train(plan), _main(plan)]
    text = "\n\n\n".join(part.rstrip("\n") for part in [_initialize(plan), *parts])
    helpers = helpers_for(text)
    if plan.model.masks:
        helpers.append(MASK)
    if plan.values is not None:
        text = text.replace("\n\n\nif __name__", f"\n\n\n{written(plan.values)}\n\nif __name__")
    head = imports(helpers, text)
    head = head.replace("import math\n", "import math\nimport sys\n") if "math" in head else f"import sys\n\n{head}"
    body = "\n\n\n".join(part.rstrip("\n") for part in [*helpers, text])
    return f"{_docstring(plan)}\n{head}\n{_constants(plan)}\n\n\n{body}\n"


def _docstring(plan: Plan) -> str:
    sample = ", ".join(["m", *map(str, plan.program.inputs["X"][1:])])
    by = f"{type(plan.loss).__name__}" + (" and L2" if plan.strength else "")
    return "\n".join(
        [
            *textwrap.wrap(f'"""{plan.title}', 115),
            "",
            f"Trained by {plan.rule.title} on {by}, in NumPy alone, every gradient written out.",
            "A comment beside each line says the shape of what it makes; m is the number of samples in a batch.",
            "dW1 is the gradient of the loss by W1, and so for every name.",
            "",
            f"    python SCRIPT DATA.npz [PARAMETERS.npz]     DATA holds X ({sample}) and y, a row for each sample",
            '"""',
            "",
        ]
    )


def _constants(plan: Plan) -> str:
    constants = dict(plan.rule.constants)
    if plan.strength:
        constants["L2"] = plan.strength
    constants |= {"EPOCHS": plan.epochs, "BATCH_SIZE": plan.batch_size, "SEED": plan.seed}
    lines = [f"{name} = {value!r}" for name, value in constants.items()]
    if plan.strength or "WEIGHT_DECAY" in constants:
        names = ", ".join(f'"{name}"' for name in plan.model.decayed)
        lines.append(f"WEIGHTS = [{names}]  # biases and normalization are left free")
    return "\n".join(lines)


def _initialize(plan: Plan) -> str:
    lines = ["def initialize(seed=SEED):", '    """First values of the parameters, by their names."""']
    if plan.values is not None:
        return "\n".join([lines[0], lines[1], "    return given()"])
    own = {short: name for name, short in plan.model.parameters.items()}
    rows = [(f'"{name}": {drawn(own[name], spec)},', spec.shape, own[name]) for name, spec in plan.specs.items()]
    width = max(len(code) for code, _, _ in rows)
    lines += ["    rng = np.random.default_rng(seed)", "    return {"]
    lines += [f"        {code:<{width}}  # {show(shape)}, {name}" for code, shape, name in rows]
    return "\n".join([*lines, "    }"])


def _forward(plan: Plan) -> tuple[str, list[str]]:
    """The function, and the names of what it saves."""
    program, masks = plan.program, plan.model.masks
    used = saved(program, backward_lines(program))
    params = [name for name in plan.specs if name in used or _occurs(plan, name)]
    rng = ", rng=None" if masks else ""
    lines = [f"def forward(params, X{rng}):"]
    drops = " Without rng nothing is dropped." if masks else ""
    shape = show(program.shape(plan.scores))
    lines.append(f'    """The scores {plan.scores} {shape}, and what backward needs of the way.{drops}"""')
    lines += _unpacked(params)
    groups: list[tuple[str, list[Line]]] = []
    for step in program.steps:
        made: list[Line] = []
        for operand in step.operands:
            name = getattr(operand.array, "name", "")
            if name in masks:
                rate, like = masks[name]
                made.append((f"{name} = mask({like}, {rate!r}, rng)", program.shape(name)))
        made += step_lines(step)
        title = plan.model.sections.get(step.name, "")
        if title or not groups:
            groups.append((title, made))
        else:
            groups[-1][1].extend(made)
    shown = iter(commented([line for _, made in groups for line in made]))
    for title, made in groups:
        lines += ["", f"    # {title}"] if title else [""]
        lines += [next(shown) for _ in made]
    cache = [name for name in used if name not in plan.specs]
    lines += ["", f"    return {plan.scores}, {_tuple(cache)}"]
    return "\n".join(lines), cache


def _occurs(plan: Plan, name: str) -> bool:
    return any(getattr(operand.array, "name", "") == name for step in plan.program.steps for operand in step.operands)


def _unpacked(params: list[str]) -> list[str]:
    row = f"    {', '.join(params)} = " + ", ".join(f'params["{name}"]' for name in params)
    return [row] if len(row) <= 118 else [f'    {name} = params["{name}"]' for name in params]


def _tuple(names: list[str]) -> str:
    return f"({', '.join(names)}{',' * (len(names) == 1)})"


def _loss(plan: Plan) -> str:
    scores = plan.program.shape(plan.scores)
    labels = scores[:-1] if plan.loss.classifies else scores
    program = parse(f"loss = {call(plan.loss, plan.scores)}", {plan.scores: scores, "y": labels})
    program = replace(program, steps=tuple(replace(step, last=True) for step in program.steps))
    forward = [line for step in program.steps for line in step_lines(step)]
    kind = f"{show(labels)}, " + (f"labels 0 to {int(scores[-1]) - 1}" if plan.loss.classifies else "numbers")
    lines = [
        f"def loss_of_scores({plan.scores}, y):",
        f'    """{type(plan.loss).__name__}, the mean over the batch, and its gradient by the scores. y: {kind}."""',
    ]
    if not plan.loss.classifies:
        lines.append(f"    y = y.reshape({plan.scores}.shape)")
    lines += [*commented([*forward, *backward_lines(program)]), f"    return loss, d{plan.scores}"]
    return "\n".join(lines)


def _backward(plan: Plan, cache: list[str]) -> str:
    program = plan.program
    back = backward_lines(program)
    used = saved(program, back)
    params = [name for name in plan.specs if name in used]
    lines = [
        f"def backward(params, d{plan.scores}, cache):",
        '    """The gradient of each parameter, from that of the scores."""',
        *(_unpacked(params) if params else []),
        *([f"    {unpacked(cache)} = cache"] if cache else []),
        "",
        *commented(back),
        "",
    ]
    pairs = [f'"{name}": d{name}' for name in plan.specs]
    row = f"    return {{{', '.join(pairs)}}}"
    if len(row) <= 118:
        return "\n".join([*lines, row])
    return "\n".join([*lines, "    return {", *[f"        {pair}," for pair in pairs], "    }"])


def _step(plan: Plan) -> str:
    rng = ", rng=None" if plan.model.masks else ""
    passed = ", rng" if plan.model.masks else ""
    lines = [
        f"def loss_and_gradients(params, X, y{rng}):",
        '    """The loss of a batch' + (", the penalty added," if plan.strength else "") + ' and its gradients."""',
        f"    {plan.scores}, cache = forward(params, X{passed})",
        f"    loss, d{plan.scores} = loss_of_scores({plan.scores}, y)",
        f"    grads = backward(params, d{plan.scores}, cache)",
    ]
    if plan.strength:
        lines += [
            "    for name in WEIGHTS:",
            "        loss += L2 * np.sum(params[name] ** 2)",
            "        grads[name] = grads[name] + 2 * L2 * params[name]",
        ]
    return "\n".join([*lines, "    return loss, grads"])


def _update(plan: Plan) -> str:
    rule = plan.rule
    state = [*([("step", "0")] if rule.counts else [])]
    state += [(slot, "{name: np.zeros_like(w) for name, w in params.items()}") for slot in rule.slots]
    lines = []
    if state:
        lines += [
            "def first_state(params):",
            f'    """What {rule.title} remembers, before the first step."""',
            "    return {",
            *[f'        "{key}": {value},' for key, value in state],
            "    }",
            "",
            "",
        ]
    arguments = "params, grads, state" if state else "params, grads"
    lines += [f"def update({arguments}):", f'    """One step of {rule.title}, in place."""']
    if rule.counts:
        lines += ['    state["step"] += 1', '    t = state["step"]']
    lines += [
        "    for name, g in grads.items():",
        "        w = params[name]",
        *[f"        {row}" for row in rule.lines],
    ]
    return "\n".join(lines)


def _train(plan: Plan) -> str:
    masks, state = bool(plan.model.masks), bool(plan.rule.slots)
    key = "np.random.SeedSequence(seed, spawn_key=({}, epoch))"
    lines = [
        "def train(params, X, y, epochs=EPOCHS, batch_size=BATCH_SIZE, seed=SEED):",
        '    """Epochs of shuffled batches; params change in place."""',
        *(["    state = first_state(params)"] if state else []),
        "    for epoch in range(epochs):",
        f"        order = np.random.default_rng({key.format(0)}).permutation(len(X))",
        *([f"        rng = np.random.Generator(np.random.Philox({key.format(1)}))"] if masks else []),
        "        total = 0.0",
        "        for start in range(0, len(X), batch_size):",
        "            rows = order[start : start + batch_size]",
        f"            loss, grads = loss_and_gradients(params, X[rows], y[rows]{', rng' if masks else ''})",
        f"            update(params, grads{', state' if state else ''})",
        "            total += loss * len(rows)",
        '        print(f"epoch {epoch + 1}: loss {total / len(X):.6f}")',
        "    return params",
    ]
    return "\n".join(lines)


def _main(plan: Plan) -> str:
    return "\n".join(
        [
            'if __name__ == "__main__":',
            "    if len(sys.argv) < 2:",
            '        sys.exit("give the file of the data, an .npz with X and y")',
            "    data = np.load(sys.argv[1])",
            '    params = train(initialize(), data["X"].astype(float), data["y"])',
            "    if len(sys.argv) > 2:",
            "        np.savez(sys.argv[2], **params)",
        ]
    )
