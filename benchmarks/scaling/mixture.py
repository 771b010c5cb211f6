"""Made-up features of any size: an anisotropic mixture in few dimensions, written in blocks of rows.

A sample of class c is m_c + A_c z + s a e, mapped to the feature dimensions by a fixed orthonormal matrix, with noise:

- m_c, the mean of the class: standard normal in 64 latent dimensions;
- A_c z, four directions of each class in which its samples spread, so that classes are elongated;
- s a e, a spread that all classes share, seven times as large in the first latent dimension as in the last;
- noise of standard deviation 0.05 in each feature dimension.

s is such that about 60 % of a sample's ten nearest neighbors are of its class, as in features of photos: between the
numbers of clusters in `_SPREADS` it is interpolated, and the purity of each file is measured and shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headclust.features.lock import writer_lock
from headclust.features.writing import Table, side_tables, staging_folder, write_file

_LATENT, _ELONGATED = 64, 4
_LARGEST, _SMALLEST = 2.0, 0.3  # of the shared spread's scale per latent dimension, before it has mean square 1
_NOISE = 0.05
_SPREADS = {10: 2.8, 100: 1.8, 1000: 1.4}  # s by the number of clusters
_BLOCK = 8_192  # rows that are made at a time


@dataclass(frozen=True)
class Mixture:
    """The shape of a feature file.

    Args:
        n: Samples.
        d: Dimensions.
        k: Classes, of nearly equal size.
        dtype: "float32" or "float16".
        seed: Of everything random; block b draws from its own stream.
    """

    n: int
    d: int
    k: int
    dtype: str = "float32"
    seed: int = 0

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"n{self.n}-d{self.d}-k{self.k}-{self.dtype}.h5"

    @cached_property
    def _classes(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Means (k, latent), elongated directions (k, latent, 4), and the map to the features (latent, d)."""
        generator = np.random.default_rng([self.seed, 0])
        latent = min(_LATENT, self.d)
        means = generator.normal(size=(self.k, latent))
        axes = generator.normal(size=(self.k, latent, _ELONGATED)) / np.sqrt(_ELONGATED)
        basis = np.linalg.qr(generator.normal(size=(self.d, latent)))[0].T
        return means.astype(np.float32), axes.astype(np.float32), basis.astype(np.float32)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of each sample, int64 (n,)."""
        return np.random.default_rng([self.seed, 1]).permutation(np.arange(self.n) % self.k)

    def rows(self, labels: NDArray[np.int64], block: int) -> NDArray[np.floating]:
        """The features of a block of samples with these classes, (rows, d)."""
        means, axes, basis = self._classes
        generator = np.random.default_rng([self.seed, 2, block])
        scales = np.geomspace(_LARGEST, _SMALLEST, means.shape[1])
        scales /= np.sqrt(np.square(scales).mean())
        spread = np.interp(np.log(self.k), np.log(list(_SPREADS)), list(_SPREADS.values()))
        inner = generator.standard_normal((len(labels), _ELONGATED), dtype=np.float32)
        shared = generator.standard_normal((len(labels), means.shape[1]), dtype=np.float32)
        # m_c + A_c z + s a e, (rows, latent).
        latent = means[labels] + np.einsum("nlr,nr->nl", axes[labels], inner)
        latent += (spread * scales).astype(np.float32) * shared
        noise = generator.standard_normal((len(labels), self.d), dtype=np.float32)
        rows: NDArray[np.floating] = (latent @ basis + _NOISE * noise).astype(self.dtype)
        return rows

    def blocks(self) -> Iterator[NDArray[np.floating]]:
        """All rows, block by block."""
        labels = self.labels
        for block, start in enumerate(range(0, self.n, _BLOCK)):
            yield self.rows(labels[start : start + _BLOCK], block)

    def write(self, folder: Path) -> Path:
        """The feature file in a folder, made unless it exists; rows are made as they are written."""
        path = folder / self.name
        if path.exists():
            return path
        ids = [f"{row:08d}" for row in range(self.n)]
        attributes = {
            "dataset": "mixture",
            "backbone": "mixture",
            "split": "all",
            "class_names": [str(label) for label in range(self.k)],
            "dtype": self.dtype,
        }
        with writer_lock(staging_folder(path)):
            features = Table("features", np.dtype(self.dtype), (self.n, self.d), self.blocks())
            return write_file(path, [features, *side_tables(ids, self.labels, ())], attributes)
