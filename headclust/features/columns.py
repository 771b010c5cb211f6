"""Embeddings in tables: .csv and .tsv text, and Parquet."""

from __future__ import annotations

import re
from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from headclust.errors import DataError, FileFormatError
from headclust.features.parts import Kind, Parts, choose
from headclust.parquet import open_parquet, texts_of
from headclust.progress import printable
from headclust.textfiles import DELIMITERS, table_rows, unique_names

_NUMBER = re.compile(r"\s*[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|inf(inity)?)\s*", re.IGNORECASE)
_LIST = re.compile(r"\s*[\[(].*[\])]\s*", re.DOTALL)

# Features (n_samples, feature_dim), ids, labels as texts, and what was read.
Columns = tuple[np.ndarray, list[str] | None, list[str] | None, Parts]


def read_text_table(path: Path, key: str | None = None) -> Columns:
    """Embeddings in a .csv or .tsv file with a header; see `choose` for the columns.

    Raises:
        DataError: The file does not exist, a cell is no number, or an id is blank or repeated; with its line.
        FileFormatError: It is not text, has no header, or a row has another number of cells.
        SettingError: Nothing is named `key`, or there are several candidates.
    """
    file, rows = printable(str(path)), table_rows(path, delimiter=DELIMITERS[path.suffix.lower()], any_bytes=True)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    # Whole numbers may be names: pandas numbers columns.
    if any(_NUMBER.fullmatch(name) and not name.isdecimal() for name in header):
        raise FileFormatError(f"{file} starts with numbers: expected a header with the names of the columns.")
    name, count = Counter(header).most_common(1)[0] if header else ("", 0)
    if count > 1:
        raise FileFormatError(f"{file} has {count} columns named {printable(name)!r}: expected different names.")
    parts: Parts | None = None
    values, numbered_ids, labels = list[np.ndarray](), list[tuple[int, str]](), list[str]()
    for line, row in rows:
        if len(row) != len(header):
            raise FileFormatError(f"{file}, line {line}: {len(row)} columns, expected {len(header)} as in the header.")
        if parts is None:
            parts = choose(path, {name: _kind(path, name, cell) for name, cell in zip(header, row, strict=True)}, key)
            positions = [header.index(name) for name in parts.features]
            cells = itemgetter(*positions) if len(positions) > 1 else itemgetter(slice(positions[0], positions[0] + 1))
        try:
            values.append(np.array(cells(row), np.float32))
        except ValueError:
            bad = next((i for i in positions if not _NUMBER.fullmatch(row[i])), positions[0])
            raise DataError(
                f"{file}, line {line}: {printable(row[bad])[:50]!r} in column {printable(header[bad])!r}: expected a "
                "number."
            ) from None
        if parts.ids is not None:
            numbered_ids.append((line, row[header.index(parts.ids)]))
        if parts.labels is not None:
            labels.append(row[header.index(parts.labels)].strip())
    if parts is None:
        raise DataError(f"{file} has no rows: expected one per sample below the header.")
    ids = unique_names(path, numbered_ids) if parts.ids is not None else None
    return np.stack(values), ids, labels if parts.labels is not None else None, parts


def _kind(path: Path, name: str, cell: str) -> Kind:
    if _LIST.fullmatch(cell):
        raise DataError(
            f"{printable(str(path))}: column {printable(name)!r} holds lists as text: save the table as .parquet, or "
            "with one column per number."
        )
    return "numbers" if _NUMBER.fullmatch(cell) else "texts"


def read_parquet_table(path: Path, key: str | None = None) -> Columns:
    """Embeddings in a Parquet file: a column of lists, or columns of numbers; see `choose`.

    Raises:
        DataError: The file does not exist, lists differ in length, a value is missing, or an id is blank or repeated.
        FileFormatError: It is no complete Parquet file.
        SettingError: Nothing is named `key`, there are several candidates, or pyarrow is not installed.
    """
    with open_parquet(path) as source:
        fields = {field.name: _parquet_kind(field.type) for field in source.schema_arrow}
        if len(fields) < len(source.schema_arrow):
            raise FileFormatError(f"{printable(str(path))} has columns of the same name: expected different names.")
        parts = choose(path, fields, key)
        chosen = [*parts.features, *(name for name in (parts.ids, parts.labels) if name is not None)]
        table = source.read(columns=chosen, use_threads=False)
        if not len(table):
            raise DataError(f"{printable(str(path))} has no rows: expected one per sample.")
        if fields[parts.features[0]] == "matrix":
            values = _lists(path, parts.features[0], table.column(parts.features[0]))
        else:
            values = np.column_stack([_numbers(path, name, table.column(name)) for name in parts.features])
        ids = labels = None
        if parts.ids is not None:
            ids = unique_names(path, enumerate(texts_of(table.column(parts.ids)), start=1), "row")
        if parts.labels is not None:
            labels = texts_of(table.column(parts.labels))
    return values, ids, labels, parts


def _parquet_kind(kind: Any) -> Kind:
    import pyarrow.types as types

    kind = getattr(kind, "storage_type", kind)  # of an extension, such as a tensor of fixed shape
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = kind.value_type
        return "matrix" if types.is_integer(inner) or types.is_floating(inner) else "other"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "numbers"
    return "texts" if "string" in str(kind) else "other"


def _lists(path: Path, name: str, column: Any) -> np.ndarray:
    """A column of lists of one length as a matrix."""
    import pyarrow.compute as pc

    blocks, width = list[np.ndarray](), None
    for chunk in column.chunks:
        chunk = getattr(chunk, "storage", chunk)
        lengths = pc.list_value_length(chunk).to_numpy(zero_copy_only=False)
        first = lengths[0] if width is None and len(lengths) else width
        uneven = np.flatnonzero(lengths != first)  # a missing list has the length NaN
        if len(uneven):
            row = sum(map(len, blocks)) + int(uneven[0])
            raise DataError(
                f"{printable(str(path))}, row {row + 1}: its list in column {printable(name)!r} is missing, or has "
                f"another length than {first}."
            )
        width = first
        blocks.append(chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), -1))
    return np.concatenate(blocks)


def _numbers(path: Path, name: str, column: Any) -> np.ndarray:
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(f"{printable(str(path))}, row {row + 1}: no number in column {printable(name)!r}.")
    return np.asarray(column.to_numpy(), np.float64 if column.type.bit_width > 32 else np.float32)
