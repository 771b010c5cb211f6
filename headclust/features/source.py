"""Sources of rows: mapped from a file, or some of the rows of another source. Rows are read when they are indexed."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError, FileFormatError
from headclust.progress import printable

_MOST_ROWS, _MOST_BYTES = 8_192, 1 << 28  # of a block of float32 rows


class Source(Protocol):
    """Rows (n_rows, feature_dim) as stored. An array is one; so can be several sources in order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> NDArray[np.floating[Any]]:
        """The rows of a slice, or of row numbers (n,); memory of the source itself, or a copy."""


@dataclass(frozen=True, eq=False)
class MappedRows:
    """Rows in a file, mapped into memory: the system reads them on first use, and drops them if memory is short.

    The mapping of a file that is replaced or deleted keeps its rows. That of a file written in place does not, and if
    the file was cut short, the first use of a lost row would end the process: its size and time are compared before.
    """

    path: Path
    mapping: mmap.mmap = field(repr=False)
    array: NDArray[np.floating[Any]] = field(repr=False)
    state: os.stat_result = field(repr=False)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Any, /) -> NDArray[np.floating[Any]]:
        with suppress(OSError):  # deleted or moved
            state = self.path.stat()
            if os.path.samestat(state, self.state) and _written(state) != _written(self.state):
                raise FileFormatError(f"{printable(str(self.path))}: it has changed since it was opened: start again.")
        # Pages that were read before stay in the system's cache, but no longer count as memory of this process.
        self.mapping.madvise(mmap.MADV_DONTNEED)
        rows: NDArray[np.floating[Any]] = self.array[index]
        return rows


def map_rows(
    path: Path, descriptor: int, dtype: np.dtype[np.floating[Any]], offset: int, shape: tuple[int, int]
) -> MappedRows:
    """Map rows of an open file, of which only whole pages can be mapped.

    Args:
        path: The file's path.
        descriptor: The file, opened for reading; it may be closed afterwards.
        dtype: Type of the numbers.
        offset: Bytes in front of the rows.
        shape: Numbers of rows and columns.

    Raises:
        DataError: The file ends before the rows do.
        OSError: The system cannot map the file.
    """
    state, n_bytes = os.fstat(descriptor), dtype.itemsize * shape[0] * shape[1]
    if offset + n_bytes > state.st_size:
        raise DataError(f"it has {state.st_size} bytes, expected at least {offset + n_bytes}: it is cut short.")
    start = offset - offset % mmap.ALLOCATIONGRANULARITY
    mapping = mmap.mmap(descriptor, offset + n_bytes - start, access=mmap.ACCESS_READ, offset=start)
    array: NDArray[np.floating[Any]] = np.ndarray(shape, dtype, mapping, offset - start)
    return MappedRows(path, mapping, array, state)


@dataclass(frozen=True, eq=False)
class SelectedRows:
    """The rows of a source with the given row numbers, int64 (n_rows,)."""

    source: Source
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any, /) -> NDArray[np.floating[Any]]:
        return self.source[self.numbers[index]]


@dataclass(frozen=True, eq=False)
class FirstRows:
    """The first rows of a source."""

    source: Source
    n_rows: int

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, index: Any, /) -> NDArray[np.floating[Any]]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self.n_rows)
            return self.source[start : stop if stop >= 0 else None : step]
        numbers = np.arange(self.n_rows)[index]  # negative numbers and masks count these rows
        return self.source[numbers]


def row_blocks(n_rows: int, n_columns: int = 1, *, at_most: int | None = None) -> Iterator[slice]:
    """Slices of row numbers in order, of at most `at_most` and 8,192 rows and 256 MB in float32, one row at least."""
    step = max(1, min(at_most or _MOST_ROWS, _MOST_ROWS, _MOST_BYTES // (4 * n_columns)))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def _written(state: os.stat_result) -> tuple[int, int]:
    return state.st_size, state.st_mtime_ns
