"""The results file: JSON lines, each whole in itself, only ever added to."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from headclust.cache.disk import sync_folder, write_errors, write_whole
from headclust.errors import DataError, FileFormatError
from headclust.progress import note, printable

FORMAT, VERSION = "headclust-results", 1
RESULTS, ASSIGNMENTS = "results.jsonl", "cells"
_NAMES = ("kind", "status", "id")


def read_results(path: Path) -> list[dict[str, Any]]:
    """What is known of each cell: the last line of each `id`, in the order in which the ids first appear.

    Lines that a killed process left unfinished are left out and counted on stderr.

    Raises:
        DataError: There is no such file.
        FileFormatError: It is no results file, or one of another version.
    """
    if not path.is_file():
        raise DataError(f"{printable(str(path))}: no such file: make it with python benchmarks/table.py.")
    newest: dict[str, dict[str, Any]] = {}
    for line in read_lines(path):
        newest[line["id"]] = line
    return list(newest.values())


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
        try:
            line = json.loads(text)
        except ValueError:
            torn += 1
            continue
        _check(line, f"{printable(str(path))}, line {number}")
        found.append(line)
    if torn and not found:
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
    _check(dict(line), "the line")
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

    Of two lines about one cell the later one counts, in the order of the files. Merging again adds nothing.

    Raises:
        DataError: A source does not exist.
        FileFormatError: A file is no results file.
        HeadclustError: The target cannot be written.
    """
    known = {_fact(line) for line in read_lines(target)}
    added = 0
    for source in sources:
        for line in read_results(source):
            if {_fact(line), (*_fact(line)[:2], "done")} & known:
                continue
            _copy_assignments(source.parent, target.parent, line)
            append(target, line)
            known.add(_fact(line))
            added += 1
    return added


def _fact(line: Mapping[str, Any]) -> tuple[str, str | None, str]:
    return line["id"], line.get("key"), line["status"]


def _copy_assignments(source: Path, target: Path, line: Mapping[str, Any]) -> None:
    """Copies the file with a cell's assignments, unless it is there."""
    name = line.get("assignments")
    # Only ever a file of ours, beside the results: a line from elsewhere must not name any other.
    if not name or Path(name).parent != Path(ASSIGNMENTS) or (target / name).exists():
        return
    try:
        content = (source / name).read_bytes()
    except OSError:
        note(f"{source / name} is missing: the cell {line['id']} is merged without its assignments.")
        return
    with write_errors(target / name):
        (target / ASSIGNMENTS).mkdir(parents=True, exist_ok=True)
        write_whole(target / name, content)


def _write(descriptor: int, content: bytes) -> None:
    """All of it in one write, wherever the system takes it whole, and synced."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _check(line: Any, where: str) -> None:
    if not isinstance(line, dict) or line.get("format") != FORMAT:
        raise FileFormatError(f"{where} is no result: wanted an object with format {FORMAT!r}.")
    if line.get("version") != VERSION:
        raise FileFormatError(f"{where} has version {line.get('version')!r}: this headclust reads {VERSION}.")
    wrong = [name for name in _NAMES if not isinstance(line.get(name), str)]
    if wrong:
        raise FileFormatError(f"{where} does not say its {wrong[0]}.")
