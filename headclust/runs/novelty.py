"""How unlike anything a model was fitted on a sample is: its distance to the nearest fitted samples, as a share.

The distance is the mean over an image's nearest fitted samples of the distance between rows of unit length. They are as
the backbone gave them and not as a model's heads see them: a transform that helps to cluster may drop just what is
unusual about a new image. Of several spaces each is divided by its mean among the fitted samples, and the sum counts.
benchmarks/novelty.py has what else was tried.

What comes out is the share of fitted samples that are nearer to the others than this sample is to them. Each of them is
measured without itself, so a new image from the same source has any share as likely as another, and one in a hundred
has 0.99 or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from headclust.errors import FileFormatError
from headclust.features import Features
from headclust.seeding import SEEN_STREAM, torch_generator

UNUSUAL = 0.99  # novelty from which on an image is said to look unlike anything seen
_NUMBERS = 1 << 21  # kept at most, of float16: 4 MB
_FEWEST, _MOST = 256, 4_096  # rows kept, however wide or narrow they are
_NEAREST = 3
_ROWS = 4_096
_ROUNDING = 1e-6  # of the squared distance of unit rows: nearer ones are the same


@dataclass(frozen=True)
class Seen:
    """Fitted samples that are kept to compare others with: all of them, or as many at random as 4 MB hold.

    Attributes:
        numbers: Which rows of the fit they are, ascending, int64 (n_kept,).
        rows: One a space, float16 (n_kept, feature_dim), of unit length.
    """

    numbers: Tensor
    rows: tuple[Tensor, ...]

    def tensors(self) -> dict[str, Tensor]:
        """Everything as named tensors; `from_tensors` takes them back."""
        return {"numbers": self.numbers, **{f"spaces.{space}.rows": rows for space, rows in enumerate(self.rows)}}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], dims: Sequence[int], n_samples: int) -> Seen:
        """What `tensors` were taken from.

        Args:
            tensors: As `tensors()` gave them.
            dims: The feature_dim of every space.
            n_samples: How many samples were fitted.

        Raises:
            FileFormatError: Tensors are missing, or are not those of such a fit.
        """
        try:
            numbers = tensors["numbers"]
            rows = tuple(tensors[f"spaces.{space}.rows"] for space in range(len(dims)))
        except KeyError as error:
            raise FileFormatError(f"the kept samples have no {error}: fit again.") from None
        wanted = [(len(numbers), dim) for dim in dims]
        if not len(numbers) or [tuple(one.shape) for one in rows] != wanted:
            found = [tuple(one.shape) for one in rows]
            raise FileFormatError(f"the kept samples have the shapes {found}, expected {wanted}: fit again.")
        whole = numbers.ndim == 1 and numbers.dtype == torch.int64
        if not (whole and set(numbers.tolist()) <= set(range(n_samples))):
            raise FileFormatError(f"the kept samples are not of {n_samples}: fit again.")
        return cls(numbers, rows)


def keep(spaces: Sequence[Features], seed: int) -> Seen:
    """The samples of a fit to keep.

    Args:
        spaces: What was fitted, one a space.
        seed: The fit's seed, which they are drawn with where there are too many.
    """
    n_samples, width = spaces[0].n_samples, sum(space.feature_dim for space in spaces)
    limit = min(_MOST, max(_FEWEST, _NUMBERS // width))
    numbers = torch.arange(n_samples)
    if n_samples > limit:
        numbers = torch.randperm(n_samples, generator=torch_generator(seed, SEEN_STREAM))[:limit].sort().values
    return Seen(numbers, tuple(F.normalize(space.rows(numbers), dim=1).half() for space in spaces))


def measure(seen: Seen, spaces: Sequence[Features], *, fitted: bool = False) -> NDArray[np.float32]:
    """How unlike anything seen samples are, float32 (n_samples,), from 0 to below 1.

    Args:
        seen: What the fit has kept.
        spaces: The samples, one a space.
        fitted: Whether they are those of the fit, row by row: then a sample that was kept is not compared with itself.
    """
    total, usual = torch.zeros(spaces[0].n_samples), torch.zeros(len(seen.numbers))
    starts = range(0, len(total), _ROWS)
    for rows, features in zip(seen.rows, spaces, strict=True):
        known = F.normalize(rows.float(), dim=1)
        own = _distances(known, known, others=True)
        blocks = (F.normalize(features.rows(slice(start, start + _ROWS)), dim=1) for start in starts)
        total += torch.cat([_distances(block, known) for block in blocks]) / _scale(own)
        usual += own / _scale(own)
    if fitted:
        total[seen.numbers] = usual
    less = torch.searchsorted(usual.sort().values, total)
    return (less / (len(usual) + 1)).float().numpy()


def _distances(rows: Tensor, kept: Tensor, *, others: bool = False) -> Tensor:
    """Mean distance of unit rows to the nearest kept ones, (n,); with `others`, to those that are not the same row."""
    squared = 2 - 2 * (rows @ kept.T)
    if others:
        squared.fill_diagonal_(torch.inf)
    nearest = max(1, min(_NEAREST, len(kept) - 1))
    squared = squared.topk(nearest, dim=1, largest=False).values
    return squared.where(squared > _ROUNDING, 0.0).sqrt().mean(1)


def _scale(distances: Tensor) -> Tensor:
    """Their mean; 1 where that says nothing, because there is one sample or all are the same."""
    mean = distances.mean()
    return mean if mean > 0 and mean.isfinite() else torch.ones(())
