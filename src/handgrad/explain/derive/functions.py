"""How each function of arrays is written in NumPy and in LaTeX, and the helpers for those that NumPy lacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Writer = Callable[[list[str], dict[str, Any]], str]


def _plain(name: str) -> Writer:
    return lambda args, options: f"{name}({', '.join([*args, *(f'{k}={v!r}' for k, v in options.items())])})"


def _method(name: str) -> Writer:
    """x.sum(axis=0) of a name, np.sum(x * y, axis=0) of an expression."""

    def write(args: list[str], options: dict[str, Any]) -> str:
        given = [f"{key}={value!r}" for key, value in options.items()]
        if re.fullmatch(r"[\w.]+", args[0]):
            return f"{args[0]}.{name}({', '.join(given)})"
        return f"np.{name}({', '.join([*args, *given])})"

    return write


def _swish(args: list[str], options: dict[str, Any]) -> str:
    beta = options.get("beta", 1.0)
    return f"{args[0]} * sigmoid({args[0]})" if beta == 1 else f"{args[0]} * sigmoid({beta!r} * {args[0]})"


CODE: dict[str, Writer] = {
    "relu": lambda args, options: f"np.maximum({args[0]}, 0)",
    "leaky_relu": lambda args, options: f"np.where({args[0]} > 0, {args[0]}, {options['alpha']!r} * {args[0]})",
    "swish": _swish,
    "identity": lambda args, options: args[0],
    "where": _plain("np.where"),
    "maximum": _plain("np.maximum"),
    "clip": _plain("np.clip"),
    "outer": _plain("np.outer"),
    "mean_all": lambda args, options: f"np.mean({args[0]})",
    "einsum": lambda args, options: f'np.einsum("{options["indices"]}", {", ".join(args)})',
    "flatten": lambda args, options: f"{args[0]}.reshape(len({args[0]}), -1)",
    **{name: _plain(f"np.{name}") for name in ("tanh", "exp", "log", "sqrt", "log1p", "abs")},
    **{name: _method(name) for name in ("sum", "mean", "max")},
    **{
        name: _plain(name)
        for name in ("sigmoid", "gelu", "gelu_tanh", "gelu_tanh_slope", "normal_cdf", "normal_pdf", "softmax")
    },
    **{name: _plain(name) for name in ("log_sum_exp", "one_hot", "softplus", "shares_of_largest")},
}


def _over_axis(name: str) -> Writer:
    def write(args: list[str], options: dict[str, Any]) -> str:
        axis = options.get("axis")
        under = "" if axis is None else rf"_{{\mathrm{{axis}}\,{str(axis).strip('()').replace(' ', '').rstrip(',')}}}"
        return rf"\operatorname{{{name}}}{under}\left({args[0]}\right)"

    return write


LATEX: dict[str, Writer] = {
    "sigmoid": lambda args, options: rf"\sigma\left({args[0]}\right)",
    "tanh": lambda args, options: rf"\tanh\left({args[0]}\right)",
    "exp": lambda args, options: f"e^{{{args[0]}}}",
    "log": lambda args, options: rf"\ln\left({args[0]}\right)",
    "sqrt": lambda args, options: rf"\sqrt{{{args[0]}}}",
    "relu": lambda args, options: rf"\max\left(0, {args[0]}\right)",
    "maximum": lambda args, options: rf"\max\left({args[0]}, {args[1]}\right)",
    "abs": lambda args, options: rf"\left|{args[0]}\right|",
    "normal_cdf": lambda args, options: rf"\Phi\left({args[0]}\right)",
    "normal_pdf": lambda args, options: rf"\varphi\left({args[0]}\right)",
    "gelu_tanh": lambda args, options: rf"\operatorname{{gelu}}\left({args[0]}\right)",
    "gelu_tanh_slope": lambda args, options: rf"\operatorname{{gelu}}'\left({args[0]}\right)",
    "outer": lambda args, options: rf"{args[0]}\,{args[1]}^\top",
    "einsum": lambda args, options: (
        rf"\operatorname{{einsum}}_{{{options['indices'].replace('->', chr(92) + 'to ')}}}"
        rf"\left({', '.join(args)}\right)"
    ),
    "one_hot": lambda args, options: rf"\operatorname{{onehot}}\left({args[0]}\right)",
    "log_sum_exp": lambda args, options: rf"\operatorname{{logsumexp}}\left({args[0]}\right)",
    "leaky_relu": lambda args, options: rf"\operatorname{{leaky-relu}}\left({args[0]}\right)",
    "softplus": lambda args, options: rf"\ln\left(1 + e^{{{args[0]}}}\right)",
    "clip": lambda args, options: rf"\max\left({args[1]}, \min\left({args[2]}, {args[0]}\right)\right)",
    "where": lambda args, options: rf"\operatorname{{where}}\left({', '.join(args)}\right)",
    "mean_all": lambda args, options: rf"\operatorname{{mean}}\left({args[0]}\right)",
    "shares_of_largest": lambda args, options: rf"\operatorname{{shares}}\left({args[0]}\right)",
    **{name: _over_axis(name) for name in ("sum", "mean", "max")},
}

HELPERS = {
    "sigmoid": '''\
def sigmoid(x):
    """1 / (1 + exp(-x)); only exp of numbers <= 0 is taken, so that none overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)
''',
    "softmax": '''\
def softmax(x, temperature=1.0, axis=-1):
    """exp(x / temperature), scaled to sum to 1 along the axis; less the largest, so that none overflows."""
    e = np.exp((x - x.max(axis=axis, keepdims=True)) / temperature)
    return e / e.sum(axis=axis, keepdims=True)
''',
    "log_sum_exp": '''\
def log_sum_exp(x):
    """log(sum(exp(x))) along the last axis; less the largest, so that none overflows."""
    largest = x.max(axis=-1, keepdims=True)
    return largest[..., 0] + np.log(np.exp(x - largest).sum(axis=-1))
''',
    "softplus": '''\
def softplus(x):
    """log(1 + exp(x)), which no x overflows."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
''',
    "one_hot": '''\
def one_hot(labels, classes):
    """A row for each label: 1 in its place, 0 elsewhere."""
    return np.eye(classes)[labels]
''',
    "normal_cdf": '''\
def normal_cdf(x):
    """The standard normal distribution function."""
    return 0.5 * np.vectorize(math.erfc, otypes=[float])(-x * math.sqrt(0.5))
''',
    "normal_pdf": '''\
def normal_pdf(x):
    """The standard normal density."""
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
''',
    "gelu": '''\
def gelu(x):
    """x times the standard normal distribution function."""
    return x * normal_cdf(x)
''',
    "gelu_gate": '''\
def gelu_gate(x):
    """The usual approximation of the standard normal distribution function."""
    return sigmoid(math.sqrt(8 / math.pi) * x * (1 + 0.044715 * x * x))
''',
    "gelu_tanh": '''\
def gelu_tanh(x):
    """x times the usual approximation of the standard normal distribution function."""
    return x * gelu_gate(x)
''',
    "gelu_tanh_slope": '''\
def gelu_tanh_slope(x):
    """The derivative of gelu_tanh."""
    gate = gelu_gate(x)
    return gate + x * gate * (1 - gate) * math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * x * x)
''',
    "shares_of_largest": '''\
def shares_of_largest(x, axis=None):
    """1 for the largest element along the axis, 0 for the others; k that tie take 1 / k each."""
    hit = x == x.max(axis=axis, keepdims=True)
    return hit / hit.sum(axis=axis, keepdims=True)
''',
}


def helpers_for(code: str) -> list[str]:
    """The sources of the helpers that some code calls, and of those that these call, in the order of the table."""
    found: set[str] = set()
    todo = [code]
    while todo:
        called = set(re.findall(r"\b([a-z_]\w*)\(", todo.pop())) & HELPERS.keys() - found
        found |= called
        todo += [HELPERS[name] for name in called]
    return [source for name, source in HELPERS.items() if name in found]
