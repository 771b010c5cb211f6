"""Batches of rows on the device, drawn from one generator."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from headclust.objectives import Batch


def sample_pairs(
    spaces: tuple[Tensor, ...], neighbors: Tensor, *, batch_size: int, generator: torch.Generator
) -> Iterator[Batch]:
    """Endless batches of anchors with one uniformly drawn neighbor each.

    Anchors go through a fresh permutation an epoch; what is left of it when no full batch remains is dropped, as
    contrastive losses want equal batches. With fewer samples than `batch_size`, a batch is a whole permutation.

    Args:
        spaces: Features of one space each, (n_samples, dim), on the device.
        neighbors: Rows of the neighbors, (n_samples, k), on the same device.
        batch_size: Anchors a batch.
        generator: A CPU generator; the same one gives the same batches on any device.
    """
    n_samples, k = neighbors.shape
    batch_size = min(batch_size, n_samples)
    device = neighbors.device
    while True:
        order = torch.randperm(n_samples, generator=generator)
        for start in range(0, n_samples - batch_size + 1, batch_size):
            anchors = order[start : start + batch_size].to(device)
            columns = torch.randint(k, (batch_size,), generator=generator).to(device)
            rows = torch.stack((anchors, neighbors[anchors, columns]))
            yield Batch(tuple(space[rows] for space in spaces), rows)
