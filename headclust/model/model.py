"""The fitted pipeline: one feature transform per space, the heads, and the indices of the heads that are used.

Tensors only, no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headclust.errors import FileFormatError
from headclust.features.rows import distinct_rows
from headclust.model.heads import HEADS, Heads, select
from headclust.model.transform import NORMALIZED, PARTS, FeatureTransform, side_by_side

_ROWS = 8_192
_PROBABILITIES = 1 << 25  # largest number of probabilities per block: 128 MB, for any number of clusters and heads


class Assignment(NamedTuple):
    """Clusters that a model assigns to samples.

    Attributes:
        clusters: Cluster per sample, int64 (n_samples,).
        confidence: Probability of that cluster, float32 (n_samples,).
        by_head: Clusters by each head, int64 (heads, n_samples).
    """

    clusters: NDArray[np.int64]
    confidence: NDArray[np.float32]
    by_head: NDArray[np.int64]


@dataclass(frozen=True)
class ClusterModel:
    """A fitted model, which assigns clusters to features of one or several spaces.

    Attributes:
        transforms: One per space, applied to its features first.
        heads: All fitted heads, of a kind in HEADS. They take one input per space, or a single one: all spaces side by
            side.
        used_heads: Indices of the heads that are used: one, or several with common cluster ids, whose probabilities
            are averaged.
        temperature: Temperature of the softmax that turns their logits into probabilities.
    """

    transforms: tuple[FeatureTransform, ...]
    heads: Heads
    used_heads: tuple[int, ...]
    temperature: float

    def __repr__(self) -> str:
        used = self.used_heads if len(self.used_heads) <= 4 else f"{len(self.used_heads)} heads"
        dims = f"input_dims={tuple(self.heads.input_dims)}"
        return (
            f"ClusterModel({self.heads.kind!r}, {dims}, n_clusters={self.n_clusters}, n_heads={self.n_heads}, "
            f"used_heads={used}, temperature={self.temperature:g})"
        )

    @torch.no_grad()
    def probs(self, *spaces: Tensor) -> Tensor:
        """Cluster probabilities of every head, (heads, n_samples, clusters).

        Args:
            *spaces: One (n_samples, feature_dim) per space, on the model's device.
        """
        # (1, n_samples, dim) per space: heads expect a views axis.
        rows = [transform(space)[None] for transform, space in zip(self.transforms, spaces, strict=True)]
        inputs = rows if len(self.heads.input_dims) > 1 else [side_by_side(rows)]
        return torch.softmax(self.heads(*inputs).logits[0] / self.temperature, dim=-1)

    def assign(self, *spaces: Tensor) -> Assignment:
        """Assign clusters in blocks, so that the probabilities of all samples are never in memory at once.

        Equal samples get equal clusters: each is computed once, as the last bits of a product depend on the row number.

        Args:
            *spaces: One (n_samples, feature_dim) per space, on the model's device.
        """
        first, group = distinct_rows(*spaces)
        by_head, best = [], []
        for probs in self._blocks(spaces, first):
            by_head.append(probs.argmax(-1))
            # Mean over the used heads, then the largest probability and its cluster, (n_rows,) each.
            best.append(probs[list(self.used_heads)].mean(0).max(-1))
        return Assignment(
            clusters=torch.cat([block.indices for block in best]).cpu().numpy()[group],
            confidence=torch.cat([block.values for block in best]).cpu().numpy()[group],
            by_head=torch.cat(by_head, dim=1).cpu().numpy()[:, group],
        )

    def mean_probs(self, *spaces: Tensor) -> Tensor:
        """Cluster probabilities, (n_samples, clusters): the mean over the used heads, in blocks as in `assign`.

        Args:
            *spaces: One (n_samples, feature_dim) per space, on the model's device.
        """
        first, group = distinct_rows(*spaces)
        return torch.cat([probs[list(self.used_heads)].mean(0) for probs in self._blocks(spaces, first)])[group]

    def _blocks(self, spaces: Sequence[Tensor], rows: NDArray[np.int64]) -> Iterator[Tensor]:
        """Probabilities of every head for blocks of `rows` that fit into memory, (heads, n_rows, clusters) each."""
        n_rows = max(1, min(_ROWS, _PROBABILITIES // (self.n_heads * self.n_clusters)))
        if len(rows) < len(spaces[0]):
            spaces = [space[rows] for space in spaces]
        for block in zip(*(torch.split(space, n_rows) for space in spaces), strict=True):
            yield self.probs(*block)

    def alone(self, head: int) -> ClusterModel:
        """The model with a single one of its heads, on the CPU."""
        state = {name: tensor.cpu() for name, tensor in select(self.heads.state_dict(), head).items()}
        transforms = tuple(transform.to(torch.device("cpu")) for transform in self.transforms)
        return ClusterModel(transforms, HEADS[self.heads.kind].from_state(state).eval(), (0,), self.temperature)

    @property
    def n_heads(self) -> int:
        """Number of heads, used or not."""
        # Tensors that all heads share have a heads axis of length one.
        return max(map(len, self.heads.state_dict().values()))

    @property
    def n_clusters(self) -> int:
        """Number of clusters, used or not."""
        return self.heads.n_clusters

    def to(self, device: torch.device) -> ClusterModel:
        """The same model on `device`."""
        transforms = tuple(transform.to(device) for transform in self.transforms)
        return ClusterModel(transforms, self.heads.to(device), self.used_heads, self.temperature)

    def tensors(self) -> dict[str, Tensor]:
        """The whole model as named tensors on the CPU, from which `from_tensors` builds it again."""
        named = {f"heads.{self.heads.kind}.{name}": tensor for name, tensor in self.heads.state_dict().items()}
        for space, transform in enumerate(self.transforms):
            for name in PARTS:
                if (tensor := getattr(transform, name)) is not None:
                    named[f"transforms.{space}.{name}"] = tensor
            for name in NORMALIZED:
                named[f"transforms.{space}.{name}"] = torch.tensor([getattr(transform, name)], dtype=torch.uint8)
        named["speaking"] = torch.tensor(self.used_heads)
        named["temperature"] = torch.tensor([self.temperature], dtype=torch.float64)
        return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> ClusterModel:
        """The model with these `tensors()`.

        Raises:
            FileFormatError: Tensors are missing or do not fit together.
        """
        try:
            state: dict[str, dict[str, Tensor]] = {}
            for name, tensor in tensors.items():
                if name.startswith("heads."):
                    _, kind, key = name.split(".", 2)
                    state.setdefault(kind, {})[key] = tensor
            ((kind, values),) = state.items()
            heads = HEADS[kind].from_state(values).eval()
            n_spaces = sum(name.startswith("transforms.") and name.endswith(".l2") for name in tensors)
            transforms = tuple(_transform(tensors, space) for space in range(n_spaces))
            _check_widths(transforms, heads.input_dims)
            model = cls(transforms, heads, tuple(tensors["speaking"].tolist()), float(tensors["temperature"].item()))
            if not (model.used_heads and set(model.used_heads) <= set(range(model.n_heads))):
                raise ValueError(f"used heads are {list(model.used_heads)} of {model.n_heads}")
            return model
        except (KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
            raise FileFormatError(f"the model's tensors do not make a model ({error}): fit again.") from None


def _transform(tensors: Mapping[str, Tensor], space: int) -> FeatureTransform:
    """The transform of one space."""
    parts = {name: tensors.get(f"transforms.{space}.{name}") for name in PARTS}
    l2, unit = (bool(tensors[f"transforms.{space}.{name}"].item()) for name in NORMALIZED)
    return FeatureTransform(l2=l2, unit=unit, **parts)


def _check_widths(transforms: Sequence[FeatureTransform], input_dims: Sequence[int]) -> None:
    """Raise if a known output dimension of the transforms differs from the heads' input dimension."""
    widths = [_width(transform) for transform in transforms]
    # Heads with a single input take all spaces side by side.
    if len(input_dims) == 1 and widths:
        widths = [None if None in widths else sum(width or 0 for width in widths)]
    if len(widths) != len(input_dims):
        raise ValueError(f"{len(widths)} transforms, but heads of {len(input_dims)} spaces")
    for width, expected in zip(widths, input_dims, strict=True):
        if width not in (None, expected):
            raise ValueError(f"the transform gives {width} dimensions, the heads take {expected}")


def _width(transform: FeatureTransform) -> int | None:
    """Output dimension of a transform; None if it has no tensors, so that the dimension does not change."""
    parts = [getattr(transform, name) for name in PARTS]
    return next((tensor.shape[-1] for tensor in reversed(parts) if tensor is not None), None)
