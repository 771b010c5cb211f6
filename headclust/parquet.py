"""Parquet files of other programs, read by pyarrow, the extra `parquet`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headclust.errors import DataError, FileFormatError, SettingError, one_line
from headclust.progress import printable


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """The open file, a pyarrow.parquet.ParquetFile; errors while it is read become a one-line FileFormatError.

    Columns are to be read in one thread: worker processes may be forked later, and threads do not survive a fork.

    Raises:
        SettingError: pyarrow is not installed.
        DataError: The file does not exist.
        FileFormatError: It is no complete Parquet file.
    """
    name = printable(str(path))
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise SettingError(
            f"{name} is a Parquet file, and pyarrow, which reads these, is not installed: "
            "pip install 'headclust[parquet]', or save the table as .csv."
        ) from None
    if not path.is_file():
        raise DataError(f"{name}: no such file.")
    try:
        with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise FileFormatError(f"{name} cannot be read as a Parquet file: {one_line(error)}") from None


def texts_of(column: Any) -> list[str]:
    """The values of a pyarrow column as texts; missing ones and NaN are empty."""
    return ["" if value is None or value != value else str(value) for value in column.to_pylist()]  # NaN is not itself
