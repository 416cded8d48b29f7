"""Means, spreads and intervals of repeated measurements."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev


def spread(values: Sequence[float], digits: int) -> str:
    """A mean, and the standard deviation where there is more than one value."""
    if not values:
        return ""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{deviation}"


def with_interval(differences: Sequence[float]) -> str:
    """Their mean, and its 95 % confidence interval where there is more than one."""
    if not differences:
        return ""
    mean = fmean(differences)
    if len(differences) == 1:
        return f"{mean:+.2f}"
    from scipy.special import stdtrit  # the quantile of Student's t; loaded here, since it takes its time

    half = stdtrit(len(differences) - 1, 0.975) * stdev(differences) / sqrt(len(differences))
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"
