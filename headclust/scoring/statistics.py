"""Means, standard deviations and confidence intervals of paired gains: the only statistics of the tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from scipy.stats import t as student_t

LEVEL = 0.95
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Spread:
    """A mean with the sample standard deviation (n - 1), which a single value does not have."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Gain:
    """A mean difference over pairs with its confidence interval, which a single pair does not have."""

    mean: float
    low: float | None
    high: float | None
    n: int


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and standard deviation of `values`; None where there are none."""
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), sd, len(values))


def gain(differences: Sequence[float]) -> Gain | None:
    """Mean of paired differences and its 95 % interval by Student's t with n - 1 degrees of freedom.

    The interval takes the differences for independent draws from a normal distribution.

    Returns:
        None where there is no difference; one without an interval where there is one.
    """
    found = spread(differences)
    if found is None:
        return None
    if found.sd is None:
        return Gain(found.mean, None, None, found.n)
    half = float(student_t.ppf((1 + LEVEL) / 2, found.n - 1)) * found.sd / math.sqrt(found.n)
    return Gain(found.mean, found.mean - half, found.mean + half, found.n)


def paired(values: Mapping[_Key, float], base: Mapping[_Key, float]) -> list[float]:
    """`values` minus `base` where both have the key (a seed, a data set), in the order of `values`."""
    return [value - base[key] for key, value in values.items() if key in base]
