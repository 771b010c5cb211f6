"""The output folder of `run`: its name, its creation, and the mark that records the source of the images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headclust.disk import write_atomically, write_errors
from headclust.errors import ConflictError
from headclust.filenames import file_name, numbered
from headclust.images.datasets import ImageSet
from headclust.progress import printable
from headclust.runs import GROUPS_MARK

FORMAT, FORMAT_VERSION = "headclust-groups", 1


def groups_folder(images: ImageSet, output: Path | None) -> Path:
    """The folder for the groups of these images; `mark_folder` makes it.

    Args:
        images: The images.
        output: The folder. When None, `NAME-groups` with the name of the data, or with -2, -3 ... if that is in use.

    Raises:
        ConflictError: `output` is in use for something else, or lies in the image folder.
        HeadclustError: The folder cannot be read.
    """
    folder = output or _free_folder(images)
    with write_errors(folder):
        _check_apart(images, folder)
        owner = _owner(folder)
        if owner == _identity(images):
            return folder
        name = printable(str(folder))
        if owner:
            whose = " ".join(printable(part) for part in owner.values() if part != "all")
            raise ConflictError(f"{name} holds groups of {whose}: choose another folder with -o.")
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise ConflictError(f"{name} exists and was not made by headclust run: choose another folder with -o.")
    return folder


def mark_folder(images: ImageSet, folder: Path) -> None:
    """Make the folder that `groups_folder` has chosen, unless it exists, and mark it.

    Raises:
        HeadclustError: It cannot be made.
    """
    with write_errors(folder):
        if _owner(folder) != _identity(images):
            folder.mkdir(parents=True, exist_ok=True)
            mark = {"format": FORMAT, "format_version": FORMAT_VERSION, **_identity(images)}
            write_atomically(folder / GROUPS_MARK, (json.dumps(mark, indent=2) + "\n").encode())


@contextmanager
def marked_folder(images: ImageSet, folder: Path) -> Iterator[None]:
    """Mark a folder for the work in the context; if that fails without any result, remove the mark again.

    Raises:
        HeadclustError: It cannot be made.
    """
    was_there = folder.exists()
    try:
        mark_folder(images, folder)
        yield
    except BaseException:
        with suppress(OSError):  # the first error is raised
            if [path.name for path in folder.iterdir()] == [GROUPS_MARK]:
                (folder / GROUPS_MARK).unlink()
                if not was_there:
                    folder.rmdir()
        raise


def _check_apart(images: ImageSet, folder: Path) -> None:
    """Raise if the folder lies in the image folder: its files would be listed as images the next time."""
    named = images.source if images.source.startswith("/") else images.source.partition(":")[2]  # NAME:FOLDER
    source, place = Path(named), folder.resolve()
    if source.is_absolute() and source.is_dir() and place.is_relative_to(source):
        beside = source.with_name(f"{source.name}-groups")
        raise ConflictError(
            f"{printable(str(folder))} would lie in the images' own folder: name another one with -o, "
            f"for example -o {printable(str(beside))}."
        )


def _free_folder(images: ImageSet) -> Path:
    return free_folder(images, Path(f"{file_name(images.dataset)}-groups"))


def free_folder(images: ImageSet, path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3` ... that does not exist or holds groups of these images."""
    return next(folder for folder in numbered(path) if not folder.exists() or _owner(folder) == _identity(images))


def _identity(images: ImageSet) -> dict[str, str]:
    return {"source": images.source, "split": images.split}


def _owner(folder: Path) -> dict[str, str]:
    """The source and split recorded in the mark of a folder; empty without a mark."""
    try:
        mark = json.loads((folder / GROUPS_MARK).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(mark, dict) or mark.get("format") != FORMAT:
        return {}
    return {key: str(mark.get(key)) for key in ("source", "split")}
