"""From several clusterings of the same samples to one, without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from headclust.scoring import metrics

_ROUNDS = 20  # a vote settles within a few


def choose(losses: Sequence[float]) -> int:
    """The clustering with the lowest training loss; the first of equals."""
    return int(np.argmin(np.asarray(losses)))


def alignment(assignments: NDArray[np.int64], reference: NDArray[np.int64], n_clusters: int) -> NDArray[np.int64]:
    """New names, (n_clusters,), under which `assignments` overlaps `reference` as much as one-to-one renaming allows.

    Args:
        assignments: Shape (n_samples,), values in [0, n_clusters).
        reference: Shape (n_samples,), values in [0, n_clusters).
        n_clusters: Number of clusters of both.
    """
    cells = np.bincount(assignments * n_clusters + reference, minlength=n_clusters**2)
    _, names = linear_sum_assignment(cells.reshape(n_clusters, n_clusters), maximize=True)
    return np.asarray(names, dtype=np.int64)


def align(assignments: NDArray[np.int64], reference: NDArray[np.int64], n_clusters: int) -> NDArray[np.int64]:
    """`assignments` with clusters renamed to overlap `reference` as much as one-to-one renaming allows; see
    `alignment`."""
    return alignment(assignments, reference, n_clusters)[assignments]


def neighbor_information(assignments: NDArray[np.int64], neighbors: NDArray[np.int32], n_clusters: int) -> float:
    """Mutual information in nats between the clusters of two neighbors: what a neighbor's cluster says of one's own.

    From 0 to log(n_clusters): highest where neighbors share their cluster and clusters are many and even. A score that
    needs no labels and compares clusterings made in different ways.

    Args:
        assignments: Shape (n_samples,), values in [0, n_clusters).
        neighbors: Rows of neighbors, (n_samples, k).
        n_clusters: Number of clusters.
    """
    pairs = assignments[:, None] * n_clusters + assignments[neighbors]
    joint = np.bincount(pairs.ravel(), minlength=n_clusters**2).reshape(n_clusters, n_clusters) / pairs.size
    joint = (joint + joint.T) / 2
    shares = joint.sum(1)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / np.outer(shares, shares)[seen])).sum())


def common_names(assignments: NDArray[np.int64], n_clusters: int, *, start: int) -> NDArray[np.int64]:
    """Names for the clusters of several clusterings under which they agree: (heads, n_clusters) new names.

    Every clustering is aligned to a reference, one-to-one; the majority's clusters are the next reference, until
    nothing changes. The method of Dudoit and Fridlyand, "Bagging to improve the accuracy of a clustering procedure",
    Bioinformatics 2003 (https://doi.org/10.1093/bioinformatics/btg038), run to its end.

    Args:
        assignments: Shape (heads, n_samples), values in [0, n_clusters).
        n_clusters: Number of clusters of all of them.
        start: The head that is the first reference.
    """
    reference = assignments[start]
    samples = np.arange(assignments.shape[1])
    for _ in range(_ROUNDS):
        names = np.stack([alignment(one, reference, n_clusters) for one in assignments])
        votes = np.zeros((assignments.shape[1], n_clusters), dtype=np.int32)
        for name, one in zip(names, assignments, strict=True):
            votes[samples, name[one]] += 1
        majority = votes.argmax(1)
        if np.array_equal(majority, reference):
            break
        reference = majority
    return names


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
    by_head: NDArray[np.int64],
    final: NDArray[np.int64],
    n_clusters: int,
    *,
    seconds: float,
    labels: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """What metrics.json says of a clustering.

    Args:
        by_head: Clusters by every head, (heads, n_samples).
        final: The clusters given, (n_samples,).
        n_clusters: Number of clusters.
        seconds: What it took.
        labels: int64 (n_samples,), -1 = unknown; scores are added where any is known.

    Returns:
        `n_samples n_clusters clusters_used largest_share entropy agreement seconds`, and with labels
        `accuracy nmi ami ari`.
    """
    report: dict[str, Any] = dict(metrics.describe(final, n_clusters))
    report["agreement"] = agreement(by_head, final, n_clusters)
    report["seconds"] = round(seconds, 3)
    if labels is not None and (labels >= 0).any():
        report.update(metrics.score(final, labels))
    return report
