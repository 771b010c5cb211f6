"""checksums.sha256 of a run folder: the SHA-256 of each file of the run, as `sha256sum` writes and checks it.

It is written last. Runs of format version 3 have none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from headclust.disk import file_sha256
from headclust.errors import FileFormatError, one_line
from headclust.progress import printable

CHECKSUMS = "checksums.sha256"
# The files of a run, all of which have a checksum; older versions did not make the optional ones.
OPTIONAL = ("seen.safetensors", "levels.json")
FILES = ("config.json", "metrics.json", "history.jsonl", "model.safetensors", "assignments.csv", *OPTIONAL)
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)\n")
_LONGEST = 10_000  # bytes
_EDITED = {
    "config.json": "restore it from a copy, or fit again; to try other settings, edit a copy outside the run folder",
    "assignments.csv": "a spreadsheet program changes it when it saves: restore it from a copy, or fit again; "
    "headclust export --to csv makes a table to edit",
}


def checksum_lines(folder: Path) -> bytes:
    """The content of checksums.sha256 for the files in `folder`."""
    present = [name for name in FILES if (folder / name).is_file()]
    return "".join(f"{file_sha256(folder / name)}  {name}\n" for name in present).encode()


def read_checksums(folder: Path) -> Mapping[str, str] | None:
    """SHA-256 of each file of a run, by name; None if the folder has no checksums.sha256.

    Raises:
        FileFormatError: It is damaged.
    """
    path = folder / CHECKSUMS
    try:
        if not path.exists():
            return None
        text = read_regular(path, _LONGEST).decode()
    except UnicodeDecodeError:
        text = ""
    lines = _LINE.findall(text)
    checksums = {name: sha256 for sha256, name in lines}
    is_whole = "".join(f"{sha256}  {name}\n" for sha256, name in lines) == text
    if not (is_whole and set(FILES) - set(OPTIONAL) <= set(checksums) <= set(FILES) and len(checksums) == len(lines)):
        raise FileFormatError(f"{printable(str(path))} is damaged: restore it from a copy, or fit again.")
    return checksums


def check_file(path: Path) -> None:
    """Raise unless a file of a run is present and as it was written; without checksums only its presence is checked.

    Raises:
        FileFormatError: It is missing, is not a file, cannot be read, or has changed.
    """
    checksums, name = read_checksums(path.parent), path.name
    try:
        is_there = path.is_file()
        sha256 = file_sha256(path) if is_there and checksums is not None else None
    except OSError as error:
        raise _unreadable(path, error) from None
    shown = printable(str(path))
    expected = (checksums or {}).get(name)
    if not is_there and (expected or name not in OPTIONAL):
        raise FileFormatError(f"{shown} is missing: restore it from a copy, or fit again.")
    if checksums is not None and sha256 != expected:
        problem = "has changed since the fit" if expected else "was added after the fit"
        raise FileFormatError(f"{shown} {problem}: {_EDITED.get(name, 'restore it from a copy, or fit again')}.")


def read_regular(path: Path, most: int = -1) -> bytes:
    """The content of a regular file, or its first `most` bytes; a pipe would block.

    Raises:
        FileFormatError: It is not a regular file, or cannot be read.
    """
    try:
        if not path.is_file():
            problem = "is not a file" if path.exists() else "is missing"
            raise FileFormatError(f"{printable(str(path))} {problem}: restore it from a copy, or fit again.")
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> FileFormatError:
    return FileFormatError(f"{printable(str(path))} cannot be read ({one_line(error)}): restore it from a copy.")
