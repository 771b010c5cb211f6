"""The fitted pipeline: one feature transform per space, the heads, and the indices of the heads that are used.

Tensors only, no files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from headclust.choices import Transform
from headclust.errors import DataError, FileFormatError, SettingError, one_line
from headclust.model.heads import HEADS, Heads, select

TRANSFORMS = get_args(Transform)
_PARTS = ("mean", "scale", "matrix")
_NORMALIZED = ("l2", "unit")
# Types of tensors by the end of their names; all others are float32.
_TYPES = {
    "speaking": torch.int64,
    "heads.neighbors.temperature": torch.float32,
    "temperature": torch.float64,
    ".l2": torch.uint8,
    ".unit": torch.uint8,
    "heads.neighbors.features": torch.float16,
    "heads.neighbors.assignments": torch.int32,
    "heads.neighbors.counts": torch.int64,
}
_ABOVE_ZERO = ("temperature", "heads.centroids.scale")  # ends of names of tensors
_ROWS = 8_192
_PROBABILITIES = 1 << 25  # largest number of probabilities per block: 128 MB, for any number of clusters and heads
_ROUNDING = 1e-12  # variance of unit rows below which it is rounding of float32


@dataclass(frozen=True)
class FeatureTransform:
    """An affine map between two optional L2 normalizations: ((x or x/|x|) - mean) * scale @ matrix.

    Attributes:
        l2: True if rows are divided by their length first (zero rows stay zero).
        mean: Shape (feature_dim,), or None.
        scale: Shape (feature_dim,), or None.
        matrix: Shape (feature_dim, n_components), or None.
        unit: True if rows are divided by their length last.
    """

    l2: bool = False
    mean: Tensor | None = None
    scale: Tensor | None = None
    matrix: Tensor | None = None
    unit: bool = False

    def __repr__(self) -> str:
        parts = [f"{name}={tuple(part.shape)}" for name in _PARTS if (part := getattr(self, name)) is not None]
        return f"FeatureTransform({', '.join([*(name for name in _NORMALIZED if getattr(self, name)), *parts])})"

    def __call__(self, features: Tensor) -> Tensor:
        """Rows (..., feature_dim) transformed to (..., dim)."""
        if self.l2:
            features = F.normalize(features, dim=-1)
        if self.mean is not None:
            features = features - self.mean
        if self.scale is not None:
            features = features * self.scale
        if self.matrix is not None:
            features = features @ self.matrix
        return F.normalize(features, dim=-1) if self.unit else features

    def to(self, device: torch.device) -> FeatureTransform:
        """The same transform with its tensors on `device`."""
        mean, scale, matrix = (None if t is None else t.to(device) for t in (self.mean, self.scale, self.matrix))
        return replace(self, mean=mean, scale=scale, matrix=matrix)


def fit_transform(features: Tensor, kind: str, *, n_components: int = 256) -> FeatureTransform:
    """Fit a feature transform on `features` (n_samples, feature_dim).

    Args:
        features: The fitted samples, not normalized.
        kind: "none"; "l2" (unit rows); "standardize" (zero mean, unit variance per dimension; constant dimensions
            become zero); "pca" (unit rows, centered, projected on the leading principal components, then scaled by one
            number so that a row's mean squared length is the number of components).
        n_components: Components of "pca", at most min(n_samples - 1, feature_dim).

    Raises:
        SettingError: `kind` is not one of these.
        DataError: All rows point in the same direction, so they have no principal components.
    """
    if kind == "none":
        return FeatureTransform()
    if kind == "l2":
        return FeatureTransform(l2=True)
    if kind == "standardize":
        # Population standard deviation per dimension, as in scikit-learn's StandardScaler.
        spread = features.std(0, correction=0)
        return FeatureTransform(mean=features.mean(0), scale=torch.where(spread > 0, 1 / spread, 0.0))
    if kind == "pca":
        return _fit_pca(F.normalize(features, dim=-1), n_components)
    raise SettingError(f"unknown transform {kind!r}: expected one of {', '.join(TRANSFORMS)}.")


def _fit_pca(unit: Tensor, n_components: int) -> FeatureTransform:
    """PCA of unit rows (n_samples, feature_dim), with one scale for all components: directions are not whitened."""
    # Centering leaves n_samples - 1 independent rows.
    n_components = max(1, min(n_components, len(unit) - 1, unit.shape[1]))
    mean = unit.mean(0)
    # Variances (n_components,), descending, and directions (feature_dim, n_components).
    values, vectors = _wide_components(unit - mean) if len(unit) < unit.shape[1] else _components(unit, mean)
    values, vectors = values[:n_components], vectors[:, :n_components]
    if not values.sum() > _ROUNDING:
        raise DataError(
            "all rows point the same way: nothing is left after pca. Try --method kmeans --set normalize=none."
        )
    # The sign of an eigenvector is arbitrary: its largest entry is made positive, so that all solvers agree.
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    # The mean squared length of a projected row is the sum of the variances; scaled, it is n_components.
    scale = (n_components / values.sum()).sqrt()
    # Contiguous, as it will be when read from a file: the last bits of a product depend on the memory order.
    matrix = (vectors * signs * scale).float().contiguous().to(unit.device)
    return FeatureTransform(l2=True, mean=mean, matrix=matrix)


def _components(unit: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (dim,) of the covariance, descending, and its eigenvectors (dim, dim), float64, on the CPU."""
    # (1/n) sum_i (x_i - mean)(x_i - mean)', in blocks: repeatable, and without a second copy of the features.
    covariance = torch.zeros(unit.shape[1], unit.shape[1], dtype=torch.float64)
    for block in torch.split(unit, _ROWS):
        centered = (block - mean).cpu().double()
        covariance += centered.T @ centered
    # eigh gives eigenvalues in ascending order.
    values, vectors = torch.linalg.eigh(covariance / len(unit))
    return values.flip(0), vectors.flip(1)


def _wide_components(centered: Tensor) -> tuple[Tensor, Tensor]:
    """The same for fewer rows than dimensions, (n_samples,) and (dim, n_samples), by singular value decomposition.

    Most eigenvalues of their covariance are zero, on which eigenvalue solvers can fail.
    """
    # X = U S V': the covariance X'X / n has the eigenvectors V and the eigenvalues S^2 / n.
    _, roots, vectors = torch.linalg.svd(centered.cpu().double(), full_matrices=False)
    return roots.square() / len(centered), vectors.T


def side_by_side(rows: Sequence[Tensor]) -> Tensor:
    """Rows of several spaces concatenated, (..., sum of dims); of unit length if the rows of every space are."""
    # Concatenated unit rows of S spaces have the length sqrt(S).
    return torch.cat(list(rows), dim=-1) / math.sqrt(len(rows)) if len(rows) > 1 else rows[0]


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

        Args:
            *spaces: One (n_samples, feature_dim) per space, on the model's device.
        """
        by_head, best = [], []
        for probs in self._blocks(spaces):
            by_head.append(probs.argmax(-1))
            # Mean over the used heads, then the largest probability and its cluster, (n_rows,) each.
            best.append(probs[list(self.used_heads)].mean(0).max(-1))
        return Assignment(
            clusters=torch.cat([block.indices for block in best]).cpu().numpy(),
            confidence=torch.cat([block.values for block in best]).cpu().numpy(),
            by_head=torch.cat(by_head, dim=1).cpu().numpy(),
        )

    def mean_probs(self, *spaces: Tensor) -> Tensor:
        """Cluster probabilities, (n_samples, clusters): the mean over the used heads, in blocks as in `assign`.

        Args:
            *spaces: One (n_samples, feature_dim) per space, on the model's device.
        """
        return torch.cat([probs[list(self.used_heads)].mean(0) for probs in self._blocks(spaces)])

    def _blocks(self, spaces: Sequence[Tensor]) -> Iterator[Tensor]:
        """Probabilities of every head for blocks of samples that fit into memory, (heads, n_rows, clusters) each."""
        n_rows = max(1, min(_ROWS, _PROBABILITIES // (self.n_heads * self.n_clusters)))
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
            for name in _PARTS:
                if (tensor := getattr(transform, name)) is not None:
                    named[f"transforms.{space}.{name}"] = tensor
            for name in _NORMALIZED:
                named[f"transforms.{space}.{name}"] = torch.tensor([getattr(transform, name)], dtype=torch.uint8)
        named["speaking"] = torch.tensor(self.used_heads)
        named["temperature"] = torch.tensor([self.temperature], dtype=torch.float64)
        return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> ClusterModel:
        """The model with these `tensors()`.

        Raises:
            FileFormatError: Tensors are missing, of another type, not finite, or do not fit together.
        """
        try:
            _check_tensors(tensors)
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
            used = set(model.used_heads)
            if not (used and used <= set(range(model.n_heads)) and len(used) == len(model.used_heads)):
                raise ValueError(f"used heads are {list(model.used_heads)[:9]} of {model.n_heads}")
            _check_same(model.tensors(), tensors)
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
        inputs = [_width(transform, first=True) for transform in self.transforms]
        if len(inputs) != len(feature_dims):
            problem = f"{len(inputs)} spaces, its fit {len(feature_dims)}"
        elif self.n_clusters != n_clusters:
            problem = f"{self.n_clusters} clusters, its fit {n_clusters}"
        else:
            pairs = list(zip(self.transforms, inputs, feature_dims, strict=True))
            outputs = [_width(transform) or dim for transform, _, dim in pairs]
            outputs = [sum(outputs)] if len(self.heads.input_dims) == 1 else outputs
            if all(width in (None, dim) for _, width, dim in pairs) and tuple(outputs) == self.heads.input_dims:
                return
            problem = f"heads of {list(self.heads.input_dims)} dimensions, which do not match features of "
            problem += f"{list(feature_dims)}"
        raise FileFormatError(f"the model has {problem}: fit again.")


def _check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Raise if a tensor has another type, is not finite, or a temperature, scale or variance is not positive."""
    for name, tensor in tensors.items():
        expected = next((dtype for end, dtype in _TYPES.items() if name.endswith(end)), torch.float32)
        if tensor.dtype != expected:
            raise ValueError(f"{name} is {tensor.dtype}, expected {expected}")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity")
        if name.endswith(_ABOVE_ZERO) and not (tensor > 0).all():
            raise ValueError(f"{name} is not above 0")
        if name.endswith("variance") and not (tensor >= 0).all():
            raise ValueError(f"{name} is below 0")


def _check_same(built: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Raise unless what was built from stored tensors has the same tensors: names, shapes and values."""
    for name in sorted(built.keys() ^ stored.keys()):
        raise ValueError(f"{name} is {'missing' if name in built else 'not part of it'}")
    for name, tensor in stored.items():
        if not torch.equal(built[name], tensor):
            raise ValueError(f"{name}, of shape {list(tensor.shape)}, does not fit the others")


def _transform(tensors: Mapping[str, Tensor], space: int) -> FeatureTransform:
    """The transform of one space."""
    parts = {name: tensors.get(f"transforms.{space}.{name}") for name in _PARTS}
    for name, tensor in parts.items():
        if tensor is not None and tensor.ndim != 1 + (name == "matrix"):
            raise ValueError(f"transforms.{space}.{name} has the shape {list(tensor.shape)}")
    lengths = {len(tensor) for tensor in parts.values() if tensor is not None}
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(f"the parts of transform {space} are of {sorted(lengths)} dimensions")
    l2, unit = (bool(tensors[f"transforms.{space}.{name}"].item()) for name in _NORMALIZED)
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


def _width(transform: FeatureTransform, *, first: bool = False) -> int | None:
    """Output dimension of a transform, or its input dimension (`first`); None if it has no tensors: any dimension."""
    parts = [tensor for name in _PARTS if (tensor := getattr(transform, name)) is not None]
    if not parts:
        return None
    return len(parts[0]) if first else parts[-1].shape[-1]
