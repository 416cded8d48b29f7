"""Means, spreads and intervals of repeated measurements."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

from .._extras import require


def spread(values: Sequence[float], digits: int) -> str:
    """A mean, and the standard deviation where there is more than one value."""
    if not values:
        return ""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{deviation}"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of two or more values (Student's t)."""
    require("scipy", extra="studies")
    from scipy.special import stdtrit  # the quantile of Student's t; loaded here, since it takes its time

    half = stdtrit(len(values) - 1, 0.975) * stdev(values) / sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def with_interval(differences: Sequence[float]) -> str:
    """Their mean, and its interval where there is more than one."""
    if not differences:
        return ""
    mean = f"{fmean(differences):+.2f}"
    if len(differences) == 1:
        return mean
    low, high = interval(differences)
    return f"{mean} [{low:+.2f}, {high:+.2f}]"


def in_words(method: str, other: str, differences: Sequence[float]) -> str:
    """What the paired differences of two methods, in points of accuracy, allow to say."""
    n = len(differences)
    if n == 1:
        return f"{method} against {other}: one seed tells nothing, since seeds differ by as much."
    low, high = interval(differences)
    limits = f"between {low:+.2f} and {high:+.2f} points (95 % interval, n = {n})"
    if low <= 0 <= high:
        return f"{method} against {other}: undecided, the difference is {limits}."
    return f"{method} against {other}: {'better' if low > 0 else 'worse'}, by {limits}."
