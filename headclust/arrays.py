"""Arrays and lists made elsewhere, read without trusting them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headclust.errors import DataError
from headclust.progress import printable


def read_array(path: Path) -> np.ndarray:
    """The array in a .npy file, mapped rather than read; nothing is unpickled.

    Raises:
        DataError: There is no such file, or it is not an array of numbers.
    """
    _check_file(path)
    try:
        array: np.ndarray = np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{printable(str(path))} is not an array of numbers in .npy format ({reason}).") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{printable(str(path))} is an archive of arrays: wanted a single one, in .npy format.")
    return array


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; bytes that are not UTF-8 survive as surrogate escapes.

    Raises:
        DataError: There is no such file.
    """
    _check_file(path)
    return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()


def read_labels(path: Path) -> np.ndarray:
    """Whole numbers from a .npy file or from a text file with one a line.

    Raises:
        DataError: There is no such file, or it holds something else.
    """
    if path.suffix == ".npy":
        return read_array(path)
    try:
        return np.array([int(line) for line in read_lines(path)], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{printable(str(path))}: {error}: wanted a whole number a line, -1 for unknown.") from None


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{printable(str(path))}: no such file.")
