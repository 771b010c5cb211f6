"""Output of heads for a batch."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class HeadOutput(NamedTuple):
    """Output of heads for a batch.

    Attributes:
        logits: Shape (views, heads, batch, clusters).
        embedding: L2-normalized input of the last layer, shape (views, heads, batch, dim), if the heads have one.
        space_logits: One tensor shaped like `logits` per feature space, for methods whose terms are per space.
    """

    logits: Tensor
    embedding: Tensor | None = None
    space_logits: tuple[Tensor, ...] | None = None


def views_first(values: Tensor, views: int) -> Tensor:
    """Values (heads, views * batch, dim) reshaped to (views, heads, batch, dim)."""
    heads, rows, dim = values.shape
    return values.view(heads, views, rows // views, dim).transpose(0, 1)
