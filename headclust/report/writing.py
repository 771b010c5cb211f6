"""The report's file: written under another name, and moved into place when whole."""

from __future__ import annotations

from pathlib import Path

from headclust.disk import write_atomically, write_errors
from headclust.errors import ConflictError
from headclust.progress import printable

_OURS, _START = b'<meta name="generator" content="headclust report">', 400


def check_place(path: Path) -> None:
    """Makes sure that a report may be written at `path`, before time is spent on it.

    Raises:
        ConflictError: A folder is there, or a file that is no report.
        HeadclustError: It cannot be read.
    """
    with write_errors(path):
        if path.is_dir() or not path.name:
            raise ConflictError(f"{printable(str(path))} is a folder: name the HTML file to write.")
        if path.exists() and not path.is_file():
            raise ConflictError(f"{printable(str(path))} exists and is no file: choose another -o.")
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(_START)
            if start and _OURS not in start:
                raise ConflictError(f"{printable(str(path))} exists and is no report of ours: choose another -o.")


def write_page(path: Path, text: str) -> Path:
    """Writes a page; returns its path.

    Raises:
        ConflictError: Something else than a report is there.
        HeadclustError: The file cannot be written.
    """
    check_place(path)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    return path
