"""Names in LaTeX."""

from __future__ import annotations

import re

GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "lambda", "mu", "sigma", "tau", "theta", "phi", "rho", "eta")


def symbol(name: str) -> str:
    r"""A name in LaTeX: W1 is W_{1}, n_in is n_{\mathrm{in}}, gamma2 is \gamma_{2}."""
    if "*" in name:
        return r" \, ".join(map(symbol, name.split("*")))
    base, index = parts(name)
    return f"{base}_{{{index}}}" if index else base


def parts(name: str) -> tuple[str, str]:
    """(base, subscript) of a name, both in LaTeX; the subscript may be empty."""
    for word in GREEK:
        if re.fullmatch(rf"{word}(_?\d*)", name):
            return rf"\{word}" if word != "epsilon" else r"\varepsilon", name[len(word) :].strip("_")
    head, _, tail = name.partition("_")
    match = re.fullmatch(r"([A-Za-z])([a-z]?\d*)", head)
    if match:
        base, small = match.groups()
    else:
        base, small = rf"\mathrm{{{head}}}" if head else r"\_", ""
    indices = [part for part in (small, *tail.split("_")) if part]
    return base, ",".join(rf"\mathrm{{{part}}}" if len(part) > 1 and part.isalpha() else part for part in indices)


def indexed(name: str, indices: tuple[str, ...]) -> str:
    """An element in LaTeX: X_{ik}, (W_{1})_{kj}."""
    if not indices:
        return symbol(name)
    joined = "".join(indices)
    return f"{symbol(name)}_{{{joined}}}" if not parts(name)[1] else f"({symbol(name)})_{{{joined}}}"


def operator_name(function: str) -> str:
    """A function's name in LaTeX."""
    name = function.replace("_", r"\_")
    return rf"\operatorname{{{name}}}"
