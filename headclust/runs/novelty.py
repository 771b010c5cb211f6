"""Novelty: distance of a sample from the samples the model was fitted on, as a quantile in [0, 1).

The distance of a sample is the mean Euclidean distance to its nearest fitted samples, between unit rows of backbone
features. Not of transformed features: a transform that helps clustering may drop what is unusual about a new image. In
several spaces, each distance is divided by its mean over the fitted samples, and the sum is used. benchmarks/novelty.py
compares other scores.

The novelty of a sample is the share of fitted samples whose own distance, each measured without itself, is smaller.
For new samples from the same source it is approximately uniform: one in a hundred has 0.99 or more. It is one minus a
conformal p-value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headclust.errors import FileFormatError
from headclust.features import Features
from headclust.features.rows import unit_length
from headclust.features.source import row_blocks
from headclust.seeding import SEEN_STREAM, torch_generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

UNUSUAL = 0.99  # novelty at and above which an image is reported as unusual
_NUMBERS = 1 << 21  # largest count of float16 numbers in the reference: 4 MB
_FEWEST, _MOST = 256, 4_096  # limits on the reference rows, however wide or narrow they are
_NEAREST = 3  # neighbors whose distances are averaged
_ROWS = 4_096  # samples per block
_UNIT = 0.01  # largest deviation of a length from 1, by the rounding of float16
_ROUNDING = 1e-6  # squared distance of unit rows below which it is rounding, and the rows are equal


@dataclass(frozen=True)
class Seen:
    """The reference of a run: all fitted samples, or a random subset that fits into 4 MB.

    Attributes:
        numbers: Row numbers in the fitted features, ascending, int64 (n_reference,).
        rows: Their features, one float16 tensor (n_reference, feature_dim) per space, rows of unit length.
    """

    numbers: Tensor
    rows: tuple[Tensor, ...]

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors, from which `from_tensors` builds the reference again."""
        return {"numbers": self.numbers, **{f"spaces.{space}.rows": rows for space, rows in enumerate(self.rows)}}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], dims: Sequence[int], n_samples: int) -> Seen:
        """The reference with these `tensors()`.

        Args:
            tensors: As returned by `tensors()`.
            dims: feature_dim of each space.
            n_samples: Number of fitted samples.

        Raises:
            FileFormatError: Tensors are missing, or do not match `dims` and `n_samples`.
        """
        import torch

        names = ("numbers", *(f"spaces.{space}.rows" for space in range(len(dims))))
        if set(tensors) != set(names):
            shown = ", ".join(sorted(tensors))[:100]
            raise FileFormatError(f"the stored samples are {shown}, expected {', '.join(names)}: fit again.")
        numbers, *rows = (tensors[name] for name in names)
        shapes, expected = [tuple(tensor.shape) for tensor in rows], [(numbers.numel(), dim) for dim in dims]
        if not numbers.numel() or shapes != expected:
            raise FileFormatError(f"the stored samples have the shapes {shapes}, expected {expected}: fit again.")
        is_ascending = numbers.ndim == 1 and numbers.dtype == torch.int64 and bool((numbers.diff() > 0).all())
        if not (is_ascending and numbers[0] >= 0 and numbers[-1] < n_samples):
            raise FileFormatError(f"the stored samples are not rows of the {n_samples} fitted ones: fit again.")
        for space in rows:
            # NaN is outside every range; a row of zeros stays zero.
            if space.dtype != torch.float16 or not (space.float().norm(dim=1) < 1 + _UNIT).all():
                raise FileFormatError("the stored samples are not unit rows in float16: fit again.")
        return cls(numbers, tuple(rows))


def keep(spaces: Sequence[Features], seed: int) -> Seen:
    """The reference of a fit.

    Args:
        spaces: The fitted features, one per space.
        seed: The fit's seed, with which a subset is drawn if there are too many samples.
    """
    import torch

    n_samples, width = spaces[0].n_samples, sum(space.feature_dim for space in spaces)
    limit = min(_MOST, max(_FEWEST, _NUMBERS // width))
    numbers = torch.arange(n_samples)
    if n_samples > limit:
        numbers = torch.randperm(n_samples, generator=torch_generator(seed, SEEN_STREAM))[:limit].sort().values
    return Seen(numbers, tuple(unit_length(space.rows(numbers)).half() for space in spaces))


def measure(
    seen: Seen, spaces: Sequence[Features], *, fitted: bool = False, device: torch.device | None = None
) -> NDArray[np.float32]:
    """Novelty of samples, float32 (n_samples,), in [0, 1).

    Args:
        seen: The reference of the fit.
        spaces: The samples, one per space.
        fitted: True if they are the fitted samples, row by row: then a sample of the reference is not compared with
            itself.
        device: Where to compute distances; the CPU by default.
    """
    import torch

    device = device or torch.device("cpu")
    # Distances summed over spaces: of the samples, (n_samples,), and of the reference, (n_reference,).
    total, usual = torch.zeros(spaces[0].n_samples), torch.zeros(len(seen.numbers))
    for rows, features in zip(seen.rows, spaces, strict=True):
        # float16 rows are normalized again, as rounding has changed their length.
        reference = unit_length(rows.to(device).float())
        own = _distances(reference, reference, others=True).cpu()
        # Divided by the mean of the reference: spaces of different scale count equally.
        usual += own / _scale(own)
        # Blocks of the samples, so that their similarities to the reference stay small.
        for block in row_blocks(len(total), features.feature_dim, at_most=_ROWS):
            samples = unit_length(features.rows(block).to(device))
            total[block] += _distances(samples, reference).cpu() / _scale(own)
    if fitted:
        # A fitted sample that is in the reference would otherwise have itself as its nearest, at a distance of about 0.
        total[seen.numbers] = usual
    # Rank among the reference: number with a smaller distance, divided by n_reference + 1. For a sample from the same
    # source the ranks 0 to n_reference are about equally probable.
    smaller = torch.searchsorted(usual.sort().values, total)
    return (smaller / (len(usual) + 1)).float().numpy()


def _distances(rows: Tensor, reference: Tensor, *, others: bool = False) -> Tensor:
    """Mean distance of unit rows (n, dim) to their nearest reference rows, (n,).

    With `others`, `rows` are the reference and no row is compared with itself.
    """
    import torch

    # |x - y|^2 = 2 - 2 <x, y> for unit rows, (n, n_reference).
    squared = 2 - 2 * (rows @ reference.T)
    if others:
        squared.fill_diagonal_(torch.inf)
    # At most n_reference - 1, the number of neighbors of a sample of the reference; also for samples outside it.
    nearest = max(1, min(_NEAREST, len(reference) - 1))
    squared = squared.topk(nearest, dim=1, largest=False).values
    # Rounding gives equal rows a small distance, negative or positive: set to 0 before the root.
    return squared.where(squared > _ROUNDING, 0.0).sqrt().mean(1)


def _scale(distances: Tensor) -> Tensor:
    """Mean of the distances; 1 if it is 0 or infinite, as with samples that are all equal or a single one."""
    import torch

    mean = distances.mean()
    return mean if mean > 0 and mean.isfinite() else torch.ones(())
