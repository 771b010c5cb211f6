"""Feature transforms: normalization of rows or columns, and principal components, fitted on the features of a space."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from headclust.choices import Transform
from headclust.device import float64_device
from headclust.errors import DataError, SettingError
from headclust.features import Features
from headclust.features.rows import blocks, power_of_two, size, unit_length
from headclust.group import ALONE, Group

if TYPE_CHECKING:
    from headclust.model.model import ClusterModel

TRANSFORMS = get_args(Transform)
PARTS = ("power", "mean", "scale", "matrix")
NORMALIZED = ("l2", "unit")
_ROUNDING = 1e-12  # variance of unit rows below which it is rounding of float32
Pass = Callable[[], Iterator[Tensor]]  # one pass over all rows, in blocks (n, feature_dim)
_ORDINARY = 2.0**-30, 2.0**30  # values whose squares float32 can hold and add, for any number of samples


@dataclass(frozen=True)
class FeatureTransform:
    """An affine map between two optional L2 normalizations: ((x or x/|x|) - mean) * scale @ matrix.

    Attributes:
        power: Powers of two that columns are multiplied with before everything else, (feature_dim,), for features whose
            squares float32 cannot hold; None for ordinary features.
        l2: True if rows are divided by their length first (zero rows stay zero).
        mean: Shape (feature_dim,), or None.
        scale: Shape (feature_dim,), or None.
        matrix: Shape (feature_dim, n_components), or None.
        unit: True if rows are divided by their length last.
    """

    power: Tensor | None = None
    l2: bool = False
    mean: Tensor | None = None
    scale: Tensor | None = None
    matrix: Tensor | None = None
    unit: bool = False

    def __repr__(self) -> str:
        parts = [f"{name}={tuple(part.shape)}" for name in PARTS if (part := getattr(self, name)) is not None]
        return f"FeatureTransform({', '.join([*(name for name in NORMALIZED if getattr(self, name)), *parts])})"

    def __call__(self, features: Tensor) -> Tensor:
        """Rows (..., feature_dim) transformed to (..., dim)."""
        if self.power is not None:
            features = features * self.power
        if self.l2:
            features = unit_length(features)
        if self.mean is not None:
            features = features - self.mean
        if self.scale is not None:
            features = features * self.scale
        if self.matrix is not None:
            features = features @ self.matrix
        return unit_length(features) if self.unit else features

    def rows(
        self, features: Tensor | Features, *, view: int | None = None, device: torch.device | None = None
    ) -> Tensor:
        """All rows transformed, float32 (n_samples, dim); of the others only a block is in memory at a time.

        Args:
            features: Features, or a tensor (n_samples, feature_dim).
            view: A view of features.
            device: Where to compute, and the device of the result; where the rows are by default.
        """
        result, start = torch.empty(0), 0
        for block in blocks(features, view=view, device=device):
            rows = self(block)
            if not start:
                result = rows.new_empty(size(features)[0], rows.shape[1])
            result[start : start + len(rows)] = rows
            start += len(rows)
        return result

    def to(self, device: torch.device) -> FeatureTransform:
        """The same transform with its tensors on `device`."""
        power, mean, scale, matrix = (
            None if tensor is None else tensor.to(device) for tensor in (self.power, self.mean, self.scale, self.matrix)
        )
        return replace(self, power=power, mean=mean, scale=scale, matrix=matrix)


def fit_transform(
    features: Tensor | Features,
    kind: str,
    *,
    n_components: int = 256,
    device: torch.device | None = None,
    group: Group = ALONE,
) -> FeatureTransform:
    """Fit a feature transform, in passes over blocks of rows.

    Args:
        features: The fitted samples, not normalized: features, or a tensor (n_samples, feature_dim).
        kind: "none"; "l2" (unit rows); "standardize" (zero mean, unit variance per dimension; constant dimensions
            become zero); "pca" (unit rows, centered, projected on the leading principal components, then scaled by one
            number so that a row's mean squared length is the number of components).
        n_components: Components of "pca", at most min(n_samples - 1, feature_dim).
        device: Where to compute, and the device of the transform; where the rows are by default.
        group: Processes with the same rows, which share the covariance of "pca".

    Raises:
        SettingError: `kind` is not one of these.
        DataError: All rows point in the same direction, so they have no principal components.
    """
    rows = partial(blocks, features, device=device)
    if kind == "none":
        return _fit_none(rows)
    if kind == "l2":
        return FeatureTransform(l2=True)
    if kind == "standardize":
        return _fit_standardize(rows)
    if kind == "pca":
        return _fit_pca(lambda: map(unit_length, rows()), *size(features), n_components, group)
    raise SettingError(f"unknown transform {kind!r}: expected one of {', '.join(TRANSFORMS)}.")


def _fit_none(rows: Pass) -> FeatureTransform:
    """The identity; for features of extreme scale a shift and one power of two, which change all distances alike."""
    least, most = column_limits(rows())
    largest = torch.maximum(-least, most)
    # Half the range, as the range itself could be infinite.
    if _is_ordinary(largest.max()) and _is_ordinary((most / 2 - least / 2).max()):
        return FeatureTransform()
    power = power_of_two(largest)
    exact = float64_device(power.device)
    mean = _mean((block * power).to(exact).double() for block in rows()).to(power.device)
    # Exponents, (feature_dim,): of the largest deviation from the mean per column, before the powers of two.
    least, most = column_limits(block * power - mean for block in rows())
    deviation = torch.maximum(-least, most)
    own = torch.frexp(power).exponent - 1
    exponent = torch.frexp(deviation).exponent - own
    # Columns get their scales back, relative to the column that varies most.
    varies = deviation > 0
    back = torch.ldexp(torch.ones_like(power), -own - exponent[varies].max()) if varies.any() else power
    return FeatureTransform(power=power, mean=mean, scale=torch.where(varies, back, 0.0))


def _fit_standardize(rows: Pass) -> FeatureTransform:
    """Zero mean and unit variance per column; columns whose squares float32 cannot hold are scaled before."""
    least, most = column_limits(rows())
    largest = torch.maximum(-least, most)
    power = None if _is_ordinary(largest).all() else power_of_two(largest)
    # Population standard deviation per dimension, as in scikit-learn's StandardScaler.
    scaled = rows if power is None else lambda: (block * power for block in rows())
    mean = _mean(scaled())
    spread = _spread(scaled(), mean)
    # The means of blocks of a constant can differ by rounding.
    varies = (spread > 0) & (most > least)
    return FeatureTransform(power=power, mean=mean, scale=torch.where(varies, 1 / spread, 0.0))


def column_limits(rows: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Smallest and largest value per column, (feature_dim,) each."""
    first = next(rows)
    least, most = first.amin(0), first.amax(0)  # aminmax took five times as long
    for block in rows:
        least, most = torch.minimum(least, block.amin(0)), torch.maximum(most, block.amax(0))
    return least, most


def _mean(rows: Iterator[Tensor]) -> Tensor:
    """Mean per column, (feature_dim,): of the means of blocks, in float64. A single block has its own mean exactly."""
    count, mean, device = 0, torch.zeros(()), torch.device("cpu")
    for block in rows:
        device = block.device
        own = block.mean(0).to(float64_device(device)).double()
        count += len(block)
        mean = mean.to(own) + len(block) / count * (own - mean.to(own))
    return mean.float().to(device)


def _spread(rows: Iterator[Tensor], mean: Tensor) -> Tensor:
    """Population standard deviation per column, (feature_dim,), from the mean; a single block has its own exactly."""
    count, variance = 0, torch.zeros(())
    for block in rows:
        # Mean over the rows of a block of (x - mean)^2: their variance, and the square of the distance of their mean.
        exact = float64_device(block.device)
        inner, own = (moment.to(exact).double() for moment in (block.std(0, correction=0), block.mean(0)))
        squares = inner.square() + (own - mean.to(exact).to(own)).square()
        count += len(block)
        variance = variance.to(squares) + len(block) / count * (squares - variance.to(squares))
    return variance.sqrt().float().to(mean.device)


def _is_ordinary(largest: Tensor) -> Tensor:
    """True for values, 0 or more, whose squares and sums of squares float32 can hold."""
    least, most = _ORDINARY
    return (largest == 0) | ((largest >= least) & (largest <= most))


def _fit_pca(unit: Pass, n_samples: int, feature_dim: int, n_components: int, group: Group = ALONE) -> FeatureTransform:
    """PCA of unit rows (n_samples, feature_dim), with one scale for all components: directions are not whitened."""
    # Centering leaves n_samples - 1 independent rows.
    n_components = max(1, min(n_components, n_samples - 1, feature_dim))
    # Mean (feature_dim,), variances (n_components,), descending, and directions (feature_dim, n_components).
    is_wide = n_samples < feature_dim
    mean, values, vectors = _wide_components(torch.cat(list(unit()))) if is_wide else _components(unit(), group)
    values, vectors = values[:n_components], vectors[:, :n_components]
    if not values.sum() > _ROUNDING:
        if n_samples == 1:
            raise DataError("one row has no principal components: pca needs at least 2.")
        raise DataError(
            "all rows point the same way: nothing is left after pca. Try --method kmeans --set normalize=none."
        )
    # The sign of an eigenvector is arbitrary: its largest entry is made positive, so that all solvers agree.
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    # The mean squared length of a projected row is the sum of the variances; scaled, it is n_components.
    scale = (n_components / values.sum()).sqrt()
    # Contiguous, as it will be when read from a file: the last bits of a product depend on the memory order.
    matrix = (vectors * signs * scale).float().contiguous().to(mean.device)
    # Solvers of unlike machines may differ: all processes use the matrix of the first.
    matrix = group.broadcast_(matrix, 0)
    return FeatureTransform(l2=True, mean=mean, matrix=matrix)


def _components(unit: Iterator[Tensor], group: Group) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (dim,), eigenvalues (dim,) of the covariance, descending, and its eigenvectors (dim, dim), in one pass."""
    count, first = 0, next(unit)
    # A point near the mean: what is summed is small, so nothing is lost when the mean is taken out at the end.
    origin, exact = first.mean(0), float64_device(first.device)
    total = torch.zeros(len(origin), dtype=torch.float64, device=exact)
    products = torch.zeros(len(origin), len(origin), dtype=torch.float64, device=exact)
    for number, block in enumerate(itertools.chain((first,), unit)):
        count += len(block)
        # Of several processes, each multiplies every size-th block.
        if number % group.size == group.rank:
            shifted = (block - origin).to(exact).double()
            total += shifted.sum(0)
            products += shifted.T @ shifted
    offset = group.sum(total) / count
    # (1/n) sum_i (x_i - mean)(x_i - mean)' = (1/n) sum_i (x_i - origin)(x_i - origin)' - offset offset'.
    covariance = group.sum(products) / count - torch.outer(offset, offset)
    # eigh gives eigenvalues in ascending order.
    values, vectors = torch.linalg.eigh(covariance)
    mean = (origin.to(exact).double() + offset).float().to(origin.device)
    return mean, values.flip(0), vectors.flip(1)


def _wide_components(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same for fewer rows than dimensions, eigenvalues (n_samples,), by singular value decomposition.

    Most eigenvalues of their covariance are zero, on which eigenvalue solvers can fail.
    """
    mean = rows.mean(0)
    centered = rows - mean
    # X = U S V': the covariance X'X / n has the eigenvectors V and the eigenvalues S^2 / n.
    _, roots, vectors = torch.linalg.svd(centered.to(float64_device(centered.device)).double(), full_matrices=False)
    return mean, roots.square() / len(centered), vectors.T


def side_by_side(rows: Sequence[Tensor]) -> Tensor:
    """Rows of several spaces concatenated, (..., sum of dims); of unit length if the rows of every space are."""
    # Concatenated unit rows of S spaces have the length sqrt(S).
    return torch.cat(list(rows), dim=-1) / math.sqrt(len(rows)) if len(rows) > 1 else rows[0]


def transformed_rows(model: ClusterModel, spaces: Sequence[Features], rows: slice | NDArray[np.int64]) -> Tensor:
    """Unit rows after a model's transforms, those of several spaces side by side, float32 (n_rows, sum of dims).

    They are on the model's device.
    """
    parts = [
        F.normalize(transform(space.rows(rows).to(model.device)), dim=-1)
        for transform, space in zip(model.transforms, spaces, strict=True)
    ]
    return side_by_side(parts)
