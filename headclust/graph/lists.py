"""Lists of the rows that a sample's partner is drawn from."""

from __future__ import annotations

import torch
from torch import Tensor

_TEMI_WHOLE = 80_000  # samples up to which TEMI's code computes all similarities at once


def neighbor_list(indices: Tensor, kind: str) -> Tensor:
    """Rows that a sample's partner is drawn from, (n_samples, k) or (n_samples, k + 1).

    Args:
        indices: Its nearest neighbors, int32 (n_samples, k).
        kind: "others": these. "with-self": itself first, then these, as in SCAN
            (https://github.com/wvangansbeke/Unsupervised-Classification). "temi-paper": as TEMI's code computes it
            (https://github.com/HHU-MMBS/TEMI-official-BMVC2023, gen_embeds.py): the same as "others" up to 80,000
            samples; above, an error of that code puts the sample itself first and leaves out another one.
    """
    if kind == "with-self":
        return torch.cat((torch.arange(len(indices), dtype=indices.dtype)[:, None], indices), 1)
    return self_neighbors(indices) if kind == "temi-paper" and len(indices) > _TEMI_WHOLE else indices


def self_neighbors(indices: Tensor, *, chunk: int = 64) -> Tensor:
    """Neighbor lists as TEMI's code computes them above 80,000 samples, from correct lists (n_samples, k).

    It processes the samples in chunks of 64 rows and masks column i of row i of each chunk, which is the sample itself
    in the first chunk only: any later sample is its own first neighbor, and never has sample i as a neighbor.
    """
    n_samples, k = indices.shape
    rows = torch.arange(n_samples, dtype=indices.dtype)[:, None]
    # The masked neighbor of row r is sample r mod chunk. A stable sort by "masked" moves it to the end of its list
    # and keeps the order of the others; the first k - 1 of them follow the sample itself.
    masked = indices == rows % chunk
    order = masked.int().argsort(dim=1, stable=True)[:, : k - 1]
    return torch.where(rows < chunk, indices, torch.cat((rows, indices.gather(1, order)), 1))
