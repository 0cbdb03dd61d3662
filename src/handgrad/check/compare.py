"""One array's gradient against numbers: single entries, all of them along random directions, kinks by intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from handgrad.check.numeric import STEPS, Along, Point

TOLERANCE = {"complex": 1e-8, "central": 1e-5}
RESOLUTION = {"complex": 1e-6, "central": 1e-5}  # of a gradient, in units of the function's own size
DIRECTIONS = 3
SMALLEST = 1e-48  # gradients below it are lost in the square of the complex step
PATIENCE = 8  # wrong entries after which the rest of an array is measured with one step


@dataclass(frozen=True)
class Finding:
    """One comparison. index: the entry, or None for a random direction over all. kink: the one-sided derivatives."""

    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    error: float
    ok: bool
    kink: tuple[float, float] | None = None


def relative_error(a: float, b: float, floor: float) -> float:
    """|a - b| / max(|a|, |b|, floor), infinite where either is not finite."""
    if not (np.isfinite(a) and np.isfinite(b)):
        return float("inf")
    return 0.0 if a == b else abs(a - b) / max(abs(a), abs(b), floor)


@dataclass
class Neighbourhood:
    """Points near one that stands on kinks: random ones stand on none."""

    point: Point
    seed: int

    @cached_property
    def apart(self) -> list[Point]:
        """Three points, far enough for finite steps between them and the kinks."""
        rng = np.random.default_rng(self.seed)
        return [self.point.near(self._noise(rng), 1e-2) for _ in range(DIRECTIONS)]

    @cached_property
    def opposite(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The gradients at 16 pairs of points to either side, so close that kinks alone tell them apart."""
        rng = np.random.default_rng(self.seed)
        pairs = []
        for _ in range(16):
            noise = self._noise(rng)
            pairs.append((self.point.near(noise, 1e-6).gradients, self.point.near(noise, -1e-6).gradients))
        return pairs

    def _noise(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {name: rng.standard_normal(x.shape) for name, x in self.point.values.items()}

    def kinked(self, name: str) -> bool:
        """Whether the gradient by this array jumps around the point."""
        before, after = (np.array([pair[side][name] for pair in self.opposite]) for side in (0, 1))
        return bool(np.max(np.abs(before - after), initial=0.0) > 1e-3 * np.max(np.abs(before), initial=0.0))

    def excuses(self, name: str, finding: Finding) -> bool:
        """Whether several kinks meet at this entry, and a subgradient of them all may have its value.

        The two one-sided derivatives bound the subgradients of one kink, not of several: their jumps may differ in
        sign, and of two in a row one may hide the other. Each kink is on one side at one point of a pair and on the
        other at its opposite, so that pairs lie around the middle of all subgradients, as far apart as these spread.
        What is excused here is still proved along directions at points without kinks.
        """
        values = np.array(
            [(before[name][finding.index], after[name][finding.index]) for before, after in self.opposite]
        )
        spread = np.ptp(values)
        if not np.isfinite(spread) or spread <= 1e-3 * np.max(np.abs(values)):  # no kink: the gradient is continuous
            return False
        several = len(np.unique(np.round((values - values.min()) / spread, 2))) > 2  # one kink alone is on or off
        if not (several or self.point.target.composed):
            return False
        return bool(abs(finding.analytic - values.mean()) <= np.max(np.abs(values[:, 0] - values[:, 1])))


@dataclass
class Judge:
    """Compares the gradient by one array with numbers at one point."""

    point: Point
    name: str
    method: str
    tolerance: float
    failures: int = field(default=0, init=False)

    @cached_property
    def gradient(self) -> np.ndarray:
        return np.real(np.asarray(self.point.gradients[self.name]))

    def entry(self, index: tuple[int, ...]) -> Finding:
        """The finding at one entry. Errors are relative to at least a thousandth of the array's largest gradient."""
        largest = float(np.max(np.abs(self.gradient), initial=0.0, where=np.isfinite(self.gradient)))
        found = self._compare(index, float(self.gradient[index]), 1e-3 * largest)
        self.failures += not found.ok
        return found

    def direction(self, v: np.ndarray) -> Finding:
        """The finding along v, of length 1. Errors are relative to at least the gradient's root mean square."""
        return self._compare(v, float(np.sum(self.gradient * v)), float(np.sqrt(np.mean(self.gradient**2))))

    def slope(self, along: Along) -> float:
        """The derivative alone, without a verdict."""
        if self.method == "complex":
            return self.point.complex_slopes(self.name, along)[0]
        return self.point.central_slope(self.name, along, STEPS[1])

    def _compare(self, along: Along, analytic: float, floor: float) -> Finding:
        if self.method == "complex":
            forth, back = self.point.complex_slopes(self.name, along)
            at_least = max(floor, RESOLUTION["complex"] * self.point.magnitude, SMALLEST)
            if relative_error(forth, back, at_least) <= TOLERANCE["complex"]:
                return self._finding(along, analytic, forth, at_least, self.tolerance)
        # a kink, or what looks like one to complex numbers: real steps decide
        at_least = max(floor, RESOLUTION["central"] * self.point.magnitude, SMALLEST)
        kink = self._kink(along, analytic, at_least) if self.method == "complex" else None
        return kink or self._central(along, analytic, at_least)

    def _central(self, along: Along, analytic: float, floor: float) -> Finding:
        tolerance = max(self.tolerance, TOLERANCE["central"]) if self.method == "complex" else self.tolerance
        findings = []
        for step in STEPS if self.failures < PATIENCE else STEPS[:1]:
            numeric = self.point.central_slope(self.name, along, step)
            rounding = 2e-15 * self.point.magnitude / step  # of the difference: small steps see less
            if step < 1e-6 and rounding > tolerance * max(abs(analytic), abs(np.nan_to_num(numeric))):
                break
            findings.append(self._finding(along, analytic, numeric, max(floor, rounding / tolerance), tolerance))
            if findings[-1].ok:
                return findings[-1]
        closest = min(findings, key=lambda found: found.error)
        return (self._kink(along, analytic, floor) if len(findings) > 1 else None) or closest

    def _kink(self, along: Along, analytic: float, floor: float) -> Finding | None:
        """The finding where the derivatives from left and right differ; None where they do not."""
        left, right = self.point.one_sided_slopes(self.name, along)
        low, high = min(left, right), max(left, right)
        if not np.isfinite(high - low) or relative_error(left, right, floor) <= 1e-4:
            return None
        slack = 1e-4 * (high - low)
        inside = low - slack <= analytic <= high + slack
        nearest = min(max(analytic, low), high)
        error = 0.0 if inside else relative_error(analytic, nearest, floor)
        return Finding(_index(along), analytic, analytic if inside else nearest, error, inside, (left, right))

    def _finding(self, along: Along, analytic: float, numeric: float, floor: float, tolerance: float) -> Finding:
        error = relative_error(analytic, numeric, floor)
        return Finding(_index(along), analytic, numeric, error, error <= tolerance)

    def hunt(self, v: np.ndarray) -> Finding:
        """The finding at the entry most to blame for a mismatch along v, by halving the array again and again."""
        suspects = np.arange(v.size)
        while len(suspects) > 1:
            halves = np.array_split(suspects, 2)
            suspects = max(halves, key=lambda half: self._mismatch(v, half))
        return self.entry(tuple(int(i) for i in np.unravel_index(suspects[0], v.shape)))

    def _mismatch(self, v: np.ndarray, part: np.ndarray) -> float:
        along = np.zeros(v.size)
        along[part] = v.ravel()[part]
        length = float(np.linalg.norm(along))
        along = along.reshape(v.shape) / length
        return length * abs(float(np.sum(self.gradient * along)) - self.slope(along))


def compare(
    point: Point, name: str, near: Neighbourhood, *, method: str, tolerance: float, samples: int, seed: Any
) -> list[Finding]:
    """Findings at up to `samples` entries of one array, and along random directions over all of its entries."""
    judge = Judge(point, name, method, tolerance)
    rng = np.random.default_rng(seed)
    findings = []
    for index in chosen_entries(judge.gradient, samples, rng):
        findings.append(_excused(judge.entry(index), judge, near))
    if judge.gradient.size == 0 or not np.all(np.isfinite(judge.gradient)):
        return findings
    for _ in range(DIRECTIONS):
        v = rng.standard_normal(judge.gradient.shape)
        v = v / np.linalg.norm(v)
        findings += _along(v, judge, near, hunt=all(found.ok for found in findings))
    return findings


def _excused(found: Finding, judge: Judge, near: Neighbourhood) -> Finding:
    """The finding, accepted where several kinks meet and leave its value open."""
    if found.ok or judge.point is not near.point or not np.isfinite(found.error) or not near.excuses(judge.name, found):
        return found
    return Finding(found.index, found.analytic, found.analytic, 0.0, True, found.kink or (found.numeric,) * 2)


def _along(v: np.ndarray, judge: Judge, near: Neighbourhood, hunt: bool) -> list[Finding]:
    """The finding along v; on a kink, the same at a neighbour on none. A mismatch is traced to its entry."""
    found = judge.direction(v)
    if found.kink or (not found.ok and near.kinked(judge.name)):
        for other in near.apart:
            judge = Judge(other, judge.name, judge.method, judge.tolerance)
            found = judge.direction(v)
            if not found.kink:
                break
        else:
            return []
    # one wrong entry of many is but a small error along v: a thousandth of the tolerance is enough to look for it
    if not hunt or found.error <= 1e-3 * judge.tolerance:
        return [found]
    culprit = _excused(judge.hunt(v), judge, near)
    return [found] if culprit.ok else [found, culprit]


def chosen_entries(gradient: np.ndarray, samples: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Indices of all entries, or of the largest, one that is not finite, and others at random."""
    if gradient.size <= samples:
        flat = np.arange(gradient.size)
    else:
        flat = rng.choice(gradient.size, samples, replace=False)
        largest = np.argmax(np.where(np.isfinite(gradient), np.abs(gradient), np.inf))
        flat[0] = flat[0] if largest in flat else largest
        flat.sort()
    return [tuple(int(i) for i in np.unravel_index(i, gradient.shape)) for i in flat]


def _index(along: Along) -> tuple[int, ...] | None:
    return along if isinstance(along, tuple) else None
