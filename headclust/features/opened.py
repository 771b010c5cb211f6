"""An open feature file: its structure is checked, errors become one line, and its rows can be mapped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from headclust.errors import DataError, FileFormatError, one_line
from headclust.features.source import Source, map_rows
from headclust.features.structure import check_structure, stored_attributes
from headclust.progress import printable

SIGNATURE = b"\x89HDF\r\n\x1a\n"
NEXT_STEP = "make it again with headclust embed, or restore it from a copy"
# Errors of h5py, numpy and json on malformed bytes. No HeadclustError is a subclass of these.
_READ_ERRORS = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError)


@contextmanager
def opened_file(path: Path) -> Iterator[Any]:
    """The open HDF5 file, its structure checked. Errors become a one-line FileFormatError."""
    name = printable(str(path))
    if not path.exists():
        raise DataError(f"{name}: no such file: make it with headclust embed or headclust import.")
    try:
        _check_signature(path)
        with h5py.File(path, "r") as file:
            check_structure(file, path.stat().st_size)
            yield file
    except DataError as error:
        raise FileFormatError(f"{name}: {error}") from error
    except _READ_ERRORS as error:
        reason = printable(one_line(error))
        raise FileFormatError(f"{name} cannot be read as a feature file ({reason}): {NEXT_STEP}.") from error


def _check_signature(path: Path) -> None:
    if not path.is_file():  # opening a pipe would block
        raise DataError("this is not a file: expected a feature file (HDF5).")
    with path.open("rb") as file:
        start = file.read(len(SIGNATURE))
    if start != SIGNATURE:
        raise DataError(f"this is not HDF5 (it starts with {start!r}): expected a feature file, {NEXT_STEP}.")


def mapped(path: Path, sha256: str, view: int | None) -> Source:
    """The rows of the features or of a view, mapped: they are one block of bytes, which `check_structure` ensures."""
    with opened_file(path) as file:
        _check_unchanged(file, sha256)
        dataset, shape = file["features" if view is None else "views"], file["features"].shape
        offset = dataset.id.get_offset() + (view or 0) * math.prod(shape) * dataset.dtype.itemsize
        return map_rows(path, file.id.get_vfd_handle(), dataset.dtype, offset, shape)


def _check_unchanged(file: Any, sha256: str) -> None:
    if stored_attributes(file)["sha256"] != sha256.encode():
        raise DataError("it has changed since it was opened: start again.")
