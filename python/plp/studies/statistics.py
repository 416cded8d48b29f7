"""Means, spreads and intervals of repeated measurements, and tests of what differs.

``scipy.special`` is loaded by who needs it, since it takes its time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import isnan, sqrt
from statistics import fmean, stdev

from .._extras import require

LEVEL = 0.05
"""Of significance; intervals are those of 1 - LEVEL."""

POWER = 0.8
"""The share of studies of a given size that are to find an effect that is there."""

MOST_REPEATS = 10_000


def spread(values: Sequence[float], digits: int) -> str:
    """A mean, and the standard deviation where there is more than one value."""
    if not values:
        return ""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{deviation}"


def has_spread(values: Sequence[float]) -> bool:
    """Whether there are two or more values, not all the same. Others have no interval, and no test by Student's t: that
    two numbers of epochs, or of correct images, are the same says nothing of how far such numbers spread.
    """
    return len(values) > 1 and stdev(values) > 1e-9 * max(map(abs, values))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of values that have a spread (Student's t)."""
    require("scipy", extra="studies")
    from scipy.special import stdtrit  # the quantile of Student's t; loaded here, since it takes its time

    half = stdtrit(len(values) - 1, 1 - LEVEL / 2) * stdev(values) / sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def paired_p(differences: Sequence[float]) -> float:
    """The p-value, two-sided, of Student's paired t-test, given the pairs' differences, which have a spread."""
    from scipy.special import stdtr

    t = abs(fmean(differences)) / (stdev(differences) / sqrt(len(differences)))
    return 2 * float(stdtr(len(differences) - 1, -t))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number: the chance that any of them is below a level by accident is at most that
    level (S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 65-70, 1979).
    """
    corrected, least = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = least
    return corrected


def power(pairs: int, effect: float, deviation: float, level: float = LEVEL) -> float:
    """The chance that a paired t-test of so many pairs finds an effect, their differences' standard deviation known.

    The statistic is distributed as the noncentral t (J. Cohen, Statistical Power Analysis for the Behavioral Sciences,
    2nd edition, 1988, chapter 2).
    """
    from scipy.special import nctdtr, stdtrit

    if not deviation:
        return 1.0
    shift = effect / deviation * sqrt(pairs)
    limit = stdtrit(pairs - 1, 1 - level / 2)
    found = 1 - float(nctdtr(pairs - 1, shift, limit)) + float(nctdtr(pairs - 1, shift, -limit))
    return 1.0 if isnan(found) else found  # SciPy has no number for a shift that nothing can hide


def pairs_needed(effect: float, deviation: float, level: float = LEVEL) -> int:
    """How many pairs find an effect with the chance :data:`POWER`, :data:`MOST_REPEATS` at most."""
    return 2 + bisect_left(range(2, MOST_REPEATS), POWER, key=lambda pairs: power(pairs, effect, deviation, level))


def p_text(p: float | None) -> str:
    """A p-value in as many digits as it is worth."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
