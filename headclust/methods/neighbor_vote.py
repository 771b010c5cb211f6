"""For methods that only partition the fitted samples: neighbors vote on new samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.features import Features
from headclust.methods.result import FitResult, conclude

if TYPE_CHECKING:
    import torch


def conclude_partition(
    space: Features,
    assignments: Sequence[NDArray[np.int64]],
    *,
    rows: NDArray[np.int64],
    n_clusters: int,
    n_votes: int,
    temperature: float,
    n_components: int,
    losses: list[float],
    history: list[dict[str, Any]],
    device: torch.device | None = None,
) -> FitResult:
    """The result of a fit that partitioned samples, with a model that stores them and assigns by votes of neighbors.

    The partitioned samples keep their clusters, in the result and in later predictions, except samples that coincide in
    the stored principal components: they get the same cluster.

    Args:
        space: The fitted samples.
        assignments: Clusters by each head, int64 (len(rows),).
        rows: The samples that were partitioned, int64; they vote on the others.
        n_clusters: Number of clusters, used or not.
        n_votes: Fitted samples that vote on a sample.
        temperature: Decrease in cosine similarity over which the weight of a vote falls to 1/e.
        n_components: Principal components of the unit features that the model stores.
        losses: Training loss of each head.
        history: Records of the fit.
        device: Where to search for neighbors; the CPU by default.
    """
    import torch

    from headclust.model import ClusterModel, ensemble, fit_transform
    from headclust.model.heads.neighbors import NeighborHeads

    # A fifth of EfficientNet-Lite0's 1,280 dimensions, with equally good votes: docs/methods/spectral.md.
    transform = fit_transform(space, "pca", n_components=n_components)
    assert transform.matrix is not None
    partition = np.stack(assignments)
    stored = transform.rows(space.select(rows))[None]
    device = device or torch.device("cpu")
    # Half precision, unless samples lie so close together that it mixes them up.
    for dtype in (torch.float16, torch.float32):
        heads = NeighborHeads(
            assignments=torch.from_numpy(partition).int(),
            features=stored.to(dtype),
            n_clusters=n_clusters,
            n_votes=n_votes,
            # Squared distances of unit rows are 2 (1 - cosine similarity), and pca scales all components alike.
            temperature=temperature * float(transform.matrix[:, 0].square().sum()),
        )
        model = ClusterModel((transform,), heads, (ensemble.choose(losses),), temperature=1.0)
        result = conclude(model.to(device), space, losses=losses, history=history)
        if np.array_equal(result.head_assignments[:, rows], partition):
            break
    return result
