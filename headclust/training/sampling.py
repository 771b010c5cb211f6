"""Batches of samples on the device, drawn with one random generator.

Everything random is drawn on the host, so that all devices get the same batches. What was drawn is sent to the device
in one copy per batch, for which the host does not wait: it draws the next batch while the device computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headclust.device import to_device
from headclust.group import ALONE, Group
from headclust.training.objectives import Batch
from headclust.training.parts import CACHED


@dataclass(frozen=True)
class Samples:
    """Training data of a stage: features on one device, neighbors on the host.

    Attributes:
        spaces: Transformed features, one (n_samples, dim) per space.
        neighbors: Row numbers of neighbors, (n_samples, k), on the CPU, or None if no stage needs any.
        views: Transformed cached views, one (n_views, n_samples, dim) per space; empty if there are none.
    """

    spaces: tuple[Tensor, ...]
    neighbors: Tensor | None = None
    views: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.spaces[0])


def sample_batches(
    samples: Samples,
    names: Sequence[str],
    *,
    batch_size: int,
    generator: torch.Generator,
    augment: bool = False,
    group: Group = ALONE,
    skip: int = 0,
) -> Iterator[Batch]:
    """Endless batches of the views that an objective needs.

    Every epoch uses the samples in a new random order and drops the last, incomplete batch, as contrastive losses need
    batches of equal size. With fewer samples than `batch_size`, a batch is a whole epoch.

    Args:
        samples: The samples to draw from.
        names: One name per view: "anchor" and "plain" are the batch's samples themselves; "neighbor" is a partner,
            drawn uniformly from each sample's neighbor list; "augmented" and "strong" are a random cached view of each
            sample, a different one for each of these names if there are enough. Without cached views, a neighbor
            replaces them.
        batch_size: Samples per batch.
        generator: A CPU generator; the same one gives the same batches on any device.
        augment: If true, anchors and neighbors are a random cached view each, if there are any.
        group: The processes that share each batch. All draw the whole batch, and each gathers the features of its part.
        skip: Batches to leave out at the start; they are drawn, as those after them depend on it, but not gathered.
    """
    n_samples = len(samples)
    batch_size = min(batch_size, n_samples)
    while True:
        order = torch.randperm(n_samples, generator=generator)
        for start in range(0, n_samples - batch_size + 1, batch_size):
            drawn = _draw(samples, names, order[start : start + batch_size], generator, augment)
            if skip:
                skip -= 1
                continue
            # Row and cached view of every feature of this process's part of the batch, (2, views, part).
            own = group.share(batch_size)
            numbers, views = to_device(drawn[..., own.start : own.stop], samples.spaces[0].device)
            from_views = bool((drawn[1] >= 0).any())
            spaces = range(len(samples.spaces))
            features = (_gather(samples, space, numbers, views if from_views else None) for space in spaces)
            yield Batch(tuple(features), numbers)


def _draw(
    samples: Samples,
    names: Sequence[str],
    anchors: Tensor,
    generator: torch.Generator,
    augment: bool,
) -> Tensor:
    """Row and cached view of every feature of a batch, (2, views, batch); view -1 is the plain image."""
    n_views, size = len(samples.views[0]) if samples.views else 0, len(anchors)
    rows, columns = [], []
    cached = _distinct_views(sum(name in CACHED for name in names), n_views, size, generator)
    for name in names:
        partner = name == "neighbor" or (name in CACHED and not n_views)
        rows.append(_partners(samples.neighbors, anchors, generator) if partner else anchors)
        if name in CACHED and n_views:
            columns.append(next(cached))
        elif augment and n_views and name in ("anchor", "neighbor"):
            columns.append(torch.randint(n_views, (size,), generator=generator))
        else:
            columns.append(torch.full((size,), -1))
    return torch.stack((torch.stack(rows), torch.stack(columns)))


def _partners(neighbors: Tensor | None, anchors: Tensor, generator: torch.Generator) -> Tensor:
    """Row number of a random neighbor of each anchor, (batch,)."""
    assert neighbors is not None
    columns = torch.randint(neighbors.shape[1], (len(anchors),), generator=generator)
    return neighbors[anchors, columns].long()


def _distinct_views(count: int, n_views: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """A random cached view per sample, (batch,), `count` times; no view of a sample twice before all were used."""
    while count > 0 and n_views:
        # The order of random numbers is a random permutation of the views of each sample, (batch, n_views).
        ranks = torch.rand(size, n_views, generator=generator).argsort(1)
        yield from ranks.T[:count]
        count -= n_views


def _gather(samples: Samples, space: int, rows: Tensor, views: Tensor | None) -> Tensor:
    """Features (views, batch, dim) of rows (views, batch) in the given cached views, -1 for the plain image."""
    features = samples.spaces[space][rows]
    if views is not None:
        features = torch.where((views >= 0)[..., None], samples.views[space][views.clamp_min(0), rows], features)
    return features
