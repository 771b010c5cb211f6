"""Writing a feature file in one pass, so that its name only ever stands for a whole one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from headclust.disk import sync_folder, write_at, write_errors
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
from headclust.features.reading import verify_features
from headclust.progress import printable

# Since version 1.8 of the library HDF5 checksums its own structures, and attributes may be longer than 64 kB (the class
# names of a large data set are). Nothing newer is needed, so that old readers can read the file.
_LIBVER = ("v108", "v108")


class Table(NamedTuple):
    """A dataset to write. Its rows come in blocks, so that it need not be in memory at once.

    Views (n_views, n_samples, feature_dim) come as rows too, all of one view before the next; no block has two.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blocks: Iterable[NDArray[Any]]


def staging_folder(path: Path) -> Path:
    """Where a feature file is made: `NAME.h5.partial/` beside it."""
    if not path.name:
        raise ConflictError(f"{printable(str(path))} has no name of its own: name the feature file to make.")
    return path.with_name(path.name + ".partial")


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
    """Makes a feature file from an array made elsewhere; returns its path. The same input gives the same bytes.

    Args:
        path: The file to make, by custom `NAME.h5`.
        features: (n_samples, feature_dim); float16 and float32 are kept, other numbers become float32.
        sample_ids: A unique name a row.
        labels: Whole numbers (n_samples,), -1 = unknown.
        views: The same for augmented views, (n_views, n_samples, feature_dim); kept in the type of `features`.
        dataset: Name of the data.
        backbone: Name of what made the features.
        class_names: Names of the labels 0, 1, ...
        skipped: (sample id, reason) of samples without a row.
        attributes: More to record, for example `split`, `source`, `preprocessing`: text or whole numbers of 64 bits.
        overwrite: Replace an existing file.

    Raises:
        DataError: Shapes do not agree, a value is not finite, an id appears twice, a label is out of range.
        ConflictError: The file exists, is no feature file, or someone else is writing it.
        HeadclustError: The file cannot be written.
    """
    path = Path(path)
    check_attributes(attributes or {})
    values, ids, known = feature_array(features), tuple(sample_ids), label_array(labels)
    check_rows(values, ids, known, class_names)
    seen = view_array(views, values, ids)
    described = {
        **(attributes or {}),
        **({} if seen is None else {"n_views": len(seen)}),
        "dataset": dataset,
        "backbone": backbone,
        "class_names": list(class_names),
        "dtype": values.dtype.name,
    }
    with writer_lock(staging_folder(path)):
        if path.exists() and not overwrite:
            raise ConflictError(f"{printable(str(path))} exists: choose another name, or say --overwrite.")
        check_replaceable(path)
        tables = [Table("features", values.dtype, values.shape, [values])]
        if seen is not None:
            tables.append(Table("views", seen.dtype, seen.shape, seen))
        return write_file(path, [*tables, *side_tables(ids, known, skipped)], described)


def side_tables(
    sample_ids: Sequence[str], labels: NDArray[np.int64] | None, skipped: Sequence[tuple[str, str]]
) -> list[Table]:
    """The datasets that go with the features."""
    arrays: dict[str, NDArray[Any]] = {"sample_ids": encode_texts(sample_ids)}
    if labels is not None:
        arrays["labels"] = labels
    if skipped:
        arrays["skipped"] = encode_texts(text for pair in skipped for text in pair).reshape(-1, 2)
    return [Table(name, array.dtype, array.shape, [array]) for name, array in arrays.items()]


def write_file(path: Path, tables: Iterable[Table], attributes: Mapping[str, Any]) -> Path:
    """Writes, syncs, reads back and verifies the file under another name, then gives it its own.

    The caller holds the lock, and gives the tables in the order of `DATASETS`.

    Raises:
        HeadclustError: The file cannot be written, or does not read back as it was written.
    """
    described = {**attributes, "format": FORMAT, "format_version": FORMAT_VERSION}
    temporary = path.with_name(path.name + ".tmp")
    with write_errors(path):
        try:
            with temporary.open("wb+", buffering=0) as file:
                _write_hdf5(file.fileno(), tables, encode_attributes(described))
                os.fsync(file.fileno())
            problems = verify_features(temporary)
            if problems:
                raise HeadclustError(f"{problems[0]} It was just written: the disk does not keep what it is given.")
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _write_hdf5(descriptor: int, tables: Iterable[Table], attributes: dict[str, Stored]) -> None:
    sink, digest = _Sink(descriptor), ContentDigest(attributes)
    try:
        with h5py.File(sink, "w", libver=_LIBVER) as file:
            for name, dtype, shape, blocks in tables:
                # The time a dataset was made would make two equal files differ.
                dataset = file.create_dataset(name, shape, dtype, track_times=False)
                digest.begin(name, dataset.dtype, shape)
                start = 0
                for block in blocks:
                    view, row = divmod(start, shape[1]) if len(shape) == 3 else (None, start)
                    where = slice(row, row + len(block))
                    dataset[where if view is None else (view, where)] = block
                    digest.update(block)
                    start += len(block)
            for key, value in {**attributes, "sha256": digest.hexdigest().encode()}.items():
                _write_attribute(file, key, value)
    except (OSError, RuntimeError):
        sink.check()  # HDF5 stumbles over what it could not write; the first cause says more
        raise
    sink.check()


def _write_attribute(file: Any, name: str, value: Stored) -> None:
    dtype = h5py.string_dtype("utf-8", max(1, len(value))) if isinstance(value, bytes) else np.dtype("<i8")
    file.attrs.create(name, np.array(value, dtype), dtype=dtype)


@dataclass
class _Sink:
    """The file HDF5 writes through.

    HDF5 crashes the process when the disk fills up while it closes a file. So it is never told: the first failure is
    kept and raised afterwards by `check`, and what was written by then is thrown away.
    """

    descriptor: int
    position: int = 0
    error: OSError | None = None

    read = None  # h5py takes for a file object what has this name, and calls the ones below

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
        found = os.pread(self.descriptor, len(content), self.position)
        content[: len(found)] = found
        return len(found)

    def truncate(self, size: int) -> None:
        try:
            os.ftruncate(self.descriptor, size)
        except OSError as error:
            self.error = self.error or error

    def flush(self) -> None:
        """Nothing is buffered here."""

    def check(self) -> None:
        if self.error is not None:
            raise self.error
