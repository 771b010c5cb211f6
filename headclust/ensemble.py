"""From several clusterings of the same samples to one, without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from headclust import metrics


def choose(losses: Sequence[float]) -> int:
    """The clustering with the lowest training loss; the first of equals."""
    return int(np.argmin(np.asarray(losses)))


def align(assignments: NDArray[np.int64], reference: NDArray[np.int64], n_clusters: int) -> NDArray[np.int64]:
    """`assignments` with clusters renamed to overlap `reference` as much as one-to-one renaming allows.

    Args:
        assignments: Shape (n_samples,), values in [0, n_clusters).
        reference: Shape (n_samples,), values in [0, n_clusters).
        n_clusters: Number of clusters of both.
    """
    cells = np.bincount(assignments * n_clusters + reference, minlength=n_clusters**2)
    _, names = linear_sum_assignment(cells.reshape(n_clusters, n_clusters), maximize=True)
    return np.asarray(names, dtype=np.int64)[assignments]


def agreement(assignments: NDArray[np.int64], final: NDArray[np.int64], n_clusters: int) -> float | None:
    """Mean share of clusterings that give a sample its final cluster, after aligning each; None for a single one.

    Args:
        assignments: Shape (heads, n_samples).
        final: Shape (n_samples,).
        n_clusters: Number of clusters of all of them.
    """
    if len(assignments) < 2:
        return None
    return float(np.mean([np.mean(align(a, final, n_clusters) == final) for a in assignments]))


def summarize(
    head_assignments: NDArray[np.int64],
    chosen: int,
    n_clusters: int,
    *,
    seconds: float,
    labels: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """What metrics.json says of a clustering.

    Args:
        head_assignments: Clusters by every head, (heads, n_samples).
        chosen: The head that speaks.
        n_clusters: Number of clusters.
        seconds: What it took.
        labels: int64 (n_samples,), -1 = unknown; scores are added where any is known.

    Returns:
        `n_samples n_clusters clusters_used largest_share entropy agreement seconds`, and with labels
        `accuracy nmi ami ari`.
    """
    final = head_assignments[chosen]
    report: dict[str, Any] = dict(metrics.describe(final, n_clusters))
    report["agreement"] = agreement(head_assignments, final, n_clusters)
    report["seconds"] = round(seconds, 3)
    if labels is not None and (labels >= 0).any():
        report.update(metrics.score(final, labels))
    return report
