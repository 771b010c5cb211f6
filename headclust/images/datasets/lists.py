"""Lists of image files with labels, in CSV, tab-separated text or Parquet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from headclust.errors import DataError, FileFormatError
from headclust.images.datasets.folder import locate
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.layout import choose_split, encode_labels, numeric_class_names
from headclust.images.datasets.parquet import read_parquet
from headclust.images.datasets.unchanged import ListedFiles, file_stamp, folders_of
from headclust.progress import printable
from headclust.textfiles import DELIMITERS, table_rows, whole_number

SUFFIXES = (".csv", ".tsv", ".parquet")
_PATH = ("path", "file", "filename", "file_name", "image", "image_path")
_LABEL = ("label", "class")
_SPLIT = ("split",)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?inf(inity)?", re.IGNORECASE)


class Columns(NamedTuple):
    """Columns of a list, one text per row; empty for a missing value, None for a missing column.

    Attributes:
        paths: Paths as written.
        labels: Class names or numbers, stripped of blanks.
        splits: Names of splits, stripped of blanks; None also if no row has a split.
    """

    paths: Sequence[str]
    labels: Sequence[str] | None
    splits: Sequence[str] | None


def open_list(path: str, split: str | None) -> ImageSet:
    """The image files of a list, in its order; no image is opened yet.

    The list has a header. One column is named `path`, `file`, `filename`, `file_name`, `image` or `image_path`, in any
    case; it holds image files, absolute or relative to the folder of the list. Sample ids are these paths as written. A
    column named `label` or `class` is optional: whole numbers (7 or 7.0) keep their values; other texts are class
    names, numbered by code point over the whole list; empty is unknown, as is NaN among numbers. If there is a column
    `split`, `split` must be one of its values, or "all". Blanks around labels and splits are ignored, and so are other
    columns.

    Args:
        path: A `.csv` or `.tsv` file, quoted as in spreadsheets, or a `.parquet` file (needs pyarrow).
        split: A value of the column `split`, or "all"; None or "all" without such a column.

    Raises:
        DataError: The file does not exist, columns are missing or ambiguous, a path is missing or appears twice, or
            labels are numbers that are not whole or have more than 18 digits.
        FileFormatError: The content does not match the file's extension.
        SettingError: `split` is missing or does not exist, or pyarrow is not installed.
    """
    file = locate(path)
    columns = _columns(file)
    rows: Sequence[int] = range(len(columns.paths))
    names: list[str] = []
    if columns.splits is not None:
        names = [*sorted(set(columns.splits) - {"", "all"}), "all"]
    split = choose_split(str(file), names, split)
    if columns.splits is not None and split != "all":
        rows = [row for row in rows if columns.splits[row] == split]
    ids = tuple(columns.paths[row] for row in rows)
    _check_ids(file, ids)
    labels, class_names = encode_texts(file, columns.labels)
    paths = [str(file.parent / name) for name in ids]
    listed = ListedFiles(paths.__getitem__, tuple(map(file_stamp, paths)), folders_of(paths))
    return ImageSet(
        dataset=file.stem,
        split=split or "all",
        source=str(file),
        sample_ids=ids,
        labels=None if labels is None else labels[list(rows)],
        class_names=class_names,
        stamps=tuple(listed.stamps),
        read=listed.read,
    )


def _columns(file: Path) -> Columns:
    names = (*_PATH, *_LABEL, *_SPLIT)
    delimiter = DELIMITERS.get(file.suffix.lower())
    header, columns = read_parquet(file, names) if delimiter is None else _read_text(file, delimiter, names)
    for name, count in Counter(header).items():
        if name in names and count > 1:
            raise DataError(f"{file} has {count} columns {name!r}: expected one.")
    path = _only(file, columns, _PATH)
    if path is None:
        held = f"the columns {printable(', '.join(header)[:200])}" if header else "no columns"
        raise DataError(f"{file} has {held}: expected a header with one of {', '.join(_PATH)}.")
    if not columns[path]:
        raise DataError(f"{file} names no images: expected one row per image below its header.")
    label, split = _only(file, columns, _LABEL), _only(file, columns, _SPLIT)
    splits = _stripped(columns[split]) if split else []
    return Columns(columns[path], _stripped(columns[label]) if label else None, splits if any(splits) else None)


def _stripped(texts: Sequence[str]) -> list[str]:
    return [text.strip() for text in texts]


def _only(file: Path, columns: dict[str, list[str]], names: Sequence[str]) -> str | None:
    """The one of `names` that is a column; None if none is."""
    present = [name for name in names if name in columns]
    if len(present) > 1:
        raise DataError(f"{file} has the columns {' and '.join(present)}: expected only one of them.")
    return present[0] if present else None


def _read_text(file: Path, delimiter: str, names: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The header in lower case, and the texts of the columns `names`."""
    rows = table_rows(file, delimiter=delimiter)
    header = [name.strip().lower() for name in next(rows, (0, []))[1]]
    positions = {name: position for position, name in enumerate(header) if name in names}
    columns: dict[str, list[str]] = {name: [] for name in positions}
    for line, row in rows:
        if len(row) != len(header):
            raise FileFormatError(f"{file}, line {line}: {len(row)} columns, expected {len(header)} as in the header.")
        for name, position in positions.items():
            columns[name].append(row[position])
    return header, columns


def _check_ids(file: Path, ids: Sequence[str]) -> None:
    if "" in ids:
        raise DataError(f"{file}: a row has no path (image {ids.index('') + 1}): expected one per row.")
    name, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise DataError(f"{file} names {name!r} {count} times: expected every image once.")


def encode_texts(file: Path, texts: Sequence[str] | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels int64 (n,) and class names of a whole list, so that all its splits share one list of classes.

    Args:
        file: The file, for messages.
        texts: Whole numbers or class names, one per row; empty or NaN for unknown. None without labels.

    Raises:
        DataError: A number is not whole, or below -1.
    """
    distinct = set(texts or ()) - {""}
    if texts is None or not distinct:
        return None, ()
    numbers = {text for text in distinct if text.lower() != "nan"}
    if not all(_NUMBER.fullmatch(text) for text in numbers):
        return encode_labels(texts, distinct)
    values = dict.fromkeys(distinct, -1)
    for text in numbers:
        whole = whole_number(text)
        if whole is None:
            raise DataError(f"{file}: label {text[:50]!r}: expected whole numbers of at most 18 digits, or names.")
        values[text] = whole
    if min(values.values()) < -1:
        raise DataError(f"{file}: label {min(values.values())}: expected 0 or more; -1 or empty for unknown.")
    labels = np.array([values.get(text, -1) for text in texts], np.int64)
    return (labels, numeric_class_names(labels)) if numbers else (None, ())
