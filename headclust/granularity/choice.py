"""From scores of cuts to a range of numbers of clusters, and levels in it; tuned by benchmarks/suggest.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headclust.granularity.suggestion import Curves

_MOST, PER_CLUSTER, _STEP = 300, 8, 1.2  # largest number; fewest samples per cluster; ratio of neighbors in the grid
# Weights of modularity, prediction strength and silhouette in the score. Modularity and silhouette rise with the number
# of clusters, modularity to about 20 whatever the data; prediction strength falls, and counts as much as both.
_WEIGHTS = np.array([1.0, 2.0, 1.0])
_BANDWIDTH = 0.2  # of the smoothing, in units of log(n_clusters): about one step of the grid
_WIDTH = 3.0  # ratio of the ends of the range, rounded down to numbers of the grid
_BEYOND = 4.0  # multiple of the number with the highest smoothed score up to which larger ones are tried
_FACTOR = 1.15  # by which the best score has to exceed that of the null


def grid(n_samples: int) -> list[int]:
    """Numbers of clusters from 2 to min(n_samples / 8, 300), of few samples to their square root, in steps of a fifth.

    Args:
        n_samples: Number of samples, at least 4.
    """
    largest, counts = max(math.isqrt(min(n_samples, PER_CLUSTER**2)), min(n_samples // PER_CLUSTER, _MOST)), [2]
    while counts[-1] < largest:
        counts.append(min(largest, max(counts[-1] + 1, round(counts[-1] * _STEP))))
    return counts


def curves(scores: Mapping[int, Sequence[float]]) -> Curves:
    """Curves of modularity, prediction strength and silhouette per number of clusters, and of their smoothed score."""
    counts = sorted(scores)
    table = np.array([scores[count] for count in counts])
    modularity, strength, silhouette = table.T.tolist()
    return Curves(counts, modularity, strength, silhouette, smoothed(combined(table), counts).tolist())


def is_enough(scores: Mapping[int, Sequence[float]], at_least: int) -> bool:
    """True if the largest number of clusters so far is so far above the best one that larger ones need not be tried.

    Args:
        scores: Modularity, prediction strength and silhouette per number of clusters.
        at_least: The number up to which all are tried.
    """
    tried = curves(scores)
    best = tried.n_clusters[int(np.argmax(tried.score))]
    return max(tried.score) > 0 and tried.n_clusters[-1] >= max(at_least, _BEYOND * best)


def combined(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted geometric means of modularity, prediction strength and silhouette, (n,) of (n, 3); 0 unless positive."""
    logs = np.log(np.maximum(table, np.finfo(float).tiny)) @ (_WEIGHTS / _WEIGHTS.sum())
    means: NDArray[np.float64] = np.where((table > 0).all(axis=1), np.exp(logs), 0.0)
    return means


def smoothed(values: NDArray[np.float64], counts: Sequence[int]) -> NDArray[np.float64]:
    """Means over neighboring numbers with Gaussian weights in the logarithm of the number."""
    place = np.log(counts)
    weights = np.exp(np.square((place[:, None] - place) / _BANDWIDTH) / -2)
    smooth: NDArray[np.float64] = weights @ values / weights.sum(axis=1)
    return smooth


def exceeds(real: Curves, nulls: Sequence[Curves]) -> bool:
    """True if the best score exceeds the best score of every null by a factor."""
    best = max(real.score)
    return best > 0 and all(best > _FACTOR * max(null.score) for null in nulls)


def best_range(scored: Curves) -> tuple[int, int, int]:
    """The smallest, the best and the largest number around the peak of the smoothed score.

    The range grows from the peak by the better of its two neighbors, until its ends are a factor of `_WIDTH` apart: the
    number of kinds is not known better than this, however steeply the score falls. The best number is that with the
    highest score before smoothing.
    """
    counts, score = np.array(scored.n_clusters), np.array(scored.score)
    low = high = int(score.argmax())
    while True:
        near = [place for place in (low - 1, high + 1) if 0 <= place < len(counts)]
        near = [place for place in near if counts[max(place, high)] <= _WIDTH * counts[min(place, low)]]
        if not near:
            break
        place = max(near, key=lambda place: score[place])
        low, high = min(low, place), max(high, place)
    table = np.array([scored.modularity, scored.prediction_strength, scored.silhouette]).T
    best = low + int(combined(table[low : high + 1]).argmax())
    return int(counts[low]), int(counts[best]), int(counts[high])


def levels(low: int, best: int, high: int) -> list[int]:
    """Up to three numbers: the ends, and the best between them."""
    return sorted({low, best, high})
