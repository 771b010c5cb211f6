"""Embeddings made elsewhere, from a file of any of the kinds that `import` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headclust.errors import SettingError
from headclust.features.arrays import read_array, read_npz, read_torch
from headclust.features.columns import read_parquet_table, read_text_table
from headclust.features.parts import Kind, choose, named
from headclust.progress import printable
from headclust.textfiles import unique_names

_ARRAYS: Mapping[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".npz": read_npz,
    ".pt": read_torch,
    ".pth": read_torch,
}
_TABLES = {".csv": read_text_table, ".tsv": read_text_table, ".parquet": read_parquet_table}


@dataclass(frozen=True)
class Embeddings:
    """The content of a file of embeddings.

    Attributes:
        values: The embeddings, numbers (n_samples, feature_dim); any other shape as it is in the file.
        ids: Names of the rows; None if the file has none.
        labels: Labels of the rows as texts; None if the file has none.
        description: What was read and what was left out, in a phrase; empty for a file that holds one array alone.
    """

    values: np.ndarray
    ids: list[str] | None = None
    labels: list[str] | None = None
    description: str = ""


def read_embeddings(path: Path, key: str | None = None) -> Embeddings:
    """Read embeddings by the suffix of their file: .npz, .pt, .pth, .csv, .tsv, .parquet; .npy for any other.

    The arrays, entries or columns are chosen by `parts.choose`. If all arrays of a file are vectors of one length,
    these are the rows, and their names are the ids.

    Args:
        path: The file.
        key: Name of the array, of the entry or of the column of lists, or the prefix of the numbered columns.

    Raises:
        DataError: The file does not exist or holds no embeddings.
        FileFormatError: The content does not match the suffix.
        SettingError: There are several candidates, or none of the name `key`.
    """
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        values, ids, labels, parts = _TABLES[suffix](path, key)
        return Embeddings(values, ids, labels, parts.description)
    if suffix in _ARRAYS:
        return _from_arrays(path, _ARRAYS[suffix](path), key)
    if key is not None:
        raise SettingError(f"--key names a part of a file, and {printable(str(path))} holds one array: leave it out.")
    return Embeddings(read_array(path))


def _from_arrays(path: Path, arrays: Mapping[str, np.ndarray], key: str | None) -> Embeddings:
    if len(arrays) == 1 and key is None:
        (name,) = arrays
        return Embeddings(arrays[name], description=printable(name))
    shapes = {array.shape for array in arrays.values()}
    is_vectors = len(arrays) > 1 and len(shapes) == 1 and len(next(iter(shapes))) == 1
    if is_vectors and key is None and all(array.dtype.kind in "fiu" for array in arrays.values()):
        return Embeddings(
            np.stack(list(arrays.values())), list(arrays), description=f"one row per array, ids {named(arrays)}"
        )
    parts = choose(path, {name: _kind(array) for name, array in arrays.items()}, key, is_table=False)
    values = arrays[parts.features[0]]
    beside = {name: arrays[name].tolist() for name in (parts.ids, parts.labels) if name is not None}
    texts = {name: [str(value) for value in column] for name, column in beside.items()}
    ids = unique_names(path, enumerate(texts[parts.ids], start=1), "row") if parts.ids is not None else None
    return Embeddings(values, ids, texts[parts.labels] if parts.labels is not None else None, parts.description)


def _kind(array: np.ndarray) -> Kind:
    is_number = array.dtype.kind in "fiu"
    if array.ndim == 2 and is_number:
        return "matrix"
    if array.ndim == 1 and (is_number or array.dtype.kind == "U"):
        return "numbers" if is_number else "texts"
    return "other"
