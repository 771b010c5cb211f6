"""The fitted pipeline: one feature transform per space, the heads, and the indices of the heads that are used.

Tensors only, no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headclust.errors import FileFormatError, one_line
from headclust.features import Features
from headclust.features.rows import digests, distinct_rows, size, take
from headclust.features.source import row_blocks
from headclust.group import ALONE, Group
from headclust.model.heads import HEADS, Heads, select
from headclust.model.stored import check_same, check_tensors, check_widths, transform_of, width_of
from headclust.model.transform import NORMALIZED, PARTS, FeatureTransform, side_by_side

_PROBABILITIES = 1 << 25  # largest number of probabilities per block: 128 MB, for any number of clusters and heads


class Assignment(NamedTuple):
    """Clusters that a model assigns to samples.

    Attributes:
        clusters: Cluster per sample, int64 (n_samples,).
        confidence: Probability of that cluster, float32 (n_samples,).
        by_head: Clusters by each head, int32 (heads, n_samples).
    """

    clusters: NDArray[np.int64]
    confidence: NDArray[np.float32]
    by_head: NDArray[np.int32]


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
        outputs: For each cluster id the outputs of the heads whose probabilities it adds up: one, several of clusters
            that were joined, or none for an id that no sample gets; None if ids are the numbers of the outputs.
        exponent: Power of the mean probabilities, which are divided by their sum afterwards: below 1 the confidence is
            lower. The clusters stay the same.
    """

    transforms: tuple[FeatureTransform, ...]
    heads: Heads
    used_heads: tuple[int, ...]
    temperature: float
    outputs: tuple[tuple[int, ...], ...] | None = None
    exponent: float = 1.0

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
        probs = torch.softmax(self.heads(*inputs).logits[0] / self.temperature, dim=-1)
        if self.outputs is None:
            return probs
        # The outputs of each cluster id, (clusters, width); an id that is not used has the probability 0.
        outputs = self._padded(self.outputs).to(probs.device)
        return torch.where(outputs >= 0, probs[..., outputs.clamp_min(0)], 0).sum(-1)

    @staticmethod
    def _padded(outputs: Sequence[Sequence[int]]) -> Tensor:
        """The outputs of each cluster id, int64 (clusters, width), filled up with -1."""
        width = max(1, *map(len, outputs))
        return torch.tensor([[*several, *[-1] * (width - len(several))] for several in outputs])

    def assign(self, *spaces: Tensor | Features, group: Group = ALONE) -> Assignment:
        """Assign clusters in blocks, so that neither all rows nor all probabilities are in memory at once.

        Equal samples get equal clusters: each is computed once, as the last bits of a product depend on the row number.

        Args:
            *spaces: Features, or a tensor (n_samples, feature_dim) on any device, per space; blocks are moved to the
                model's device.
            group: Processes with the same model and samples: each assigns a part of them, and all get the whole.
        """
        distinct, copy_of = distinct_rows(*spaces)
        own = group.share(len(distinct))
        first = distinct[own.start : own.stop]
        clusters, confidence = np.empty(len(first), np.int64), np.empty(len(first), np.float32)
        by_head = np.empty((self.n_heads, len(first)), np.int32)
        for block, probs in self._blocks(spaces, first):
            by_head[:, block] = probs.argmax(-1).cpu().numpy()
            # The largest probability and its cluster, (n_rows,) each.
            best = self._mean(probs).max(-1)
            clusters[block], confidence[block] = best.indices.cpu().numpy(), best.values.cpu().numpy()
        clusters, confidence, by_head = group.gather_arrays(clusters, confidence, by_head.T)
        if len(distinct) == len(copy_of):
            return Assignment(clusters, confidence, by_head.T)
        return Assignment(clusters[copy_of], confidence[copy_of], by_head.T[:, copy_of])

    def mean_probs(self, *spaces: Tensor | Features) -> Tensor:
        """Cluster probabilities, (n_samples, clusters), on the CPU, whose largest is the confidence of `assign`."""
        first, group = distinct_rows(*spaces)
        means = torch.empty(len(first), self.n_clusters)
        for block, probs in self._blocks(spaces, first):
            means[block] = self._mean(probs).cpu()
        return means if len(first) == len(group) else means[group]

    def _mean(self, probs: Tensor) -> Tensor:
        """Probabilities (n_rows, clusters) from those of every head: their mean over the used heads, to the power."""
        mean = probs[list(self.used_heads)].mean(0)
        if self.exponent == 1:
            return mean
        raised = mean**self.exponent
        return raised / raised.sum(-1, keepdim=True)

    def _blocks(
        self, spaces: Sequence[Tensor | Features], rows: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Positions in `rows`, and the probabilities of every head for these rows, (heads, n_rows, clusters).

        The rows of a block are in the order of their digests: the last bits do not depend on the order in `rows`.
        """
        n_rows = max(1, _PROBABILITIES // (self.n_heads * self.n_clusters))
        for block in row_blocks(len(rows), max(size(space)[1] for space in spaces), at_most=n_rows):
            samples = [take(space, rows[block], device=self.device) for space in spaces]
            order = np.argsort(digests(*samples))
            yield block.start + order, self.probs(*(space[order] for space in samples))

    def alone(self, head: int) -> ClusterModel:
        """The model with a single one of its heads, on the CPU."""
        heads = HEADS[self.heads.kind].from_state(select(self.heads.state_dict(), head)).eval()
        return ClusterModel(self.transforms, heads, (0,), self.temperature, self.outputs).to(torch.device("cpu"))

    def renumbered(self, ids: Sequence[int], n_clusters: int) -> ClusterModel:
        """The same model with other cluster ids.

        Args:
            ids: New id of each cluster, from 0 to `n_clusters` - 1; clusters with the same id are joined.
            n_clusters: Number of ids; those not in `ids` are clusters that no sample gets.
        """
        outputs: list[tuple[int, ...]] = [()] * n_clusters
        for cluster, new in enumerate(ids):
            outputs[new] += (cluster,) if self.outputs is None else self.outputs[cluster]
        is_plain = outputs == [(output,) for output in range(self.heads.n_clusters)]
        return replace(self, outputs=None if is_plain else tuple(outputs))

    @property
    def n_heads(self) -> int:
        """Number of heads, used or not."""
        # Tensors that all heads share have a heads axis of length one.
        return max(map(len, self.heads.state_dict().values()))

    @property
    def n_clusters(self) -> int:
        """Number of clusters, used or not."""
        return self.heads.n_clusters if self.outputs is None else len(self.outputs)

    @property
    def device(self) -> torch.device:
        """The device that the model computes on."""
        device: torch.device = next(iter(self.heads.state_dict().values())).device
        return device

    def to(self, device: torch.device) -> ClusterModel:
        """The same model on `device`: a copy, as moving a module would change this one; itself if it is there."""
        if device == self.device:
            return self
        transforms = tuple(transform.to(device) for transform in self.transforms)
        state = {name: tensor.to(device) for name, tensor in self.heads.state_dict().items()}
        heads = HEADS[self.heads.kind].from_state(state).requires_grad_(False).eval()
        return replace(self, transforms=transforms, heads=heads)

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
        if self.exponent != 1:
            named["exponent"] = torch.tensor([self.exponent], dtype=torch.float64)
        if self.outputs is not None:
            padded = self._padded(self.outputs)
            named["clusters"] = padded[:, 0] if padded.shape[1] == 1 else padded
        return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> ClusterModel:
        """The model with these `tensors()`.

        Raises:
            FileFormatError: Tensors are missing, of another type, not finite, or do not fit together.
        """
        try:
            check_tensors(tensors)
            state: dict[str, dict[str, Tensor]] = {}
            for name, tensor in tensors.items():
                if name.startswith("heads."):
                    _, kind, key = name.split(".", 2)
                    state.setdefault(kind, {})[key] = tensor
            ((kind, values),) = state.items()
            heads = HEADS[kind].from_state(values).eval()
            n_spaces = sum(name.startswith("transforms.") and name.endswith(".l2") for name in tensors)
            transforms = tuple(transform_of(tensors, space) for space in range(n_spaces))
            check_widths(transforms, heads.input_dims)
            outputs = None
            if "clusters" in tensors:
                stored = tensors["clusters"].reshape(len(tensors["clusters"]), -1).tolist()
                outputs = tuple(tuple(output for output in several if output >= 0) for several in stored)
            if outputs is not None and sorted(chain.from_iterable(outputs)) != [*range(heads.n_clusters)]:
                raise ValueError(f"clusters do not name {heads.n_clusters} outputs once each")
            used_heads, temperature = tuple(tensors["speaking"].tolist()), float(tensors["temperature"].item())
            exponent = float(tensors["exponent"].item()) if "exponent" in tensors else 1.0
            model = cls(transforms, heads, used_heads, temperature, outputs, exponent)
            used = set(model.used_heads)
            if not (used and used <= set(range(model.n_heads)) and len(used) == len(model.used_heads)):
                raise ValueError(f"used heads are {list(model.used_heads)[:9]} of {model.n_heads}")
            check_same(model.tensors(), tensors)
            return model
        except (KeyError, ValueError, IndexError, TypeError, RuntimeError, OverflowError, MemoryError) as error:
            raise FileFormatError(f"the model's tensors do not make a model ({one_line(error)}): fit again.") from None

    def check_fits(self, feature_dims: Sequence[int], n_clusters: int) -> None:
        """Raise unless the model takes features of these spaces and has this number of clusters.

        Args:
            feature_dims: Number of columns of each space.
            n_clusters: Number of clusters.

        Raises:
            FileFormatError: The number of spaces, a dimension or the number of clusters differs.
        """
        inputs = [width_of(transform, first=True) for transform in self.transforms]
        if len(inputs) != len(feature_dims):
            problem = f"{len(inputs)} spaces, its fit {len(feature_dims)}"
        elif self.n_clusters != n_clusters:
            problem = f"{self.n_clusters} clusters, its fit {n_clusters}"
        else:
            pairs = list(zip(self.transforms, inputs, feature_dims, strict=True))
            outputs = [width_of(transform) or dim for transform, _, dim in pairs]
            outputs = [sum(outputs)] if len(self.heads.input_dims) == 1 else outputs
            if all(width in (None, dim) for _, width, dim in pairs) and tuple(outputs) == self.heads.input_dims:
                return
            problem = f"heads of {list(self.heads.input_dims)} dimensions, which do not match features of "
            problem += f"{list(feature_dims)}"
        raise FileFormatError(f"the model has {problem}: fit again.")
