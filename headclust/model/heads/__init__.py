"""Clustering heads by kind, all of an ensemble in one set of tensors with a leading heads axis."""

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
    """What every kind of heads is: an nn.Module whose tensors have a leading heads axis, head h alone being its row h.

    Kinds that are trained are built as `HEADS[kind](feature_dims=, n_clusters=, n_heads=, seed=, **settings)`, name
    their biases `*_bias` and have a `last_layer`: the parameters that some recipes freeze at first.

    Attributes:
        kind: Its name in HEADS.
        several_spaces: Whether it takes more than one space.
    """

    kind: str
    several_spaces: bool

    @property
    def input_dims(self) -> tuple[int, ...]:
        """Dimension of the features it takes, one a space."""

    @property
    def n_clusters(self) -> int:
        """Number of clusters a head."""

    def __call__(self, *spaces: Tensor) -> HeadOutput:
        """What the heads say of features, each space (views, batch, dim)."""

    def state_dict(self) -> dict[str, Any]:
        """Its tensors by name."""

    def to(self, device: torch.device) -> Any:
        """The same heads on `device`."""

    def train(self, mode: bool = True) -> Any:
        """Heads that learn from what they see; with `mode` false, as `eval` does, heads that predict."""


HEADS: dict[str, Any] = {
    kind.kind: kind for kind in (HeadEnsemble, LinearHeads, BatchNormHeads, CentroidHeads, TaskHeads, NeighborHeads)
}


def select(state: Mapping[str, Tensor], head: int) -> dict[str, Tensor]:
    """The tensors of one head alone, as an ensemble of one. Those that all heads share have one row for all."""
    return {
        name: (tensor[head : head + 1] if len(tensor) > 1 else tensor).detach().clone()
        for name, tensor in state.items()
    }


@torch.no_grad()
def ema_update_(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Moves every parameter of `teacher` to momentum * teacher + (1 - momentum) * student, in place."""
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
