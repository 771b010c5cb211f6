"""Write the report file: under a temporary name, renamed when complete."""

from __future__ import annotations

from pathlib import Path

from headclust.disk import real_place, write_atomically, write_errors
from headclust.errors import ConflictError
from headclust.progress import printable

_MARK = b'<meta name="generator" content="headclust report">'
_MARK_WITHIN = 400  # bytes from the start of the file


def check_place(path: Path) -> None:
    """Raise if a report cannot be written to `path`; called before the report is made.

    Raises:
        ConflictError: `path` is a folder, a file that is not a report, or a link to nothing.
        HeadclustError: The file cannot be read.
    """
    real_place(path)
    with write_errors(path):
        if path.is_dir() or not path.name:
            raise ConflictError(f"{printable(str(path))} is a folder: name the HTML file to write.")
        for parent in path.parents:
            if parent.exists() and not parent.is_dir():
                raise ConflictError(f"cannot write {printable(str(path))}: {printable(str(parent))} is not a folder.")
        if path.exists() and not path.is_file():
            raise ConflictError(f"{printable(str(path))} exists and is not a regular file: choose another -o.")
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(_MARK_WITHIN)
            if start and _MARK not in start:
                raise ConflictError(f"{printable(str(path))} exists and is not a headclust report: choose another -o.")


def write_page(path: Path, text: str) -> Path:
    """Write a page and return its path.

    Raises:
        ConflictError: `path` is something other than a report.
        HeadclustError: The file cannot be written.
    """
    check_place(path)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    return path
