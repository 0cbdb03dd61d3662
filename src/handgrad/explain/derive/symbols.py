"""Names in LaTeX."""

from __future__ import annotations

import functools
import re
import unicodedata

SMALL = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"),
    *("nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
)
CAPITAL = ("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega")  # that LaTeX has
GREEK = {name: unicodedata.lookup(f"Greek small letter {name}".replace("mb", "m")) for name in SMALL}
GREEK |= {name: GREEK[name.lower()].upper() for name in CAPITAL}


def symbol(name: str) -> str:
    r"""A name in LaTeX: W1 is W_{1}, n_in is n_{\mathrm{in}}, gamma2 is \gamma_{2}."""
    if "*" in name:
        return r" \, ".join(map(symbol, name.split("*")))
    base, index = parts(name)
    return f"{base}_{{{index}}}" if index else base


@functools.cache
def parts(name: str) -> tuple[str, str]:
    """(base, subscript) of a name, both in LaTeX; the subscript may be empty."""
    for word, letter in GREEK.items():
        if found := re.fullmatch(rf"(?:{word}|{letter})_?(\d*)", name):
            return rf"\{word}" if word != "epsilon" else r"\varepsilon", found[1]
    head, _, tail = name.partition("_")
    match = re.fullmatch(r"([A-Za-z])([a-z]?\d*)", head)
    if match:
        base, small = match.groups()
    else:
        base, small = upright(head) if head else r"\text{\textunderscore}", ""
    indices = [part for part in (small, *tail.split("_")) if part]
    plain = re.compile(r"[A-Za-z]?\d*", re.ASCII)
    return base, ",".join(part if plain.fullmatch(part) else upright(part) for part in indices)


def upright(word: str) -> str:
    """A word in LaTeX, in letters that are no product of variables."""
    return rf"\mathrm{{{word}}}" if word.isascii() else rf"\text{{{word}}}"


def indexed(name: str, indices: tuple[str, ...]) -> str:
    """An element in LaTeX: X_{ik}, (W_{1})_{kj}."""
    if not indices:
        return symbol(name)
    joined = "".join(indices)
    return f"{symbol(name)}_{{{joined}}}" if not parts(name)[1] else f"({symbol(name)})_{{{joined}}}"


def operator_name(function: str) -> str:
    """A function's name in LaTeX."""
    name = function.replace("_", "-")
    return rf"\operatorname{{{name}}}"
