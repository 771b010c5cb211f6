"""Readers for arrays of other programs, which are not trusted: .npy, .npz, PyTorch files, labels as text."""

from __future__ import annotations

import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

from headclust.errors import DataError, one_line
from headclust.progress import printable
from headclust.textfiles import read_lines, whole_number

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
            f"{name} is not in .npy format (it starts with {start!r}): expected one array saved by numpy.save, or a "
            "file named .npz, .csv, .tsv, .parquet or .pt."
        )
    try:
        array: np.ndarray = np.load(path, allow_pickle=False, mmap_mode="r")
    except _NPY_ERRORS as error:
        raise DataError(f"{name} is not an array of numbers in .npy format ({one_line(error)}).") from None
    return array


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a .npz file, by name, in its order; those that would have to be unpickled are left out.

    Raises:
        DataError: The file does not exist, or is no such file.
    """
    _check_file(path)
    arrays = {}
    try:
        # numpy does not close a file that it opened and cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                with suppress(ValueError):  # an array of objects
                    arrays[name] = archive[name]
    except (*_NPY_ERRORS, zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, AttributeError) as error:
        raise DataError(f"{printable(str(path))} is not in .npz format ({one_line(error)}).") from None
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """The tensors and lists of texts in a PyTorch file, by name; a tensor alone has the name "". Nothing is unpickled.

    Raises:
        DataError: The file does not exist, or is no PyTorch file that holds tensors only.
    """
    import torch

    _check_file(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # about TorchScript, which is refused
            content = torch.load(path, "cpu", weights_only=True)
    except Exception:  # torch raises many kinds, with advice that would run code from the file
        raise DataError(
            f"{printable(str(path))} is not a PyTorch file of tensors alone; anything else in it could run code, so it "
            "was not read: save the tensor with torch.save(tensor, FILE)."
        ) from None
    entries = content if isinstance(content, Mapping) else {"": content}
    arrays = {str(name): _from_torch(value) for name, value in entries.items()}
    return {name: array for name, array in arrays.items() if array is not None}


def _from_torch(value: object) -> np.ndarray | None:
    """A tensor, or a list of tensors of one shape or of texts, as an array; None for anything else."""
    import torch

    if isinstance(value, list | tuple) and value:
        if all(isinstance(part, str) for part in value):
            return np.array(value, np.str_)
        if all(isinstance(part, torch.Tensor) and part.shape == value[0].shape for part in value):
            value = torch.stack(tuple(value))
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
        return None
    plain = value.detach()
    array: np.ndarray = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    return array


def read_labels(path: Path) -> np.ndarray:
    """Whole numbers from a .npy file, or from a text file with one number per line.

    Raises:
        DataError: The file does not exist, or holds anything else.
    """
    if path.suffix.lower() == ".npy":
        return read_array(path)
    numbers = []
    for line, text in enumerate(read_lines(path), start=1):
        number = whole_number(text)
        if number is None:
            raise DataError(
                f"{printable(str(path))}, line {line}: {printable(text)[:50]!r}: expected one whole number per line, "
                "-1 for unknown."
            )
        numbers.append(number)
    return np.array(numbers, np.int64)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{printable(str(path))}: no such file.")
