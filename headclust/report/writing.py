"""Write the report file: under a temporary name, renamed when complete."""

from __future__ import annotations

from pathlib import Path

from headclust.disk import real_place, write_atomically, write_errors
from headclust.errors import ConflictError
from headclust.progress import printable

# By kind of file, text near its start.
_MARKS = {
    "report": b'<meta name="generator" content="headclust report">',
    "suggestion": b'<meta name="generator" content="headclust suggest">',
    "picture of a suggestion": b'<svg xmlns="http://www.w3.org/2000/svg" class="curves"',
}
_MARK_WITHIN = 400  # bytes from the start of the file


def check_place(path: Path, kind: str = "report") -> None:
    """Raise if a report cannot be written to `path`; called before the report is made.

    Args:
        path: The file.
        kind: A key of `_MARKS`: "report", or another file that may only replace its like.

    Raises:
        ConflictError: `path` is a folder, a file of another kind, or a link to nothing.
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
            if start and _MARKS[kind] not in start:
                raise ConflictError(f"{printable(str(path))} exists and is not a headclust {kind}: choose another -o.")


def write_page(path: Path, text: str, kind: str = "report") -> Path:
    """Write a page of a kind, as of `check_place`, and return its path.

    Raises:
        ConflictError: `path` is a file of another kind.
        HeadclustError: The file cannot be written.
    """
    check_place(path, kind)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    return path
