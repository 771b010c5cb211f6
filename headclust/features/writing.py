"""Write a feature file in one pass and rename it at the end, so that a file with the final name is complete."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from headclust.disk import real_place, sync_folder, write_at, write_errors
from headclust.errors import ConflictError, HeadclustError
from headclust.features.checks import check_attributes, check_rows, feature_array, label_array, view_array
from headclust.features.format import (
    FORMAT,
    FORMAT_VERSION,
    ContentDigest,
    Stored,
    encode_attributes,
    encode_texts,
)
from headclust.features.lock import writer_lock
from headclust.features.plan import check_replaceable
from headclust.features.verifying import verify_features
from headclust.progress import printable
from headclust.shards import WHOLE, Shard

# From version 1.8 on, HDF5 checksums its own structures and allows attributes longer than 64 kB (class names of a large
# data set). Nothing newer is used, so that old readers can read the file.
_LIBVER = ("v108", "v108")


class Table(NamedTuple):
    """A dataset to write. Its rows come in blocks, so that it need not fit in memory.

    Views (n_views, n_samples, feature_dim) come as rows too, view after view; a block holds rows of one view only.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blocks: Iterable[NDArray[Any]]


def staging_folder(path: Path, shard: Shard = WHOLE) -> Path:
    """The folder in which a feature file is written, `NAME.h5.partial/` beside it; of a shard, one below it."""
    if not path.name:
        raise ConflictError(f"{printable(str(path))} has no file name: name the feature file to write.")
    folder = path.with_name(path.name + ".partial")
    return folder if shard == WHOLE else folder / shard.name


def write_features(
    path: Path | str,
    features: Any,
    *,
    sample_ids: Sequence[str],
    labels: Any = None,
    views: Any = None,
    dataset: str,
    backbone: str,
    class_names: Sequence[str] = (),
    skipped: Sequence[tuple[str, str]] = (),
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a feature file from an array and return its path. The same input gives the same bytes.

    Args:
        path: The file to write, usually `NAME.h5`.
        features: (n_samples, feature_dim); float16 and float32 are not converted, other numbers become float32.
        sample_ids: One unique name per row.
        labels: Whole numbers (n_samples,), -1 = unknown.
        views: Features of augmented views, (n_views, n_samples, feature_dim); stored in the dtype of `features`.
        dataset: Name of the data set.
        backbone: Name of the model that computed the features.
        class_names: Names of the labels 0, 1, ...
        skipped: (sample id, reason) of samples without a row.
        attributes: More to record, for example `split`, `source`, `preprocessing`: text or whole numbers of 64 bits.
        overwrite: Replace an existing feature file.

    Raises:
        DataError: Shapes do not match, a value is not finite, an id appears twice, or a label is out of range.
        ConflictError: The file exists, is no feature file, or another process is writing it.
        HeadclustError: The file cannot be written.
    """
    path = Path(path)
    check_attributes(attributes or {})
    values, ids, int_labels = feature_array(features), tuple(sample_ids), label_array(labels)
    check_rows(values, ids, int_labels, class_names)
    view_values = view_array(views, values, ids)
    all_attributes = {
        **(attributes or {}),
        **({} if view_values is None else {"n_views": len(view_values)}),
        "dataset": dataset,
        "backbone": backbone,
        "class_names": list(class_names),
        "dtype": values.dtype.name,
    }
    with writer_lock(staging_folder(path)):
        if path.exists() and not overwrite:
            raise ConflictError(f"{printable(str(path))} exists: choose another name, or use --overwrite.")
        check_replaceable(path, overwrite=overwrite)
        tables = [Table("features", values.dtype, values.shape, [values])]
        if view_values is not None:
            tables.append(Table("views", view_values.dtype, view_values.shape, view_values))
        return write_file(path, [*tables, *side_tables(ids, int_labels, skipped)], all_attributes)


def side_tables(
    sample_ids: Sequence[str],
    labels: NDArray[np.int64] | None,
    skipped: Sequence[tuple[str, str]],
    stamps: NDArray[np.int64] | None = None,
) -> list[Table]:
    """The datasets beside the features: sample ids, labels, skipped images, size and time of each file."""
    arrays: dict[str, NDArray[Any]] = {"sample_ids": encode_texts(sample_ids)}
    if labels is not None:
        arrays["labels"] = labels
    if skipped:
        arrays["skipped"] = encode_texts(text for pair in skipped for text in pair).reshape(-1, 2)
    if stamps is not None:
        arrays["stamps"] = stamps
    return [Table(name, array.dtype, array.shape, [array]) for name, array in arrays.items()]


def write_file(path: Path, tables: Iterable[Table], attributes: Mapping[str, Any]) -> Path:
    """Write, sync and verify the file under a temporary name, then rename it; return its path.

    If `path` is a link, it stays, and leads to the file.
    The caller holds the lock, and passes the tables in the order of `DATASETS`.

    Raises:
        HeadclustError: The file cannot be written, or reads back differently.
    """
    all_attributes = {**attributes, "format": FORMAT, "format_version": FORMAT_VERSION}
    place = real_place(path)
    temporary = place.with_name(place.name + ".tmp")
    with write_errors(path):
        try:
            with temporary.open("wb+", buffering=0) as file:
                _write_hdf5(file.fileno(), tables, encode_attributes(all_attributes))
                os.fsync(file.fileno())
            problems = verify_features(temporary)
            if problems:
                raise HeadclustError(
                    f"{problems[0]} The file was just written: the disk returns other bytes than were written."
                )
            temporary.replace(place)
            sync_folder(place.parent)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _write_hdf5(descriptor: int, tables: Iterable[Table], attributes: dict[str, Stored]) -> None:
    sink, digest = _Sink(descriptor), ContentDigest(attributes)
    try:
        with h5py.File(sink, "w", libver=_LIBVER) as file:
            for name, dtype, shape, blocks in tables:
                # A creation time would make files with equal content differ.
                dataset = file.create_dataset(name, shape, dtype, track_times=False)
                digest.begin(name, dataset.dtype, shape)
                start = 0
                for block in blocks:
                    view, row = divmod(start, shape[1]) if len(shape) == 3 else (None, start)
                    rows = slice(row, row + len(block))
                    dataset[rows if view is None else (view, rows)] = block
                    digest.update(block)
                    start += len(block)
            for key, value in {**attributes, "sha256": digest.hexdigest().encode()}.items():
                _write_attribute(file, key, value)
    except (OSError, RuntimeError):
        sink.check()  # raises the first failed write, the cause of the error of HDF5
        raise
    sink.check()


def _write_attribute(file: Any, name: str, value: Stored) -> None:
    dtype = h5py.string_dtype("utf-8", max(1, len(value))) if isinstance(value, bytes) else np.dtype("<i8")
    file.attrs.create(name, np.array(value, dtype), dtype=dtype)


@dataclass
class _Sink:
    """File object for HDF5 that hides failed writes.

    HDF5 crashes the process if a write fails during closing. So the first failure is stored and raised later by
    `check`; the caller then deletes the file.
    """

    descriptor: int
    position: int = 0
    error: OSError | None = None

    read = None  # h5py recognizes file objects by this attribute, but calls the methods below

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.position = offset if whence == os.SEEK_SET else os.fstat(self.descriptor).st_size + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def write(self, content: memoryview) -> int:
        try:
            write_at(self.descriptor, content, self.position)
        except OSError as error:
            self.error = self.error or error
        self.position += len(content)
        return len(content)

    def readinto(self, content: memoryview) -> int:
        data = os.pread(self.descriptor, len(content), self.position)
        content[: len(data)] = data
        return len(data)

    def truncate(self, size: int) -> None:
        try:
            os.ftruncate(self.descriptor, size)
        except OSError as error:
            self.error = self.error or error

    def flush(self) -> None:
        """Do nothing: writes are not buffered."""

    def check(self) -> None:
        if self.error is not None:
            raise self.error
