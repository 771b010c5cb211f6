"""Making a feature file over hours, so that a kill costs at most one block of rows.

`NAME.h5.partial/` holds `lock`, `plan.json` (every setting the rows depend on), `data.bin` (block after block of
rows) and `journal.jsonl` (a line a finished block). A block is written and synced before its line is, so a line that is
there and whole vouches for its block, whatever happened to the machine in between.
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
from headclust.errors import DataError
from headclust.features.checks import check_labels
from headclust.features.format import FEATURE_DTYPES
from headclust.features.lock import writer_lock
from headclust.features.plan import check_replaceable, discard, is_finished, settle_plan
from headclust.features.writing import Table, side_tables, staging_folder, write_file
from headclust.progress import note, printable

_SPARE_BYTES = 1 << 20  # for the plan, the journal and HDF5's own structures


@dataclass(frozen=True)
class Layout:
    """How the rows lie in `data.bin`.

    Args:
        n_listed: Rows, the unreadable ones included.
        feature_dim: Columns.
        dtype: "float16" or "float32".
        block_rows: Rows of a block; the last block may be shorter.
        n_views: Augmented views of each row. A block holds its plain rows, then those of view 0, of view 1, ...
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
        """Bytes of a row with its views."""
        return (1 + self.n_views) * self.feature_dim * FEATURE_DTYPES[self.dtype].itemsize

    @property
    def staging_bytes(self) -> int:
        """Disk that is needed beside the finished file, journal and plan included."""
        return self.n_listed * self.row_bytes + _SPARE_BYTES

    def rows(self, block: int) -> range:
        """The rows of a block."""
        return range(block * self.block_rows, min((block + 1) * self.block_rows, self.n_listed))


@contextmanager
def open_staging(
    path: Path, plan: Mapping[str, Any], layout: Layout, *, overwrite: bool = False
) -> Iterator[Staging | None]:
    """The staging of `path`, new or taken up where it was left, locked for this process; None when `path` is finished.

    Args:
        path: The feature file to make.
        plan: Everything the rows depend on; becomes the file's attributes (see `write_features` for the types).
        layout: Shape and blocks of the rows.
        overwrite: Replace a finished file, and staging that had another plan.

    Raises:
        ConflictError: A file or staging with another plan is in the way, another process is writing it, or `path` is
            something else than a feature file.
        HeadclustError: There is no space, or the folder cannot be written.
    """
    plan = json.loads(json.dumps(plan))  # as it will be read back
    folder = staging_folder(path)
    with write_errors(path):
        check_replaceable(path)
    if not overwrite and not folder.exists() and is_finished(path, plan):
        yield None  # without having written anything: the folder may be read-only by now
        return
    with writer_lock(folder):
        if not overwrite and is_finished(path, plan):  # perhaps the process that held the lock has just finished it
            discard(folder)
            yield None
            return
        settle_plan(folder, plan, overwrite)
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
    """Rows on their way to `path`: `append` a block at a time, then `finish`.

    Args:
        path: The feature file to make.
        plan: Its attributes.
        layout: Shape and blocks of its rows.
    """

    path: Path
    plan: Mapping[str, Any]
    layout: Layout
    n_blocks: int = field(default=0, init=False)
    bad: dict[int, str] = field(default_factory=dict, init=False)
    _data: int = field(default=-1, init=False)
    _journal: int = field(default=-1, init=False)

    @property
    def n_rows(self) -> int:
        """Rows done so far, the bad ones included."""
        return min(self.n_blocks * self.layout.block_rows, self.layout.n_listed)

    def open(self) -> None:
        """Takes the disk space, then believes the journal as far as it holds."""
        folder = staging_folder(self.path)
        size = self.layout.n_listed * self.layout.row_bytes
        with write_errors(self.path):
            fresh = not (folder / "data.bin").exists()
            if fresh:  # the rows lie here and, for a moment, in the finished file as well
                check_space(folder, size + self.layout.staging_bytes)
            self._data = os.open(folder / "data.bin", os.O_RDWR | os.O_CREAT, 0o666)
            allocate(self._data, size)
            self._journal = os.open(folder / "journal.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            sync_folder(folder)
            self._replay()

    def close(self) -> None:
        """Lets go of the files."""
        for descriptor in (self._data, self._journal):
            if descriptor >= 0:
                os.close(descriptor)
        self._data = self._journal = -1

    def append(self, values: NDArray[np.floating[Any]], bad: Mapping[int, str]) -> None:
        """Keeps the next block for good.

        Args:
            values: Its rows (1 + n_views, rows of the block, feature_dim), bad ones as anything.
            bad: Row number in the whole and reason, of the images that could not be read.

        Raises:
            HeadclustError: The block cannot be written.
        """
        rows = self.layout.rows(self.n_blocks)
        wanted = (1 + self.layout.n_views, len(rows), self.layout.feature_dim)
        assert values.shape == wanted, f"{values.shape} is not {wanted}"
        assert values.dtype == FEATURE_DTYPES[self.layout.dtype], values.dtype
        content = values.tobytes()
        listed = [[row, bad[row]] for row in sorted(bad)]
        entry = {"block": self.n_blocks, "sha256": _block_sha256(content, listed), "bad": listed}
        with write_errors(self.path):
            write_at(self._data, content, rows.start * self.layout.row_bytes)
            os.fsync(self._data)
            _append_line(self._journal, entry)
            os.fsync(self._journal)
        self.bad.update(bad)
        self.n_blocks += 1

    def finish(self, sample_ids: Sequence[str], labels: NDArray[np.int64] | None) -> Path:
        """Writes the feature file without the bad rows, removes the staging, and returns the path.

        Args:
            sample_ids: Names of all listed rows.
            labels: Labels of all listed rows, or None.

        Raises:
            DataError: Every image was bad.
            HeadclustError: The file cannot be written; the staging stays.
        """
        assert self.n_blocks == self.layout.n_blocks
        kept = [row for row in range(self.layout.n_listed) if row not in self.bad]
        if not kept:
            discard(staging_folder(self.path))
            first = f"{printable(sample_ids[0])}: {printable(self.bad[0])}"
            raise DataError(f"none of {len(sample_ids)} images can be read (the first: {first}): check the source.")
        check_labels(labels, self.plan["class_names"])
        skipped = [(sample_ids[row], self.bad[row]) for row in sorted(self.bad)]
        others = side_tables([sample_ids[row] for row in kept], None if labels is None else labels[kept], skipped)
        write_file(self.path, [*self._feature_tables(len(kept)), *others], self.plan)
        discard(staging_folder(self.path))
        return self.path

    def _feature_tables(self, n_kept: int) -> list[Table]:
        layout, dtype = self.layout, FEATURE_DTYPES[self.layout.dtype]
        shape = (n_kept, layout.feature_dim)
        tables = [Table("features", dtype, shape, self._good_rows(0))]
        if layout.n_views:
            rows = chain.from_iterable(self._good_rows(1 + view) for view in range(layout.n_views))
            tables.append(Table("views", dtype, (layout.n_views, *shape), rows))
        return tables

    def _good_rows(self, plane: int) -> Iterator[NDArray[np.floating[Any]]]:
        """Block after block of the plain rows (plane 0) or of a view (1 + view), without the bad ones."""
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
        """Counts the blocks that are there as journaled; what comes after the first that is not is made again."""
        valid = 0
        text = os.pread(self._journal, os.fstat(self._journal).st_size, 0)
        for line in text.splitlines(keepends=True):
            bad = self._holds(line)
            if bad is None:
                break
            self.bad.update(bad)
            self.n_blocks += 1
            valid += len(line)
        if valid < len(text):
            if text.count(b"\n", valid):  # more than the line that was being written when the process died
                note(f"{staging_folder(self.path)}: block {self.n_blocks} is damaged: going on from there.")
            os.ftruncate(self._journal, valid)
            os.fsync(self._journal)

    def _holds(self, line: bytes) -> dict[int, str] | None:
        """The bad rows of the next block, or None when its line is torn or its data is not what was journaled."""
        if self.n_blocks == self.layout.n_blocks or not line.endswith(b"\n"):
            return None
        try:
            entry = json.loads(line)
            found = _block_sha256(self._read(self.n_blocks), entry["bad"])
            if (entry["block"], entry["sha256"]) != (self.n_blocks, found):
                return None
            return {int(row): str(reason) for row, reason in entry["bad"]}
        except (ValueError, TypeError, KeyError):
            return None


def _has_blocks(folder: Path) -> bool:
    journal = folder / "journal.jsonl"
    return journal.exists() and journal.stat().st_size > 0


def _block_sha256(content: bytes, bad: list[list[Any]]) -> str:
    return hashlib.sha256(content + json.dumps(bad).encode()).hexdigest()


def _append_line(descriptor: int, entry: dict[str, Any]) -> None:
    line = memoryview(json.dumps(entry).encode() + b"\n")
    while line:
        line = line[os.write(descriptor, line) :]
