"""Image files that are read only as they were listed: a source that changes meanwhile stops the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from headclust.errors import DataError, SourceError
from headclust.images.image_file import decode

CHANGED = (
    "has changed since its images were listed: start again when nothing writes there any more "
    "(with --overwrite, where that is an option)."
)
Identity = tuple[int, int]  # device and inode


@dataclass(frozen=True)
class ListedFiles:
    """Files with the sizes and times that they had when they were listed.

    Attributes:
        path: Function from a row to its absolute path.
        stamps: Per row (size in bytes, modification time in ns).
        folders: Identity of each folder that holds some of them, by its path without links.
    """

    path: Callable[[int], str]
    stamps: Sequence[tuple[int, int]]
    folders: Mapping[str, Identity]

    def read(self, row: int) -> Image.Image:
        """The image of a row.

        Raises:
            DataError: The file is missing, or cannot be read. One line, without the path.
            SourceError: The file has changed; or it is missing because its folder is gone, or is another one now.
        """
        path = self.path(row)
        try:
            image = decode(path)
        except DataError:
            self._check(path, self.stamps[row])
            raise
        self._check(path, self.stamps[row])  # after reading, so that a change meanwhile is noticed too
        return image

    def _check(self, path: str, stamp: tuple[int, int]) -> None:
        try:
            status = Path(path).stat()
        except (OSError, ValueError):  # ValueError: a null character
            if stamp != (0, 0):  # it was there when it was listed
                self._check_folder(path)
            return
        if (status.st_size, status.st_mtime_ns) != stamp:
            raise SourceError(f"{path} {CHANGED}")

    def _check_folder(self, path: str) -> None:
        """Raise if the folder of a missing file is gone, as after a disk is removed, which leaves an empty folder."""
        try:
            folder = str(Path(os.path.realpath(path)).parent)
        except (OSError, ValueError):
            return
        check_folder(folder, self.folders.get(folder))


def check_folder(folder: str, identity: Identity | None) -> None:
    """Raise if a folder is gone, or if it is another one than it was.

    Args:
        folder: Its absolute path.
        identity: The identity that it had; None if it is unknown.

    Raises:
        SourceError: It is gone, or another one.
    """
    try:
        now = folder_identity(folder)
    except PermissionError:
        return
    except OSError:
        now = None
    if now is None or identity not in (None, now):
        gone = Path(folder)
        with suppress(OSError):
            while not gone.parent.exists():
                gone = gone.parent
        step = "put it back, and repeat the same command"
        raise SourceError(f"{gone}, the folder of the images, no longer exists: {step}.")


def file_stamp(path: str) -> tuple[int, int]:
    """Size and time of a file; (0, 0) if it does not exist, in which case it is listed and fails when read."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns


def folder_identity(folder: str | os.PathLike[str]) -> Identity:
    """Device and inode of a folder, the same for all of its paths.

    Raises:
        OSError: It does not exist, or may not be read.
    """
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def folders_of(paths: Sequence[str]) -> dict[str, Identity]:
    """The folders that hold these files, links resolved, with their identities; without those that do not exist."""
    folders = dict[str, Identity]()
    for parent in {_parent(path) for path in paths}:
        with suppress(OSError, ValueError):  # ValueError: a null character
            folders[os.path.realpath(parent)] = folder_identity(parent)
    return folders


def _parent(path: str) -> Path:
    """The folder of a file, or of the file that a link leads to."""
    try:
        return Path(os.path.realpath(path) if Path(path).is_symlink() else path).parent
    except (OSError, ValueError):  # too long, a null character
        return Path(path).parent
