"""Clustering heads by kind; all heads of an ensemble are one set of tensors with a leading heads axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from headclust.model.heads.batchnorm import BatchNormHeads
from headclust.model.heads.centroids import CentroidHeads
from headclust.model.heads.linear import LinearHeads
from headclust.model.heads.mlp import HeadEnsemble
from headclust.model.heads.neighbors import NeighborHeads
from headclust.model.heads.output import HeadOutput
from headclust.model.heads.task import TaskHeads

__all__ = [
    "HEADS",
    "BatchNormHeads",
    "CentroidHeads",
    "HeadEnsemble",
    "HeadOutput",
    "Heads",
    "LinearHeads",
    "NeighborHeads",
    "TaskHeads",
    "ema_update_",
    "select",
]


class Heads(Protocol):
    """Interface of every kind of heads: an nn.Module whose tensors have a leading heads axis; row h is head h alone.

    Kinds that are trained are built as `HEADS[kind](feature_dims=, n_clusters=, n_heads=, seed=, **settings)`, name
    their biases `*_bias` and have a `last_layer`: the parameters that some recipes freeze at first.

    Attributes:
        kind: Name in HEADS.
        several_spaces: True if the heads take more than one space.
    """

    kind: str
    several_spaces: bool

    @property
    def input_dims(self) -> tuple[int, ...]:
        """Dimension of the input, one per space."""

    @property
    def n_clusters(self) -> int:
        """Number of clusters per head."""

    def __call__(self, *spaces: Tensor) -> HeadOutput:
        """Output of the heads for features, each space (views, batch, dim)."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name."""

    def to(self, device: torch.device) -> Any:
        """The same heads on `device`."""

    def train(self, mode: bool = True) -> Any:
        """The heads in training mode; in evaluation mode, as by `eval`, if `mode` is false."""


HEADS: dict[str, Any] = {
    kind.kind: kind for kind in (HeadEnsemble, LinearHeads, BatchNormHeads, CentroidHeads, TaskHeads, NeighborHeads)
}


def select(state: Mapping[str, Tensor], head: int | range) -> dict[str, Tensor]:
    """The tensors of one head or several, as an ensemble of these. Tensors that all heads share have a single row."""
    heads = range(head, head + 1) if isinstance(head, int) else head
    return {
        name: (tensor[heads.start : heads.stop] if len(tensor) > 1 else tensor).detach().clone()
        for name, tensor in state.items()
    }


@torch.no_grad()
def ema_update_(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Set every parameter of `teacher` to momentum * teacher + (1 - momentum) * student, in place."""
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
