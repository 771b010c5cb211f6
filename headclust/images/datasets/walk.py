"""Walks through the folders of a source: which files are images, by name, and what is left out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from headclust.errors import DataError, one_line
from headclust.images.datasets.exclude import Exclusion
from headclust.images.datasets.ignored import Ignored, holds_photos, is_image_name, is_library, is_system
from headclust.images.datasets.unchanged import folder_identity


def image_files(
    root: Path, top: str, ignored: Ignored, exclusion: Exclusion
) -> Iterator[tuple[str, tuple[int, int], bool]]:
    """(path below the root, (size, mtime_ns), True for a link) of every image file, in no particular order.

    A subfolder that cannot be listed is added to `ignored` with the reason, as is all else that is left out.

    Args:
        root: The absolute folder that paths are relative to.
        top: Name of the folder in it to walk through; empty for all of the root.
        ignored: Collects what is left out.
        exclusion: Patterns of the files and folders to leave out.

    Raises:
        DataError: The top folder itself cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    folders, links = [top], list[str]()
    while folders or links:
        # Links are read after all folders, so that a folder is listed under its own name.
        if not folders:
            links.sort(reverse=True)
            folders.append(links.pop())
        below = folders.pop()
        folder = Path(root, below)
        try:
            identity = folder_identity(folder)
            entries = [] if identity in seen else list(scan(folder))
        except (DataError, OSError) as error:
            if below == top:
                raise DataError(str(error)) if isinstance(error, DataError) else listing_error(folder, error) from None
            reason = error.__cause__ if isinstance(error, DataError) else error
            ignored.unlisted.append((f"{below}/", one_line(reason or error)))
            continue
        seen.add(identity)
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            is_directory = is_folder(entry)
            if is_directory and is_left_out(folder, entry.name):
                ignored.folders.add(name)
            elif entry.name.startswith(".") or exclusion.matches(name, folder=is_directory):
                continue
            elif is_directory:
                (links if entry.is_symlink() else folders).append(name)
            elif is_image_name(entry.name):
                if stamp := _stamp(entry):
                    yield name, stamp, entry.is_symlink()
                else:
                    ignored.special += 1
            elif _is_file(entry):
                ignored.files.append(entry.name)


def is_left_out(parent: Path, name: str) -> bool:
    """True if a folder is left out by its name: a system folder, or one of a photo library without photos."""
    return is_system(name) or (is_library(parent.name) and not holds_photos(name))


def visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder without hidden names and system folders, in no particular order.

    Raises:
        DataError: The folder cannot be listed.
    """
    for entry in scan(folder):
        if not (entry.name.startswith(".") or (is_left_out(folder, entry.name) and is_folder(entry))):
            yield entry


def scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder, in no particular order.

    Raises:
        DataError: The folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise listing_error(folder, error) from error


def listing_error(folder: Path, error: OSError) -> DataError:
    """The error for a folder that cannot be listed."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{folder}: no such folder.")
    if isinstance(error, NotADirectoryError):
        return DataError(f"{folder} is a file: expected a folder of images.")
    return DataError(f"{folder} cannot be listed: {one_line(error)}.")


def holds_images(folder: Path) -> bool:
    """True if a folder holds an image, at any depth; each folder is listed only up to its first image."""
    seen: set[tuple[int, int]] = set()
    folders = [folder]
    while folders:
        try:
            place = folders.pop()
            if (identity := folder_identity(place)) in seen:
                continue
            seen.add(identity)
            for entry in visible(place):
                if is_image_file(entry):
                    return True
                if is_folder(entry):
                    folders.append(Path(entry.path))
        except (DataError, OSError):  # noted when it is listed itself
            continue
    return False


def is_folder(entry: os.DirEntry[str]) -> bool:
    """True if the entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def is_image_file(entry: os.DirEntry[str]) -> bool:
    """True if the entry is a regular file, or a link, with the name of an image."""
    return is_image_name(entry.name) and not is_folder(entry) and _stamp(entry) is not None


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    """Size and time of a regular file; (0, 0) for a broken link, which is listed and fails when read; else None."""
    try:
        status = entry.stat()
    except OSError:
        return 0, 0
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
