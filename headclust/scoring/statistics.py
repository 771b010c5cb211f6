"""Means, standard deviations and confidence intervals of paired gains."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

LEVEL = 0.95
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (divided by n - 1; None for a single value)."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Gain:
    """Mean difference over pairs with its confidence interval (None for a single pair)."""

    mean: float
    low: float | None
    high: float | None
    n: int


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and standard deviation of `values`; None if there are none."""
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), sd, len(values))


def gain(differences: Sequence[float]) -> Gain | None:
    """Mean of paired differences and its 95 % interval by Student's t with n - 1 degrees of freedom.

    The interval assumes that the differences are independent draws from a normal distribution.

    Returns:
        None without differences; a gain without an interval for a single one.
    """
    from scipy.stats import t as student_t

    mean = spread(differences)
    if mean is None:
        return None
    if mean.sd is None:
        return Gain(mean.mean, None, None, mean.n)
    # Half width t_(n-1, 0.975) sd / sqrt(n).
    half = float(student_t.ppf((1 + LEVEL) / 2, mean.n - 1)) * mean.sd / math.sqrt(mean.n)
    return Gain(mean.mean, mean.mean - half, mean.mean + half, mean.n)


def paired(values: Mapping[_Key, float], base: Mapping[_Key, float]) -> list[float]:
    """`values` minus `base` for the keys that both have (a seed, a data set), in the order of `values`."""
    return [value - base[key] for key, value in values.items() if key in base]
