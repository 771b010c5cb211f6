"""The results file: JSON lines, each whole in itself, only ever added to."""

from __future__ import annotations

import fcntl
import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headclust.disk import sync_folder, write_atomically, write_errors
from headclust.errors import DataError, FileFormatError, one_line
from headclust.progress import note, printable
from study.schema import FORMAT, check_line

RESULTS, ASSIGNMENTS = "results.jsonl", "cells"
_START = f'{{"format": "{FORMAT}"'.encode()  # of every line, torn or whole
Line = Mapping[str, Any]


class Index:
    """The lines of a results file that count.

    Attributes:
        by_id: The last line of each `id`, unless it hides a better one; the newest of all is last.
        by_key: The last line of each `key` whose status is done.
    """

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.by_id: dict[str, Line] = {}
        self.by_key: dict[str, Line] = {}
        for line in lines:
            self.add(line)

    def add(self, line: Line) -> None:
        """Take in a later line."""
        if not self.hides(line):
            self.by_id.pop(line["id"], None)
            self.by_id[line["id"]] = line
        if line["status"] == "done":
            self.by_key[line["key"]] = line

    def hides(self, line: Line) -> bool:
        """True if a line records that features could not be used, of a cell that is done."""
        is_done = self.by_id.get(line["id"], {}).get("status") == "done"
        return is_done and line["status"] == "failed" and line.get("key") is None

    def state(self, cell_id: str, key: str, root: Path) -> Literal["done", "failed", "to do again", "to do"]:
        """The state of a cell; a fit without its file of assignments below `root` is not done."""
        same, line = self.by_key.get(key), self.by_id.get(cell_id)
        if same and (not same.get("assignments") or (root / ASSIGNMENTS / f"{key}.npz").is_file()):
            return "done"
        if line and line.get("key") == key and line["status"] == "failed":
            return "failed"
        return "to do again" if line else "to do"


def read_results(path: Path) -> list[dict[str, Any]]:
    """The line of each `id` that counts, the newest of all last; raise DataError if there is no such file."""
    if not path.is_file():
        raise DataError(f"{printable(str(path))}: no such file: make it with python benchmarks/table.py.")
    return [dict(line) for line in Index(read_lines(path)).by_id.values()]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a results file, empty without a file; lines that a killed process left are counted on stderr.

    Raise FileFormatError if it is no results file, or one of another version.
    """
    name = printable(str(path))
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileFormatError(f"{name} cannot be read: {error.strerror}.") from None
    lines, torn = [], 0
    for number, text in enumerate(content.split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text, parse_constant=_refuse_constant)
        except FileFormatError as error:
            raise FileFormatError(f"{name}, line {number} {error}") from None
        except (ValueError, RecursionError):
            torn += 1
            continue
        check_line(line, f"{name}, line {number}")
        lines.append(line)
    # A file may be the beginning of a first line whose writer was killed.
    is_start = b"\n" not in content and (content.startswith(_START) or _START.startswith(content))
    if torn and not lines and not is_start:
        raise FileFormatError(f"{name} is no results file: none of its lines is JSON.")
    if torn:
        note(f"{path}: {torn} unfinished line{'s' if torn > 1 else ''} left out.")
    return lines


def _refuse_constant(name: str) -> float:
    raise FileFormatError(f"holds {name}, which is no number of a result.")


def append(path: Path, line: Line) -> None:
    """Add a line, and return when it is on the disk; several processes may do so at the same time.

    A line that a killed process left unfinished is closed first, so that it costs no other line. A file that cannot be
    written is left as it was.
    """
    check_line(dict(line), "the line")
    content = json.dumps(line, allow_nan=False).encode() + b"\n"
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                content = b"\n" + content
            try:
                view = memoryview(content)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
        if not size:
            sync_folder(path.parent)


def merge(target: Path, sources: Iterable[Path]) -> int:
    """Add to `target` the lines of other results files that it lacks, with their assignments; return their number.

    Of two lines of one cell the later one counts, in the order of the files, and a fit that is done is never hidden
    by features that could not be used elsewhere. Merging again adds nothing. All files are read and checked before
    anything is written: raise DataError if one does not exist, FileFormatError if it or its assignments are damaged.
    """
    lines = read_lines(target)
    facts = {_fact(line) for line in lines}
    done = Index(line for line in lines if line["status"] == "done")
    new: list[tuple[Line, Path | None]] = []
    for source in sources:
        for line in read_results(source):
            if {_fact(line), (*_fact(line)[:2], "done")} & facts or done.hides(line):
                continue
            new.append((line, _assignments(source.parent, target.parent, line)))
            facts.add(_fact(line))
            if line["status"] == "done":
                done.add(line)
    for new_line, path in new:
        if path and path.is_file():
            write_file(target.parent / ASSIGNMENTS / path.name, path.read_bytes())
        elif path:
            note(f"{path} is missing: {new_line['id']} is merged without its assignments, and made again when needed.")
        append(target, new_line)
    return len(new)


def _fact(line: Line) -> tuple[str, str | None, str]:
    return line["id"], line.get("key"), line["status"]


def _assignments(source: Path, target: Path, line: Line) -> Path | None:
    """The file with the assignments of a cell, existing or not, if it is to copy; it must hold plain arrays alone."""
    name = Path(line.get("assignments") or "")
    # Only files of ours, beside the results: a line from elsewhere must not name any other.
    if name.parent != Path(ASSIGNMENTS) or (target / name).exists():
        return None
    path = source / name
    if path.is_file():
        try:
            # From its bytes: numpy leaves a file open that turns out to be damaged.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                for array in arrays.files:
                    arrays[array]
        except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            step = "leave that results file out, or delete this file"
            raise FileFormatError(f"{printable(str(path))} holds no assignments: {one_line(error)}: {step}.") from None
    return path


def write_file(path: Path, content: bytes) -> None:
    """Write a small file so that it is either whole or absent, making its folder."""
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
