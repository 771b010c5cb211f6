"""What heads say of a batch."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class HeadOutput(NamedTuple):
    """What heads say of a batch.

    Attributes:
        logits: Shape (views, heads, batch, clusters).
        embedding: L2-normalised input of the last layer, shape (views, heads, batch, dim), where a head has one.
        space_logits: One tensor shaped like `logits` a feature space, for methods whose terms are per space.
    """

    logits: Tensor
    embedding: Tensor | None = None
    space_logits: tuple[Tensor, ...] | None = None


def views_first(values: Tensor, views: int) -> Tensor:
    """(heads, views * batch, dim) as (views, heads, batch, dim)."""
    heads, rows, dim = values.shape
    return values.view(heads, views, rows // views, dim).transpose(0, 1)
