"""Blocks of rows in a staging folder: `data.bin` and the journal that proves which of them are complete."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from headclust.errors import Reason
from headclust.features.format import FEATURE_DTYPES
from headclust.features.left_out import PASSING
from headclust.shards import WHOLE, Shard

DATA, JOURNAL = "data.bin", "journal.jsonl"
_SPARE_BYTES = 1 << 20  # for the plan, the journal and HDF5's own structures


@dataclass(frozen=True)
class Layout:
    """Shape of the rows of a feature file, or of the part of them that a shard makes.

    Args:
        n_listed: Number of rows of the file, those of unreadable images included.
        feature_dim: Number of columns.
        dtype: "float16" or "float32".
        block_rows: Rows per block; the last block may be shorter.
        n_views: Augmented views per row. A block holds its plain rows, then the rows of view 0, of view 1, ...
        shard: The part of the blocks that is in `data.bin`. Blocks and rows are numbered over all shards.
        first_row: Rows before it are those of an earlier file, and are not made. The block that holds it has slots for
            some of them, which stay empty, so that the others lie where they would lie if all were made at once.
    """

    n_listed: int
    feature_dim: int
    dtype: str
    block_rows: int
    n_views: int = 0
    shard: Shard = WHOLE
    first_row: int = 0

    @property
    def n_blocks(self) -> int:
        """The number of blocks of the file."""
        return -(-self.n_listed // self.block_rows)

    @property
    def blocks(self) -> range:
        """The blocks of the shard."""
        blocks = self.shard.range(self.n_blocks)
        return range(max(blocks.start, self.first_row // self.block_rows), blocks.stop)

    @property
    def rows_of_shard(self) -> range:
        """The rows of the shard."""
        blocks = self.blocks
        return range(blocks.start * self.block_rows, min(blocks.stop * self.block_rows, self.n_listed))

    @property
    def row_bytes(self) -> int:
        """Bytes per row, with its views."""
        return (1 + self.n_views) * self.feature_dim * FEATURE_DTYPES[self.dtype].itemsize

    @property
    def data_bytes(self) -> int:
        """Bytes of the rows of the shard."""
        return len(self.rows_of_shard) * self.row_bytes

    @property
    def file_bytes(self) -> int:
        """Bytes of all rows, those of an earlier file included."""
        return self.n_listed * self.row_bytes

    @property
    def staging_bytes(self) -> int:
        """Bytes of disk needed beside the finished file, journal and plan included."""
        return self.data_bytes + _SPARE_BYTES

    def rows(self, block: int) -> range:
        """The rows of a block."""
        return range(block * self.block_rows, min((block + 1) * self.block_rows, self.n_listed))

    def offset(self, block: int) -> int:
        """The position of a block of the shard in `data.bin`, in bytes."""
        return (block - self.blocks.start) * self.block_rows * self.row_bytes


@dataclass
class StagedBlocks:
    """The complete blocks in a staging folder, as its journal lists them.

    Args:
        folder: The folder.
        layout: Shape and blocks of the rows.

    Attributes:
        n_blocks: Complete blocks of the shard so far, from its first on.
        bad: Row and reason of each image in them that could not be read.
    """

    folder: Path
    layout: Layout
    n_blocks: int = field(default=0, init=False)
    bad: dict[int, Reason] = field(default_factory=dict, init=False)

    @property
    def missing(self) -> range:
        """The blocks of the shard that are not complete."""
        return self.layout.blocks[self.n_blocks :]

    @property
    def n_rows(self) -> int:
        """Rows of the complete blocks, bad rows included."""
        done = self.layout.blocks[: self.n_blocks]
        return self.layout.rows(done[-1]).stop - self.layout.rows(done[0]).start if done else 0

    def replay(self) -> tuple[int, bytes]:
        """Count the blocks up to the first that is not as journaled.

        Returns:
            Length of the journal that proves them, in bytes, and the rest of the journal.
        """
        valid, text = 0, _read(self.folder / JOURNAL)
        with _opened(self.folder / DATA) as data:
            for line in text.splitlines(keepends=True):
                bad = self._bad_rows(line, data)
                if bad is None:
                    break
                self.bad.update(bad)
                self.n_blocks += 1
                valid += len(line)
        return valid, text[valid:]

    def good_rows(self, plane: int) -> Iterator[NDArray[np.floating[Any]]]:
        """The blocks of the plain rows (plane 0) or of a view (plane 1 + view), without bad and earlier rows."""
        with (self.folder / DATA).open("rb", buffering=0) as data:
            for block in self.layout.blocks:
                rows = self.layout.rows(block)
                size = len(rows) * self.layout.row_bytes // (1 + self.layout.n_views)
                content = os.pread(data.fileno(), size, self.layout.offset(block) + plane * size)
                values = np.frombuffer(content, FEATURE_DTYPES[self.layout.dtype]).reshape(len(rows), -1)
                yield values[[row not in self.bad and row >= self.layout.first_row for row in rows]]

    def _bad_rows(self, line: bytes, data: BinaryIO) -> dict[int, Reason] | None:
        """The bad rows of the next block; None if its line is incomplete or its data differs from the checksum."""
        if not self.missing or not line.endswith(b"\n"):
            return None
        try:
            entry, block = json.loads(line), self.missing[0]
            data.seek(self.layout.offset(block))
            content = data.read(len(self.layout.rows(block)) * self.layout.row_bytes)
            if (entry["block"], entry["sha256"]) != (block, block_sha256(content, entry["bad"])):
                return None
            return bad_rows(entry)
        except (ValueError, TypeError, KeyError):
            return None


def bad_rows(entry: dict[str, Any]) -> dict[int, Reason]:
    """The bad rows of a line of a journal.

    Raises:
        ValueError, TypeError, KeyError: The line has another form.
    """
    # Older versions recorded no kind: such a reason may pass.
    return {int(row): Reason(str(text), PASSING in (kind or [PASSING])) for row, text, *kind in entry["bad"]}


def block_sha256(content: bytes, bad: list[list[Any]]) -> str:
    """The checksum of a block: of its rows, then of the list of its bad rows."""
    return hashlib.sha256(content + json.dumps(bad).encode()).hexdigest()


def n_journaled(folder: Path) -> int:
    """Number of lines of a journal, that is of blocks that are probably complete."""
    return _read(folder / JOURNAL).count(b"\n")


def journaled_bad_rows(folder: Path) -> dict[int, Reason]:
    """The bad rows that a journal lists, up to the first line that cannot be read; the blocks are not compared."""
    bad: dict[int, Reason] = {}
    for line in _read(folder / JOURNAL).splitlines():
        try:
            bad |= bad_rows(json.loads(line))
        except (ValueError, TypeError, KeyError):
            break
    return bad


def _opened(path: Path) -> BinaryIO:
    """The file, open for reading; without bytes if it does not exist."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        return io.BytesIO()


def _read(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read()
