"""Pure functions that objectives share. Log space, float32."""

from __future__ import annotations

import torch
from torch import Tensor


def log_probs(logits: Tensor, temperature: float) -> Tensor:
    """Log of the softmax over clusters (last axis) of logits / temperature."""
    return torch.log_softmax(logits / temperature, dim=-1)


def batch_mean(values: Tensor, *, dims: tuple[int, ...]) -> Tensor:
    """Mean over the axes that hold samples.

    Every sum over the batch that later becomes nonlinear (marginals, entropies) goes through here, so that several
    processes can one day share a batch.
    """
    return values.mean(dim=dims)
