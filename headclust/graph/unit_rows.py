"""Rows of unit length, by blocks: held once, or read and normalized again whenever they are used."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headclust.features import Features
from headclust.features.rows import unit_length

HELD_AT_MOST = 1 << 30  # bytes of unit rows that are held; more are read again for every pass over them
_NARROW = 2.0**-14  # variance of unit rows below which they nearly point the same way


class UnitRows:
    """Unit rows of samples, on the device that computes; rows of zeros stay zero.

    Cosines of rows that nearly point the same way differ by rounding only, so these rows are centered: their distances
    are compared, which is the same order as |x - y|^2 = 2 - 2 <x, y>. A block of rows has the same bits held or read.

    Args:
        source: The samples: features, or a tensor (n_samples, feature_dim).
        device: Where to compute; the CPU for features, the tensor's own device for a tensor, by default.
        rows_per_block: Rows that are read at once.
        held_at_most: Bytes of float32 rows that are held.

    Attributes:
        center: The mean that is subtracted, (feature_dim,); None unless the rows nearly point the same way.
        squares: Half the squared length of each centered row, (n_samples,); None if they are not centered.
    """

    center: Tensor | None = None
    squares: Tensor | None = None

    def __init__(
        self,
        source: Tensor | Features,
        *,
        device: torch.device | None = None,
        rows_per_block: int,
        held_at_most: int = HELD_AT_MOST,
    ) -> None:
        self._source = source
        own = source.device if isinstance(source, Tensor) else torch.device("cpu")
        self.device = device or own
        self.rows_per_block = rows_per_block
        self._length, self.dim = source.shape if isinstance(source, Tensor) else (source.n_samples, source.feature_dim)
        self._held: Tensor | None = None
        if self._length * self.dim * 4 <= held_at_most:
            self._held = self[:]
        self._center_()

    def __len__(self) -> int:
        """Number of rows."""
        return int(self._length)

    def __getitem__(self, rows: slice) -> Tensor:
        """A slice of the rows, (n, feature_dim), float32."""
        first, last, _ = rows.indices(len(self))
        if self._held is not None:
            return self._held[first:last]
        if last - first <= self.rows_per_block:
            return self.place(self._read(slice(first, last)))
        unit = torch.empty(last - first, self.dim, device=self.device)
        for left in range(first, last, self.rows_per_block):
            right = min(left + self.rows_per_block, last)
            unit[left - first : right - first] = self.place(self._read(slice(left, right)))
        return unit

    def take(self, numbers: NDArray[np.int64]) -> Tensor:
        """The rows of these numbers, (n, feature_dim), float32."""
        return self.place(self._read(numbers)) if self._held is None else self._held[torch.from_numpy(numbers)]

    def place(self, rows: Tensor) -> Tensor:
        """Rows of these or of other samples (n, feature_dim), made unit and centered as these are, on the device."""
        unit = unit_length(rows.to(self.device).float())
        return unit if self.center is None else unit - self.center

    def cosines(self, scores: Tensor) -> Tensor:
        """Cosine similarities for scores: these themselves, or for centered rows minus half the squared distances."""
        return scores if self.center is None else 1 + scores

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """All rows in blocks of `rows_per_block`, each with its place."""
        for left in range(0, len(self), self.rows_per_block):
            rows = slice(left, min(left + self.rows_per_block, len(self)))
            yield rows, self[rows]

    @property
    def is_held(self) -> bool:
        """True if all rows are in memory."""
        return self._held is not None

    def _read(self, rows: slice | NDArray[np.int64]) -> Tensor:
        if isinstance(self._source, Features):
            return self._source.rows(rows)
        return self._source[rows if isinstance(rows, slice) else torch.from_numpy(rows).to(self._source.device)]

    def _center_(self) -> None:
        """Center the rows if they nearly point the same way and none is zero."""
        total = torch.zeros(self.dim, dtype=torch.float64)
        for _, unit in self.blocks():
            total += unit.sum(0).cpu()
        center = (total / len(self)).float().to(self.device)
        # Unit rows have a mean squared length of 1; what |mean|^2 lacks is their variance.
        if not (center.square().sum() > 1 - _NARROW and all(unit.any(1).all() for _, unit in self.blocks())):
            return
        if self._held is not None:
            self._held -= center
        self.center = center
        self.squares = torch.cat([unit.square().sum(1) / 2 for _, unit in self.blocks()])
