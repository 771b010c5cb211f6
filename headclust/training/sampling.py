"""Batches of rows on the device, drawn from one generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headclust.training.objectives import Batch

_CACHED = ("augmented", "strong")


@dataclass(frozen=True)
class Samples:
    """What a stage trains on, all on one device.

    Attributes:
        spaces: Transformed features, one (n_samples, dim) a space.
        neighbors: Rows of neighbors, (n_samples, k), or None where no stage wants any.
        views: Transformed cached views, one (n_views, n_samples, dim) a space; empty where there are none.
    """

    spaces: tuple[Tensor, ...]
    neighbors: Tensor | None = None
    views: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.spaces[0])


def needs_neighbors(wanted: Sequence[str], *, has_views: bool) -> bool:
    """Whether batches of the `wanted` views take a neighbor list: for neighbors, or for what stands in for views."""
    return "neighbor" in wanted or (not has_views and any(name in _CACHED for name in wanted))


def sample_batches(
    samples: Samples, wanted: Sequence[str], *, batch_size: int, generator: torch.Generator, augment: bool = False
) -> Iterator[Batch]:
    """Endless batches of the views an objective wants.

    Samples go through a fresh permutation an epoch; what is left of it when no full batch remains is dropped, as
    contrastive losses want equal batches. With fewer samples than `batch_size`, a batch is a whole permutation.

    Args:
        samples: What to draw from.
        wanted: One name a view: "anchor" and "plain" are the batch's samples as they are; "neighbor" is a partner,
            uniformly from each sample's neighbor list; "augmented" and "strong" are a random cached view of each
            sample, another one for each such name while there are enough. Where there are no cached views, a
            neighbor stands in for one.
        batch_size: Samples a batch.
        generator: A CPU generator; the same one gives the same batches on any device.
        augment: Take anchors and neighbors from a random cached view each, where there are any.
    """
    n_samples = len(samples)
    batch_size = min(batch_size, n_samples)
    while True:
        order = torch.randperm(n_samples, generator=generator)
        for start in range(0, n_samples - batch_size + 1, batch_size):
            yield _draw(samples, wanted, order[start : start + batch_size], generator, augment)


def _draw(samples: Samples, wanted: Sequence[str], anchors: Tensor, generator: torch.Generator, augment: bool) -> Batch:
    n_views, size = len(samples.views[0]) if samples.views else 0, len(anchors)
    rows, columns = [], []  # a column is the cached view a feature comes from, -1 for the plain one
    cached = _distinct_views(sum(name in _CACHED for name in wanted), n_views, size, generator)
    for name in wanted:
        partner = name == "neighbor" or (name in _CACHED and not n_views)
        rows.append(_partners(samples.neighbors, anchors, generator) if partner else anchors)
        if name in _CACHED and n_views:
            columns.append(next(cached))
        elif augment and n_views and name in ("anchor", "neighbor"):
            columns.append(torch.randint(n_views, (size,), generator=generator))
        else:
            columns.append(torch.full((size,), -1))
    chosen, views = torch.stack(rows), torch.stack(columns)
    device = samples.spaces[0].device
    return Batch(
        tuple(_gather(samples, space, chosen, views) for space in range(len(samples.spaces))), chosen.to(device)
    )


def _partners(neighbors: Tensor | None, anchors: Tensor, generator: torch.Generator) -> Tensor:
    assert neighbors is not None
    columns = torch.randint(neighbors.shape[1], (len(anchors),), generator=generator)
    partners: Tensor = neighbors[anchors.to(neighbors.device), columns.to(neighbors.device)].long().cpu()
    return partners


def _distinct_views(count: int, n_views: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """For each of `count` names a random cached view a sample; no view twice before all were taken."""
    while count > 0 and n_views:
        ranks = torch.rand(size, n_views, generator=generator).argsort(1)
        yield from ranks.T[:count]
        count -= n_views


def _gather(samples: Samples, space: int, rows: Tensor, views: Tensor) -> Tensor:
    plain = samples.spaces[space]
    rows, views = rows.to(plain.device), views.to(plain.device)
    features = plain[rows]
    if samples.views and bool((views >= 0).any()):
        features = torch.where((views >= 0)[..., None], samples.views[space][views.clamp_min(0), rows], features)
    return features
