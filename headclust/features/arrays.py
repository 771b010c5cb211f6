"""Readers for arrays and lists of other programs, which are not trusted."""

from __future__ import annotations

import tokenize
from pathlib import Path

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

from headclust.errors import DataError
from headclust.progress import printable

# Errors of numpy on bytes that are no array: it reads the header as Python.
_NPY_ERRORS = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    OverflowError,
    MemoryError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
)


def read_array(path: Path) -> np.ndarray:
    """The array in a .npy file, memory-mapped. Nothing is unpickled.

    Raises:
        DataError: The file does not exist, or is not an array of numbers.
    """
    _check_file(path)
    name = printable(str(path))
    with path.open("rb") as file:
        start = file.read(len(MAGIC_PREFIX))
    if start != MAGIC_PREFIX:  # numpy would open archives, and suggest unpickling for anything else
        raise DataError(
            f"{name} is not in .npy format (it starts with {start!r}): expected one array saved by numpy.save."
        )
    try:
        array: np.ndarray = np.load(path, allow_pickle=False, mmap_mode="r")
    except _NPY_ERRORS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{name} is not an array of numbers in .npy format ({reason}).") from None
    return array


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; bytes that are not UTF-8 become surrogate escapes.

    Raises:
        DataError: The file does not exist.
    """
    _check_file(path)
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    return lines if lines[-1] else lines[:-1]  # str.splitlines would also split at form feeds and the like


def read_labels(path: Path) -> np.ndarray:
    """Whole numbers from a .npy file, or from a text file with one number per line.

    Raises:
        DataError: The file does not exist, or holds anything else.
    """
    if path.suffix == ".npy":
        return read_array(path)
    try:
        return np.array([int(line) for line in read_lines(path)], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{printable(str(path))}: {error}: expected one whole number per line, -1 for unknown."
        ) from None


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{printable(str(path))}: no such file.")
