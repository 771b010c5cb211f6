"""The results file: JSON lines, each whole in itself, only ever added to."""

from __future__ import annotations

import fcntl
import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headclust.disk import sync_folder, write_atomically, write_errors
from headclust.errors import DataError, FileFormatError, one_line
from headclust.progress import note, printable
from study.schema import FORMAT, VERSION, check_line, refuse_constant

RESULTS, ASSIGNMENTS = "results.jsonl", "cells"
_START = f'{{"format": "{FORMAT}"'.encode()  # of every line, torn or whole

__all__ = [
    "ASSIGNMENTS",
    "FORMAT",
    "RESULTS",
    "VERSION",
    "append",
    "has_assignments",
    "hides",
    "merge",
    "read_lines",
    "read_results",
]


def read_results(path: Path) -> list[dict[str, Any]]:
    """What is known of each cell: the line of each `id` that counts, the newest of all of them last.

    That is the last one, unless it `hides` a better one. Lines that a killed process left unfinished are left out and
    counted on stderr.

    Raises:
        DataError: There is no such file.
        FileFormatError: It is no results file, or one of another version.
    """
    if not path.is_file():
        raise DataError(f"{printable(str(path))}: no such file: make it with python benchmarks/table.py.")
    newest: dict[str, dict[str, Any]] = {}
    for line in read_lines(path):
        if not hides(line, newest.get(line["id"])):
            newest.pop(line["id"], None)
            newest[line["id"]] = line
    return list(newest.values())


def hides(line: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    """Whether a line about a cell says less than one before it: the features could not be used, and the fit is done."""
    told_nothing = line["status"] == "failed" and line.get("key") is None
    return told_nothing and before is not None and before["status"] == "done"


def has_assignments(line: Mapping[str, Any], root: Path) -> bool:
    """Whether the file with a cell's assignments is there, for a cell that has one."""
    return not line.get("assignments") or (root / ASSIGNMENTS / f"{line['key']}.npz").is_file()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a results file; none where there is no file.

    Raises:
        FileFormatError: It is no results file, or one of another version.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileFormatError(f"{printable(str(path))} cannot be read: {error.strerror}.") from None
    found, torn = [], 0
    for number, text in enumerate(content.split(b"\n"), start=1):
        if not text.strip():
            continue
        where = f"{printable(str(path))}, line {number}"
        try:
            line = json.loads(text, parse_constant=refuse_constant)
        except FileFormatError as error:
            raise FileFormatError(f"{where} {error}") from None
        except (ValueError, RecursionError):
            torn += 1
            continue
        check_line(line, where)
        found.append(line)
    if torn and not found and not _is_torn_start(content):
        raise FileFormatError(f"{printable(str(path))} is no results file: none of its lines is JSON.")
    if torn:
        note(f"{path}: {torn} unfinished line{'s' if torn > 1 else ''} left out.")
    return found


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Adds a line, and returns when it will last; several processes may do so at a time.

    A line that a killed process left unfinished before it is closed first, so that it costs no other one.

    Raises:
        HeadclustError: The file cannot be written; it then is as it was.
        FileFormatError: The line is none of a results file.
    """
    check_line(dict(line), "the line")
    content = json.dumps(line, allow_nan=False).encode() + b"\n"
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                content = b"\n" + content
            try:
                _write(descriptor, content)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if not size:
            sync_folder(path.parent)


def merge(target: Path, sources: Iterable[Path]) -> int:
    """Adds to `target` what other results files know and it does not, with their assignments; returns how many lines.

    Of two lines about one cell the later one counts, in the order of the files, and a fit that is done is never hidden
    by features that could not be used elsewhere. Merging again adds nothing. All files are read and looked at before
    anything is written.

    Raises:
        DataError: A source does not exist.
        FileFormatError: A file is no results file, or one with assignments is damaged.
        HeadclustError: The target cannot be written.
    """
    lines = read_lines(target)
    known = {_fact(line) for line in lines}
    newest: dict[str, Mapping[str, Any]] = {line["id"]: line for line in lines if line["status"] == "done"}
    taken: list[tuple[Path, Mapping[str, Any]]] = []
    for source in sources:
        for line in read_results(source):
            if {_fact(line), (*_fact(line)[:2], "done")} & known or hides(line, newest.get(line["id"])):
                continue
            _check_assignments(_assignments_to_copy(source.parent, target.parent, line))
            taken.append((source.parent, line))
            known.add(_fact(line))
            if line["status"] == "done":
                newest[line["id"]] = line
    for folder, one in taken:
        _copy_assignments(folder, target.parent, one)
        append(target, one)
    return len(taken)


def _fact(line: Mapping[str, Any]) -> tuple[str, str | None, str]:
    return line["id"], line.get("key"), line["status"]


def _assignments_to_copy(source: Path, target: Path, line: Mapping[str, Any]) -> Path | None:
    """The file with a cell's assignments, there or not; None where there is nothing to copy."""
    name: str | None = line.get("assignments")
    # Only ever a file of ours, beside the results: a line from elsewhere must not name any other.
    if not name or Path(name).parent != Path(ASSIGNMENTS) or (target / name).exists():
        return None
    return source / name


def _check_assignments(path: Path | None) -> None:
    """Makes sure that a file, where there is one, is arrays and nothing that would have to be unpickled."""
    if path is None or not path.is_file():
        return
    try:
        # Through its bytes: numpy leaves a file open that turns out to be damaged.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            for name in kept.files:
                kept[name]
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        step = "leave that results file out, or delete this file"
        raise FileFormatError(f"{printable(str(path))} holds no assignments: {one_line(error)}: {step}.") from None


def _copy_assignments(source: Path, target: Path, line: Mapping[str, Any]) -> None:
    """Copies the file with a cell's assignments, unless it is there."""
    path = _assignments_to_copy(source, target, line)
    if path is None:
        return
    try:
        content = path.read_bytes()
    except OSError:
        note(f"{path} is missing: the cell {line['id']} is merged without its assignments, and made again when wanted.")
        return
    copy = target / ASSIGNMENTS / path.name
    with write_errors(copy):
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(copy, content)


def _is_torn_start(content: bytes) -> bool:
    """Whether a file is the beginning of a first line whose writer was killed."""
    return b"\n" not in content and (content.startswith(_START) or _START.startswith(content))


def _write(descriptor: int, content: bytes) -> None:
    """All of it in one write, wherever the system takes it whole, and synced."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)
