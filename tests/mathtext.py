"""LaTeX that matplotlib must be able to draw, which takes it ten milliseconds a formula and more."""

import re

from soak import FACTOR

SYMBOL = re.compile(r"\\[a-zA-Z]+|\\.|\d+(?:\.\d+)?|[a-zA-Z]|\S")
RUN = 3


def unlike(texts):
    """So many of the texts, the short ones first, that any RUN symbols that follow one another in any of them do so in
    these; numbers are all alike, and so are letters. All of them in `make soak`."""
    if FACTOR > 1:
        return sorted(texts)
    seen, chosen = set(), []
    for text in sorted(texts, key=lambda text: (len(text), text)):
        symbols = ["1" if s[0].isdigit() else "x" if s.isalpha() else s for s in SYMBOL.findall(text)]
        runs = {tuple(symbols[i : i + RUN]) for i in range(max(1, len(symbols) - RUN + 1))}
        if runs - seen:
            chosen.append(text)
            seen |= runs
    return chosen
