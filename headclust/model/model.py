"""The fitted pipeline: a feature transform a space, heads, and which of them speak. Tensors only, no files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from headclust.errors import DataError, FileFormatError, SettingError
from headclust.model.heads import HEADS, Heads, select

TRANSFORMS = ("none", "l2", "standardize", "pca")
_PARTS = ("mean", "scale", "matrix")
_NORMALIZED = ("l2", "unit")
_ROWS = 8_192
_PROBABILITIES = 1 << 25  # at most in one block, so that a thousand clusters of fifty heads fit into memory
_ROUNDING = 1e-12  # of the squared length of a difference of unit rows, in float32


@dataclass(frozen=True)
class FeatureTransform:
    """An affine map between two optional L2 normalisations: (x or x/|x|, less mean), times scale, times matrix.

    Attributes:
        l2: Whether rows are divided by their length first (zero rows stay zero).
        mean: Shape (feature_dim,), or None.
        scale: Shape (feature_dim,), or None.
        matrix: Shape (feature_dim, n_components), or None.
        unit: Whether rows are divided by their length last.
    """

    l2: bool = False
    mean: Tensor | None = None
    scale: Tensor | None = None
    matrix: Tensor | None = None
    unit: bool = False

    def __call__(self, features: Tensor) -> Tensor:
        """Transforms rows (..., feature_dim) to (..., dim)."""
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
    """Fits a feature transform on `features` (n_samples, feature_dim).

    Args:
        features: The fitted samples, un-normalised.
        kind: "none"; "l2" (unit rows); "standardize" (zero mean, unit variance a dimension; constant dimensions become
            zero); "pca" (unit rows, centered, projected on the leading principal components, then scaled by one number
            so that a row's mean squared length is the number of components).
        n_components: Components kept by "pca", at most min(n_samples - 1, feature_dim).

    Raises:
        SettingError: `kind` is not one of these.
        DataError: The rows have no components to keep, because they all point the same way.
    """
    if kind == "none":
        return FeatureTransform()
    if kind == "l2":
        return FeatureTransform(l2=True)
    if kind == "standardize":
        spread = features.std(0, correction=0)
        return FeatureTransform(mean=features.mean(0), scale=torch.where(spread > 0, 1 / spread, 0.0))
    if kind == "pca":
        return _fit_pca(F.normalize(features, dim=-1), n_components)
    raise SettingError(f"unknown transform {kind!r}: wanted one of {', '.join(TRANSFORMS)}.")


def _fit_pca(unit: Tensor, n_components: int) -> FeatureTransform:
    n_components = max(1, min(n_components, len(unit) - 1, unit.shape[1]))
    mean = unit.mean(0)
    values, vectors = _wide_components(unit - mean) if len(unit) < unit.shape[1] else _components(unit, mean)
    values, vectors = values[:n_components], vectors[:, :n_components]
    if not values.sum() > _ROUNDING:
        raise DataError(
            "all rows point the same way: nothing is left after pca. Try --method kmeans --set normalize=none."
        )
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    scale = (n_components / values.sum()).sqrt()
    # Contiguous, as it comes back from a file: a product's last bits depend on the memory order.
    matrix = (vectors * signs * scale).float().contiguous().to(unit.device)
    return FeatureTransform(l2=True, mean=mean, matrix=matrix)


def _components(unit: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues of the covariance and its eigenvectors (dim, dim), the largest first, float64, on the CPU."""
    # By blocks: repeatable, and no second copy of the features.
    covariance = torch.zeros(unit.shape[1], unit.shape[1], dtype=torch.float64)
    for block in torch.split(unit, _ROWS):
        centered = (block - mean).cpu().double()
        covariance += centered.T @ centered
    values, vectors = torch.linalg.eigh(covariance / len(unit))
    return values.flip(0), vectors.flip(1)


def _wide_components(centered: Tensor) -> tuple[Tensor, Tensor]:
    """The same of fewer rows than dimensions, most of whose covariance has no eigenvalue but zero: solvers can fail."""
    _, roots, vectors = torch.linalg.svd(centered.cpu().double(), full_matrices=False)
    return roots.square() / len(centered), vectors.T


def side_by_side(rows: Sequence[Tensor]) -> Tensor:
    """Rows of several spaces as rows of one, (..., sum of dims), of unit length where those of every space are."""
    return torch.cat(list(rows), dim=-1) / math.sqrt(len(rows)) if len(rows) > 1 else rows[0]


class Assignment(NamedTuple):
    """What a model says of samples.

    Attributes:
        clusters: The cluster of each, int64 (n_samples,).
        confidence: Its probability, float32 (n_samples,).
        by_head: Clusters by every head, int64 (heads, n_samples).
    """

    clusters: NDArray[np.int64]
    confidence: NDArray[np.float32]
    by_head: NDArray[np.int64]


@dataclass(frozen=True)
class ClusterModel:
    """Assigns clusters to features of one or several spaces.

    Attributes:
        transforms: One a space, applied to its features first.
        heads: All fitted heads, of a kind in HEADS. They take as many spaces as there are, or one: all side by side.
        used_heads: Indices of the heads that are used: one, or several whose probabilities are averaged; their clusters
            then share their ids.
        temperature: Of the softmax that turns their logits into probabilities.
    """

    transforms: tuple[FeatureTransform, ...]
    heads: Heads
    used_heads: tuple[int, ...]
    temperature: float

    @torch.no_grad()
    def probs(self, *spaces: Tensor) -> Tensor:
        """Cluster probabilities of every head, (heads, n_samples, clusters), for (n_samples, feature_dim) a space."""
        rows = [transform(space)[None] for transform, space in zip(self.transforms, spaces, strict=True)]
        inputs = rows if len(self.heads.input_dims) > 1 else [side_by_side(rows)]
        return torch.softmax(self.heads(*inputs).logits[0] / self.temperature, dim=-1)

    def assign(self, *spaces: Tensor) -> Assignment:
        """Assigns clusters, never holding the probabilities of all samples at once.

        Args:
            *spaces: One (n_samples, feature_dim) a space, on the model's device.
        """
        by_head, best = [], []
        n_rows = max(1, min(_ROWS, _PROBABILITIES // (self.n_heads * self.n_clusters)))
        for block in zip(*(torch.split(space, n_rows) for space in spaces), strict=True):
            probs = self.probs(*block)
            by_head.append(probs.argmax(-1))
            best.append(probs[list(self.used_heads)].mean(0).max(-1))
        return Assignment(
            clusters=torch.cat([block.indices for block in best]).cpu().numpy(),
            confidence=torch.cat([block.values for block in best]).cpu().numpy(),
            by_head=torch.cat(by_head, dim=1).cpu().numpy(),
        )

    def alone(self, head: int) -> ClusterModel:
        """The model with one of its heads only, on the CPU."""
        state = {name: tensor.cpu() for name, tensor in select(self.heads.state_dict(), head).items()}
        transforms = tuple(transform.to(torch.device("cpu")) for transform in self.transforms)
        return ClusterModel(transforms, HEADS[self.heads.kind].from_state(state).eval(), (0,), self.temperature)

    @property
    def n_heads(self) -> int:
        """Number of heads, whether they speak or not."""
        return max(map(len, self.heads.state_dict().values()))  # what all heads share has a heads axis of one

    @property
    def n_clusters(self) -> int:
        """Number of clusters, used or not."""
        return self.heads.n_clusters

    def to(self, device: torch.device) -> ClusterModel:
        """The same model on `device`."""
        transforms = tuple(transform.to(device) for transform in self.transforms)
        return ClusterModel(transforms, self.heads.to(device), self.used_heads, self.temperature)

    def tensors(self) -> dict[str, Tensor]:
        """Everything the model is, as named tensors on the CPU; `from_tensors` takes them back."""
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
        """The model that `tensors` were taken from.

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
                raise ValueError(f"of {model.n_heads} heads {list(model.used_heads)} speak")
            return model
        except (KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
            raise FileFormatError(f"the model's tensors do not make a model ({error}): fit again.") from None


def _transform(tensors: Mapping[str, Tensor], space: int) -> FeatureTransform:
    """The transform of one space."""
    parts = {name: tensors.get(f"transforms.{space}.{name}") for name in _PARTS}
    l2, unit = (bool(tensors[f"transforms.{space}.{name}"].item()) for name in _NORMALIZED)
    return FeatureTransform(l2=l2, unit=unit, **parts)


def _check_widths(transforms: Sequence[FeatureTransform], taken: Sequence[int]) -> None:
    """Compares what transforms give with what heads take, as far as the transforms have a width of their own."""
    given = [_width(transform) for transform in transforms]
    if len(taken) == 1 and given:
        given = [None if None in given else sum(width or 0 for width in given)]
    if len(given) != len(taken):
        raise ValueError(f"{len(given)} transforms, and heads of {len(taken)} spaces")
    for width, wanted in zip(given, taken, strict=True):
        if width not in (None, wanted):
            raise ValueError(f"the transform gives {width} dimensions, the heads take {wanted}")


def _width(transform: FeatureTransform) -> int | None:
    parts = [getattr(transform, name) for name in _PARTS]
    return next((tensor.shape[-1] for tensor in reversed(parts) if tensor is not None), None)
