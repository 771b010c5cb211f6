"""Write a feature file block by block, so that a killed run loses at most one block of rows.

`NAME.h5.partial/` holds `lock`, `plan.json` (every setting that the rows depend on), `data.bin` (the blocks of rows)
and `journal.jsonl` (one line per finished block). A block is written and synced before its line is, so a complete line
proves that its block is complete, even after a power failure.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.disk import allocate, check_space, sync_folder, write_at, write_errors
from headclust.errors import ConflictError, DataError, Reason
from headclust.features.checks import check_labels
from headclust.features.format import FEATURE_DTYPES
from headclust.features.left_out import PASSING, Stamp, kind_of, stored_kinds
from headclust.features.lock import writer_lock
from headclust.features.plan import check_replaceable, discard, is_finished, store_plan
from headclust.features.reading import load_features
from headclust.features.writing import Table, side_tables, staging_folder, write_file
from headclust.progress import note, printable

_SPARE_BYTES = 1 << 20  # for the plan, the journal and HDF5's own structures


@dataclass(frozen=True)
class Layout:
    """Shape of the rows in `data.bin`.

    Args:
        n_listed: Number of rows, those of unreadable images included.
        feature_dim: Number of columns.
        dtype: "float16" or "float32".
        block_rows: Rows per block; the last block may be shorter.
        n_views: Augmented views per row. A block holds its plain rows, then the rows of view 0, of view 1, ...
    """

    n_listed: int
    feature_dim: int
    dtype: str
    block_rows: int
    n_views: int = 0

    @property
    def n_blocks(self) -> int:
        """The number of blocks."""
        return -(-self.n_listed // self.block_rows)

    @property
    def row_bytes(self) -> int:
        """Bytes per row, with its views."""
        return (1 + self.n_views) * self.feature_dim * FEATURE_DTYPES[self.dtype].itemsize

    @property
    def staging_bytes(self) -> int:
        """Bytes of disk needed beside the finished file, journal and plan included."""
        return self.n_listed * self.row_bytes + _SPARE_BYTES

    def rows(self, block: int) -> range:
        """The rows of a block."""
        return range(block * self.block_rows, min((block + 1) * self.block_rows, self.n_listed))


@contextmanager
def open_staging(
    path: Path, plan: Mapping[str, Any], layout: Layout, *, overwrite: bool = False, replaces: str = ""
) -> Iterator[Staging | None]:
    """The staging of `path`, new or resumed, locked for this process; None if `path` is finished.

    Args:
        path: The feature file to write.
        plan: Everything the rows depend on; becomes the attributes of the file (types as in `write_features`).
        layout: Shape and blocks of the rows.
        overwrite: Replace a finished file, and staging with another plan.
        replaces: Checksum of the finished file of this plan that is made again with more rows; it stays until the new
            file is complete. Staging of anything else is discarded.

    Raises:
        ConflictError: The file to replace has changed, a file or staging with another plan exists, another process is
            writing, or `path` is no feature file.
        HeadclustError: The disk is full, or the folder cannot be written.
    """
    plan = json.loads(json.dumps(plan))  # with the types that reading it back gives
    folder = staging_folder(path)
    with write_errors(path):
        check_replaceable(path)
    new = not (overwrite or replaces)
    if new and not folder.exists() and is_finished(path, plan):
        yield None  # nothing was written: the folder may be read-only
        return
    with writer_lock(folder):
        if new and is_finished(path, plan):  # the last holder of the lock may have finished it
            discard(folder)
            yield None
            return
        if replaces:
            _check_replaced(path, replaces)
            store_plan(folder, {**plan, "replaces": replaces}, overwrite=True)
        else:
            store_plan(folder, plan, overwrite)
        staging = Staging(path, plan, layout)
        try:
            staging.open()
            yield staging
        finally:
            staging.close()
            if not _has_blocks(folder):
                discard(folder)


@dataclass
class Staging:
    """Unfinished rows of `path`: call `append` once per block, then `finish`.

    Args:
        path: The feature file to write.
        plan: Its attributes.
        layout: Shape and blocks of its rows.
    """

    path: Path
    plan: Mapping[str, Any]
    layout: Layout
    n_blocks: int = field(default=0, init=False)
    bad: dict[int, Reason] = field(default_factory=dict, init=False)
    _data: int = field(default=-1, init=False)
    _journal: int = field(default=-1, init=False)

    @property
    def n_rows(self) -> int:
        """Rows finished so far, bad rows included."""
        return min(self.n_blocks * self.layout.block_rows, self.layout.n_listed)

    def open(self) -> None:
        """Allocate the disk space, then count the blocks that the journal proves complete."""
        folder = staging_folder(self.path)
        size = self.layout.n_listed * self.layout.row_bytes
        with write_errors(self.path):
            if not (folder / "data.bin").exists():  # `finish` needs space for the rows twice: here and in the new file
                check_space(folder, size + self.layout.staging_bytes)
            self._data = os.open(folder / "data.bin", os.O_RDWR | os.O_CREAT, 0o666)
            allocate(self._data, size)
            self._journal = os.open(folder / "journal.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            sync_folder(folder)
            self._replay()

    def close(self) -> None:
        """Close the files."""
        for descriptor in (self._data, self._journal):
            if descriptor >= 0:
                os.close(descriptor)
        self._data = self._journal = -1

    def append(self, values: NDArray[np.floating[Any]], bad: Mapping[int, Reason]) -> None:
        """Write the next block durably.

        Args:
            values: Its rows (1 + n_views, rows of the block, feature_dim); bad rows may hold anything.
            bad: Reason per row (numbered over all blocks) of the images that could not be read.

        Raises:
            HeadclustError: The block cannot be written.
        """
        rows = self.layout.rows(self.n_blocks)
        shape = (1 + self.layout.n_views, len(rows), self.layout.feature_dim)
        assert values.shape == shape, f"{values.shape} is not {shape}"
        assert values.dtype == FEATURE_DTYPES[self.layout.dtype], values.dtype
        content = values.tobytes()
        listed = [[row, bad[row], kind_of(bad[row])] for row in sorted(bad)]
        entry = {"block": self.n_blocks, "sha256": _block_sha256(content, listed), "bad": listed}
        with write_errors(self.path):
            write_at(self._data, content, rows.start * self.layout.row_bytes)
            os.fsync(self._data)
            _append_line(self._journal, entry)
            os.fsync(self._journal)
        self.bad.update(bad)
        self.n_blocks += 1

    def finish(
        self,
        sample_ids: Sequence[str],
        labels: NDArray[np.int64] | None,
        stamps: Sequence[Stamp] | None = None,
    ) -> Path:
        """Write the feature file without the bad rows, remove the staging, and return the path.

        Args:
            sample_ids: Names of all listed rows.
            labels: Labels of all listed rows, or None.
            stamps: Size and time of the file of each listed row; without them the kinds of the reasons are not stored.

        Raises:
            DataError: No image could be read.
            HeadclustError: The file cannot be written; the staging stays.
        """
        assert self.n_blocks == self.layout.n_blocks
        good = [row for row in range(self.layout.n_listed) if row not in self.bad]
        if not good:
            discard(staging_folder(self.path))
            first = f"{printable(sample_ids[0])}: {printable(self.bad[0])}"
            raise DataError(f"none of {len(sample_ids)} images can be read (the first: {first}): check the source.")
        check_labels(labels, self.plan["class_names"])
        bad = sorted(self.bad)
        skipped = [(sample_ids[row], self.bad[row]) for row in bad]
        others = side_tables([sample_ids[row] for row in good], None if labels is None else labels[good], skipped)
        kinds = {"skipped_kinds": stored_kinds((self.bad[row], stamps[row]) for row in bad)} if bad and stamps else {}
        write_file(self.path, [*self._feature_tables(len(good)), *others], {**self.plan, **kinds})
        discard(staging_folder(self.path))
        return self.path

    def _feature_tables(self, n_good: int) -> list[Table]:
        layout, dtype = self.layout, FEATURE_DTYPES[self.layout.dtype]
        shape = (n_good, layout.feature_dim)
        tables = [Table("features", dtype, shape, self._good_rows(0))]
        if layout.n_views:
            rows = chain.from_iterable(self._good_rows(1 + view) for view in range(layout.n_views))
            tables.append(Table("views", dtype, (layout.n_views, *shape), rows))
        return tables

    def _good_rows(self, plane: int) -> Iterator[NDArray[np.floating[Any]]]:
        """The blocks of the plain rows (plane 0) or of a view (plane 1 + view), without bad rows."""
        for block in range(self.layout.n_blocks):
            rows = self.layout.rows(block)
            size = len(rows) * self.layout.row_bytes // (1 + self.layout.n_views)
            content = os.pread(self._data, size, rows.start * self.layout.row_bytes + plane * size)
            values = np.frombuffer(content, FEATURE_DTYPES[self.layout.dtype]).reshape(len(rows), -1)
            yield values[[row not in self.bad for row in rows]]

    def _read(self, block: int) -> bytes:
        rows = self.layout.rows(block)
        return os.pread(self._data, len(rows) * self.layout.row_bytes, rows.start * self.layout.row_bytes)

    def _replay(self) -> None:
        """Count the blocks up to the first that is not as journaled; that block and later ones are made again."""
        valid = 0
        text = os.pread(self._journal, os.fstat(self._journal).st_size, 0)
        for line in text.splitlines(keepends=True):
            bad = self._bad_rows(line)
            if bad is None:
                break
            self.bad.update(bad)
            self.n_blocks += 1
            valid += len(line)
        if valid < len(text):
            if text.count(b"\n", valid):  # more is lost than the line that the process was writing when it was killed
                note(f"{staging_folder(self.path)}: block {self.n_blocks} is damaged: resuming from there.")
            os.ftruncate(self._journal, valid)
            os.fsync(self._journal)

    def _bad_rows(self, line: bytes) -> dict[int, Reason] | None:
        """The bad rows of the next block; None if its line is incomplete or its data differs from the checksum."""
        if self.n_blocks == self.layout.n_blocks or not line.endswith(b"\n"):
            return None
        try:
            entry = json.loads(line)
            sha256 = _block_sha256(self._read(self.n_blocks), entry["bad"])
            if (entry["block"], entry["sha256"]) != (self.n_blocks, sha256):
                return None
            # Older versions recorded no kind: such a reason may pass.
            return {int(row): Reason(str(text), PASSING in (kind or [PASSING])) for row, text, *kind in entry["bad"]}
        except (ValueError, TypeError, KeyError):
            return None


def _check_replaced(path: Path, sha256: str) -> None:
    if not path.exists() or load_features(path).sha256 != sha256:
        raise ConflictError(f"{printable(str(path))} was changed by another process meanwhile: start again.")


def _has_blocks(folder: Path) -> bool:
    journal = folder / "journal.jsonl"
    return journal.exists() and journal.stat().st_size > 0


def _block_sha256(content: bytes, bad: list[list[Any]]) -> str:
    return hashlib.sha256(content + json.dumps(bad).encode()).hexdigest()


def _append_line(descriptor: int, entry: dict[str, Any]) -> None:
    line = memoryview(json.dumps(entry).encode() + b"\n")
    while line:
        line = line[os.write(descriptor, line) :]
