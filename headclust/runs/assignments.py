"""CSV files with the cluster of each sample: assignments.csv of a run, and the output of `predict`."""

from __future__ import annotations

import csv
import os
import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from headclust.disk import atomic_file, write_errors
from headclust.errors import ConflictError, DataError, FileFormatError, one_line
from headclust.features.source import row_blocks
from headclust.filenames import storable_name
from headclust.progress import printable
from headclust.textfiles import row_writer

_COLUMNS = ("sample_id", "cluster", "confidence")
_NOVELTY, _NAME = "novelty", "name"  # further columns: distance to the fitted samples, and the name of the group
_HEADERS = tuple((*_COLUMNS, *more) for more in ((), (_NOVELTY,), (_NAME,), (_NOVELTY, _NAME)))
_ROWS = 4_096  # written at once
_UNUSUAL = re.compile('[",\r\n\ud800-\udfff]')


@dataclass(frozen=True)
class Assignments:
    """Rows of an assignments file: `sample_ids`, their `clusters`, int64 (n,), and `confidence`, float64 (n,).

    `novelty` is float64 (n,), or None where the file has no such column.
    """

    sample_ids: tuple[str, ...]
    clusters: NDArray[np.int64]
    confidence: NDArray[np.float64]
    novelty: NDArray[np.float64] | None


def write_assignments(
    path: Path,
    sample_ids: Sequence[str],
    clusters: NDArray[np.int64],
    confidence: NDArray[np.float32],
    novelty: NDArray[np.float32] | None = None,
    names: Mapping[int, str] | None = None,
) -> Path:
    """Write rows `sample_id,cluster,confidence`, renamed when complete; names that are not UTF-8 keep their bytes.

    `novelty` and the `names` of the clusters are further columns, if given.

    Raises:
        ConflictError: `path` exists and is not an assignments file.
        HeadclustError: The file cannot be written.
    """
    _check_replaceable(path)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic_file(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            shares = [values for values in (confidence, novelty) if values is not None]
            more = [name for name, given in ((_NOVELTY, novelty), (_NAME, names)) if given is not None]
            row_writer(file)((*_COLUMNS, *more))
            for block in row_blocks(len(sample_ids), at_most=_ROWS):
                columns = [values[block].tolist() for values in shares]
                _write_rows(file, sample_ids[block], [clusters[block].tolist(), *columns], names)
    return path


def _write_rows(
    file: TextIO, names: Sequence[str], columns: Sequence[Sequence[float]], groups: Mapping[int, str] | None
) -> None:
    """Write rows of names, clusters, shares and groups; all at once if no name needs quotes or other bytes."""
    rows = zip(names, *columns, strict=True)
    if groups is None and not _UNUSUAL.search("".join(names)):
        line = "%s,%d" + ",%.6f" * (len(columns) - 1) + "\n"
        file.write(line * len(names) % tuple(chain.from_iterable(rows)))
        return
    write = row_writer(file)
    for name, cluster, *shares in rows:
        last = () if groups is None else (groups[int(cluster)],)
        write((storable_name(name), cluster, *(f"{share:.6f}" for share in shares), *last))


def _check_replaceable(path: Path) -> None:
    if path.is_dir() or not path.name:
        raise ConflictError(f"{printable(str(path))} is a folder: name the CSV file to write.")
    start = b""
    if path.is_file():
        with path.open("rb") as file:
            start = file.readline(100)
    # A file that starts with an empty line is not an assignments file: it may be the user's.
    is_ours = not start or start.strip() in [",".join(columns).encode() for columns in _HEADERS]
    if not is_ours or (not path.is_file() and os.path.lexists(path)):
        raise ConflictError(f"{printable(str(path))} exists and holds no assignments: choose another -o.")


def read_assignments(path: Path) -> Assignments:
    """Read a file of `write_assignments`.

    Raises:
        DataError: The file does not exist or cannot be read.
        FileFormatError: The content is not valid, or a sample occurs twice.
    """
    name, line, n_shares = printable(str(path)), 1, 0
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            reader = csv.reader(file, strict=True)
            header = tuple(next(reader, ()))
            if header not in _HEADERS:
                start = printable(",".join(header))[:100]
                raise FileFormatError(f"{name} starts with {start!r}, expected {','.join(_COLUMNS)}: no assignments.")
            ids, clusters, shares = list[str](), array("q"), array("d")
            n_shares = len(header) - 2 - (_NAME in header)
            for row in reader:
                line = reader.line_num
                sample_id, cluster, *rest = row
                ids.append(sample_id)
                clusters.append(_whole(cluster))
                shares.extend(map(_share, rest[:n_shares]))
                if len(row) != len(header):
                    raise ValueError(f"{len(row)} columns, expected {len(header)}")
    except FileNotFoundError:
        raise DataError(f"{name}: no such file: expected one that headclust fit or headclust predict made.") from None
    except OSError as error:
        raise DataError(f"{name} cannot be read: {one_line(error)}.") from None
    except (ValueError, OverflowError, csv.Error) as error:
        raise FileFormatError(f"{name}, line {line}: {error}: make it again.") from None
    if len(set(ids)) < len(ids):
        twice = printable(Counter(ids).most_common(1)[0][0])[:100]
        raise FileFormatError(f"{name}: sample {twice!r} occurs twice, expected one row per sample: make it again.")
    columns = np.array(shares, np.float64).reshape(len(ids), n_shares).T
    return Assignments(tuple(ids), np.array(clusters, np.int64), columns[0], columns[1] if len(columns) > 1 else None)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"cluster {text[:50]!r}, expected a whole number")
    return int(text)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text[:50]!r}, expected 0 to 1")
    return value
