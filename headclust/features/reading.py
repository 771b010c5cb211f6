"""Reading a feature file. It is not trusted: its structure is checked before anything large is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError
from headclust.features.checks import (
    check_labels,
    check_rows,
    feature_array,
    label_array,
)
from headclust.features.format import ContentDigest, decode_attributes, decode_texts, encode_texts
from headclust.features.left_out import LeftOut, read_left_out
from headclust.features.opened import mapped, opened_file
from headclust.features.source import FirstRows, SelectedRows, Source, row_blocks
from headclust.features.structure import stored_attributes

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Features:
    """Features of samples, with their ids, labels and attributes. Row i belongs to `sample_ids[i]`.

    Args:
        path: The feature file; None for features in memory.
        sample_ids: n_samples unique names.
        labels: int64 (n_samples,), -1 = unknown; None without labels. Used for scores only.
        class_names: Names of the labels 0, 1, ...; may be empty.
        attributes: All other attributes of the file: dataset, backbone, preprocessing, versions, ...
        sha256: Checksum over all attributes and data.
        feature_dim: Number of columns.
        n_views: Augmented views per row; 0 if there are none.
        left_out: The images that were left out, with the kinds of the reasons and the stamps of the files.
        stamps: Size and time of the file of each sample when it was listed, int64 (n_samples, 2); None if unknown.
    """

    path: Path | None
    sample_ids: tuple[str, ...]
    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    attributes: Mapping[str, Any]
    sha256: str
    feature_dim: int
    _open: Callable[[int | None], Source] = field(repr=False)
    n_views: int = 0
    left_out: tuple[LeftOut, ...] = ()
    stamps: NDArray[np.int64] | None = None

    @staticmethod
    def from_array(array: Any, sample_ids: Sequence[str] | None = None, labels: Any = None) -> Features:
        """Features in memory.

        Args:
            array: (n_samples, feature_dim), copied; numbers other than float16 and float32 become float32.
            sample_ids: Names of the rows; "0", "1", ... by default.
            labels: Whole numbers (n_samples,), -1 = unknown.

        Raises:
            DataError: Shapes do not match, a value is not finite, or an id appears twice.
        """
        values = feature_array(array).copy()
        ids = tuple(map(str, range(len(values)))) if sample_ids is None else tuple(sample_ids)
        int_labels = label_array(labels)
        check_rows(values, ids, int_labels, ())
        digest = ContentDigest({})
        for name, data in (("features", values), ("sample_ids", encode_texts(ids)), ("labels", int_labels)):
            if data is not None:
                digest.begin(name, data.dtype, data.shape)
                digest.update(data)
        return Features(
            path=None,
            sample_ids=ids,
            labels=int_labels,
            class_names=(),
            attributes={"dataset": "array", "backbone": "array", "class_names": [], "dtype": values.dtype.name},
            sha256=digest.hexdigest(),
            feature_dim=values.shape[1],
            _open=lambda view: values,
        )

    def __repr__(self) -> str:
        n_labeled = 0 if self.labels is None else int((self.labels >= 0).sum())
        place = f"{str(self.path)!r}, " if self.path else ""
        return (
            f"Features({place}{self.n_samples} x {self.feature_dim}, n_views={self.n_views}, "
            f"backbone={self.attributes.get('backbone')!r}, n_labeled={n_labeled}, n_skipped={len(self.skipped)})"
        )

    @property
    def n_samples(self) -> int:
        """The number of rows."""
        return len(self.sample_ids)

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """(sample id, reason) of the images that were left out."""
        return tuple((image.sample_id, str(image.reason)) for image in self.left_out)

    def rows(self, index: NDArray[Any] | torch.Tensor | Sequence[int] | slice, view: int | None = None) -> torch.Tensor:
        """The given rows, copied: float32 (n, feature_dim), on the CPU, in the order of `index`; only these are read.

        Args:
            index: Row numbers, a boolean mask or a slice.
            view: Number of an augmented view, 0 to n_views - 1; None for the features without augmentation.

        Raises:
            DataError: The view does not exist.
            FileFormatError: The file has changed since it was opened.
        """
        import torch

        return torch.from_numpy(self.values(index if isinstance(index, slice) else np.asarray(index), view))

    def values(self, index: NDArray[Any] | slice, view: int | None = None) -> NDArray[np.float32]:
        """As `rows`, without PyTorch: float32 (n, feature_dim)."""
        # An array of its own, copied once at most: never the memory of the file or of the array given.
        return np.require(self.source(view)[index], np.float32, ["C", "W", "O"])

    def source(self, view: int | None = None) -> Source:
        """The rows as they are stored, of the features without augmentation or of a view; see `rows` for errors."""
        if view is not None and not 0 <= view < self.n_views:
            step = f"expected 0 to {self.n_views - 1}" if self.n_views else "make the features again with --views"
            raise DataError(f"view {view}: the features have {self.n_views} views: {step}.")
        return self._open(view)

    def blocks(self, view: int | None = None) -> Iterator[torch.Tensor]:
        """All rows in order, copied in blocks: float32 (n, feature_dim), at most 8,192 rows and 256 MB each."""
        return (self.rows(block, view) for block in row_blocks(self.n_samples, self.feature_dim))

    def all(self) -> torch.Tensor:
        """All rows, copied: float32 (n_samples, feature_dim), on the CPU. `blocks` needs less memory."""
        return self.rows(slice(None))

    def select(self, rows: NDArray[np.int64]) -> Features:
        """The features of some samples, with their views; `sha256` identifies them, so that neighbors can be cached.

        Args:
            rows: Row numbers, int64.
        """
        digest = hashlib.sha256(self.sha256.encode() + np.ascontiguousarray(rows).tobytes())
        return replace(
            self,
            sample_ids=tuple(self.sample_ids[row] for row in rows.tolist()),
            labels=None if self.labels is None else self.labels[rows],
            stamps=None if self.stamps is None else self.stamps[rows],
            sha256=digest.hexdigest(),
            _open=lambda view: SelectedRows(self.source(view), rows),
        )

    def first(self, n_samples: int) -> Features:
        """The first samples, with their views; no row is copied.

        The checksum is that of the file which had these samples alone, if this one has grown from it.

        Args:
            n_samples: Their number, at most that of all.
        """
        if n_samples == self.n_samples:
            return self
        earlier = {rows: sha256 for sha256, rows in self.attributes.get("grown_from", ())}
        sha256 = earlier.get(n_samples) or hashlib.sha256(f"{self.sha256} {n_samples}".encode()).hexdigest()
        return replace(
            self,
            sample_ids=self.sample_ids[:n_samples],
            labels=None if self.labels is None else self.labels[:n_samples],
            stamps=None if self.stamps is None else self.stamps[:n_samples],
            sha256=sha256,
            _open=lambda view: FirstRows(self.source(view), n_samples),
        )


def stored_sha256(path: Path) -> str:
    """The checksum that a feature file or a folder of shards records; its structure is checked, nothing else is read.

    Raises:
        DataError: The file does not exist.
        FileFormatError: The file is truncated, of another program or version, or inconsistent.
    """
    from headclust.features.folder import is_folder, read_manifest  # which reads its files with `load_file`

    if is_folder(path):
        return read_manifest(path)[0]
    with opened_file(path) as file:
        return str(decode_attributes(stored_attributes(file))["sha256"])


def stored_states(path: Path) -> list[str]:
    """The checksum that a feature file records, and those of the files that it has grown from; as `stored_sha256`."""
    sha256 = stored_sha256(path)
    if not path.is_file():
        return [sha256]
    with opened_file(path) as file:
        grown_from = decode_attributes(stored_attributes(file)).get("grown_from", ())
    return [sha256, *(earlier for earlier, _ in grown_from)]


def load_features(path: Path | str) -> Features:
    """The features in a file, or in a folder of shards. Rows are read when they are used, and not held in memory.

    Structure, types, shapes and sizes are checked; the checksum is not: see `verify_features`.

    Raises:
        DataError: The file does not exist.
        FileFormatError: The file is truncated, of another program or version, or inconsistent.
    """
    from headclust.features.folder import is_folder, load_folder  # which reads its files with `load_file`

    path = Path(path)
    return load_folder(path) if is_folder(path) else load_file(path)


def load_file(path: Path) -> Features:
    """The features in one file; as `load_features`."""
    with opened_file(path) as file:
        attributes = decode_attributes(stored_attributes(file))
        labels = file["labels"][:] if "labels" in file else None
        skipped = [decode_texts(pair) for pair in file["skipped"][:]] if "skipped" in file else []
        kinds = attributes.pop("skipped_kinds", None)
        check_labels(labels, attributes["class_names"])
        return Features(
            path=path,
            sample_ids=_decoded(file["sample_ids"]),
            labels=labels,
            class_names=tuple(attributes["class_names"]),
            attributes=attributes,
            sha256=attributes["sha256"],
            feature_dim=file["features"].shape[1],
            n_views=len(file["views"]) if "views" in file else 0,
            left_out=read_left_out(skipped, kinds),
            stamps=file["stamps"][:] if "stamps" in file else None,
            _open=cache(partial(mapped, path, attributes["sha256"])),
        )


def _decoded(texts: Any) -> tuple[str, ...]:
    """The texts of a dataset (n,), in blocks: as bytes they need as much memory again."""
    return tuple(chain.from_iterable(decode_texts(texts[block]) for block in row_blocks(len(texts))))


def stored_rows(features: Features, rows: slice) -> NDArray[np.floating[Any]]:
    """Rows and their views as stored in the file, (1 + n_views, n, feature_dim); only these are read.

    Raises:
        FileFormatError: The file has changed since it was opened.
    """
    return np.stack([features.source(view)[rows] for view in (None, *range(features.n_views))])
