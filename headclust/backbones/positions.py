"""Resampling of a ViT's position embeddings to another number of patches, as in the code of DINOv2's authors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def resample_positions(positions: torch.Tensor, side: int, offset: float) -> torch.Tensor:
    """Position embeddings for `side` x `side` patches; the first embedding is that of the class token.

    https://github.com/facebookresearch/dinov2 (models/vision_transformer.py, `interpolate_pos_encoding`): the scale of
    the interpolation is (side + offset) / old side, instead of side / old side.

    Args:
        positions: (1, 1 + patches, dim) for a square of patches. Other shapes are returned unchanged.
        side: Number of patches along a side.
        offset: Number added to the side for the scale.
    """
    if positions.ndim != 3 or positions.shape[1] < 2:
        return positions
    old = math.isqrt(positions.shape[1] - 1)
    if old == side or positions.shape[1] != 1 + old * old:
        return positions
    # (1, old * old, dim) -> image (1, dim, old, old) -> bicubic, scale (side + offset) / old -> (1, side * side, dim).
    grid = positions[:, 1:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(side + offset) / old, mode="bicubic", antialias=False)
    return torch.cat((positions[:, :1], grid.flatten(2).transpose(1, 2).to(positions.dtype)), dim=1)
