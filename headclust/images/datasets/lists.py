"""Lists of image files with labels: CSV, tab-separated text, Parquet."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from headclust.errors import DataError, FileFormatError
from headclust.images.datasets.folder import locate, while_there
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.layout import choose_split, name_labels, number_names
from headclust.images.datasets.parquet import read_parquet
from headclust.images.image_file import decode
from headclust.progress import printable

SUFFIXES = (".csv", ".tsv", ".parquet")
_PATH = ("path", "file", "filename", "file_name", "image", "image_path")
_LABEL = ("label", "class")
_SPLIT = ("split",)
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
# With the ".0" that columns of whole numbers with gaps are often written with.
_WHOLE_NUMBER = re.compile(r"(-?[0-9]{1,18})(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?inf(inity)?", re.IGNORECASE)


class Columns(NamedTuple):
    """What a list says, a text a row; empty where it says nothing, None for a column that is not there.

    Attributes:
        paths: As written.
        labels: Class names, or numbers, without blanks around them.
        splits: Name of each row's split, without blanks around it; None too where no row has one.
    """

    paths: Sequence[str]
    labels: Sequence[str] | None
    splits: Sequence[str] | None


def open_list(path: str, split: str | None) -> ImageSet:
    """The image files a list names, in its order; no image is opened yet.

    The list has a header. One column is called `path`, `file`, `filename`, `file_name`, `image` or `image_path`, in any
    case: image files, relative to the list's folder or absolute. Sample ids are these paths as written. A column called
    `label` or `class` is optional: whole numbers (7, or 7.0) keep their values; anything else is the name of a class,
    and names are numbered by code point over the whole list; empty is unknown, and so is NaN among numbers. With a
    column `split`, `split` has to name one of its values, or "all". Blanks around labels and splits do not count. Other
    columns are ignored.

    Args:
        path: A `.csv` or `.tsv` file (UTF-8, quoted as spreadsheets do), or a `.parquet` file (needs pyarrow).
        split: A value of the column `split`, or "all"; None or "all" without such a column.

    Raises:
        DataError: There is no such file, columns are missing or ambiguous, a path is missing or comes twice, labels are
            numbers but not whole, or of more than 18 digits.
        FileFormatError: The file is not what its name says.
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
    labels, class_names = _labels(file, columns.labels)
    return ImageSet(
        dataset=file.stem,
        split=split or "all",
        source=str(file),
        sample_ids=ids,
        labels=None if labels is None else labels[list(rows)],
        class_names=class_names,
        stamps=tuple(_stamp(file.parent, name) for name in ids),
        read=while_there(file.parent, lambda i: decode(str(file.parent / ids[i]))),
    )


def _columns(file: Path) -> Columns:
    wanted = (*_PATH, *_LABEL, *_SPLIT)
    delimiter = _DELIMITERS.get(file.suffix.lower())
    header, columns = read_parquet(file, wanted) if delimiter is None else _read_text(file, delimiter, wanted)
    for name, count in Counter(header).items():
        if name in wanted and count > 1:
            raise DataError(f"{file} has {count} columns {name!r}: expected one.")
    path = _only(file, columns, _PATH)
    if path is None:
        found = f"the columns {printable(', '.join(header)[:200])}" if header else "no columns"
        raise DataError(f"{file} has {found}: expected a header with one of {', '.join(_PATH)}.")
    if not columns[path]:
        raise DataError(f"{file} names no images: expected a row an image below its header.")
    label, split = _only(file, columns, _LABEL), _only(file, columns, _SPLIT)
    splits = _stripped(columns[split]) if split else []
    return Columns(columns[path], _stripped(columns[label]) if label else None, splits if any(splits) else None)


def _stripped(texts: Sequence[str]) -> list[str]:
    return [text.strip() for text in texts]


def _only(file: Path, columns: dict[str, list[str]], names: Sequence[str]) -> str | None:
    """Which one of `names` is a column."""
    found = [name for name in names if name in columns]
    if len(found) > 1:
        raise DataError(f"{file} has the columns {' and '.join(found)}: expected only one of them.")
    return found[0] if found else None


def _read_text(file: Path, delimiter: str, wanted: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The header in lower case, and the texts of the wanted columns."""
    try:
        # Strict, because a quote that is never closed would swallow the rest of the list.
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            places = {name: place for place, name in enumerate(header) if name in wanted}
            columns: dict[str, list[str]] = {name: [] for name in places}
            for row in reader:
                if row and len(row) != len(header):
                    raise FileFormatError(
                        f"{file}, line {reader.line_num}: {len(row)} columns, expected {len(header)} as in the header."
                    )
                for name, place in places.items() if row else ():
                    columns[name].append(row[place])
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{file} is not UTF-8 text ({error.reason}): save it as UTF-8.") from None
    except csv.Error as error:
        raise FileFormatError(f"{file}, line {reader.line_num}: {error}: expected {file.suffix[1:]} text.") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from None
    return header, columns


def _check_ids(file: Path, ids: Sequence[str]) -> None:
    if "" in ids:
        raise DataError(f"{file}: a row has no path (image {ids.index('') + 1}): expected one in every row.")
    name, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise DataError(f"{file} names {name!r} {count} times: expected every image once.")


def _labels(file: Path, texts: Sequence[str] | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels over the whole list, so that all its splits share one list of classes; and their names."""
    known = set(texts or ()) - {""}
    if texts is None or not known:
        return None, ()
    numbers = {text for text in known if text.lower() != "nan"}
    if not all(_NUMBER.fullmatch(text) for text in numbers):
        return name_labels(texts, known)
    values = dict.fromkeys(known, -1)
    for text in numbers:
        if not (whole := _WHOLE_NUMBER.fullmatch(text)):
            raise DataError(f"{file}: label {text[:50]!r}: expected whole numbers of at most 18 digits, or names.")
        values[text] = int(whole[1])
    if min(values.values()) < -1:
        raise DataError(f"{file}: label {min(values.values())}: expected 0 or more, or -1 or nothing for unknown.")
    labels = np.array([values.get(text, -1) for text in texts], np.int64)
    return (labels, number_names(labels)) if numbers else (None, ())


def _stamp(folder: Path, name: str) -> tuple[int, int]:
    """Size and time; (0, 0) for a file that is not there, which is listed and fails when read."""
    try:
        found = (folder / name).stat()
    except (OSError, ValueError):
        return 0, 0
    return found.st_size, found.st_mtime_ns
