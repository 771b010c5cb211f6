"""One image of an export to folders: linked, copied, moved, or written from its pixels. Nothing is replaced."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

from headclust.disk import atomic_file, sync_folder
from headclust.errors import ConflictError, DataError, HeadclustError
from headclust.export.images import FoundImages
from headclust.export.table import Table
from headclust.filenames import same_name_key
from headclust.progress import printable


def put(mode: str, row: int, table: Table, images: FoundImages, place: Path) -> None:
    """Bring an image to its place, as `mode` says; one that is there already is compared with it.

    Raises:
        ConflictError: Something else is there.
        DataError: Its pixels cannot be read.
        HeadclustError: It cannot be moved.
    """
    path = images.paths[row]
    if path is None:
        if not os.path.lexists(place):  # an existing file is complete
            _write_pixels(row, table, images, place)
    elif mode == "link":
        _link(path, place)
    elif mode == "copy":
        _copy(path, place)
    else:
        _move(path, place)


def _link(path: str, place: Path) -> None:
    try:
        place.symlink_to(path)
    except FileExistsError:
        if not (place.is_symlink() and str(place.readlink()) == path):
            raise _exists_already(place) from None


def _copy(path: str, place: Path, *, lasting: bool = False) -> None:
    if os.path.lexists(place):
        _check_same(path, place)
        return
    with atomic_file(place, publish=_publish, lasting=lasting) as temporary:
        shutil.copyfile(path, temporary)
        shutil.copystat(path, temporary)


def _check_same(path: str, place: Path) -> None:
    if place.is_symlink() or not place.is_file() or not filecmp.cmp(path, place, shallow=False):
        raise _exists_already(place)


def _move(path: str, place: Path) -> None:
    """Move an image. A symbolic link is replaced by a copy of its target, as a moved link might be broken."""
    source = Path(path)
    # Both paths name the same directory entry: nothing to move. (Two hard links are two entries: a move half done.)
    if same_name_key(source.name) == same_name_key(place.name) and source.parent.samefile(place.parent):
        return
    if os.path.lexists(place):  # interrupted between the two steps below
        _check_same(path, place)
        sync_folder(place.parent)
    elif source.is_symlink():
        _copy(path, place, lasting=True)
    else:
        try:
            place.hardlink_to(source)
        except FileExistsError:
            raise _exists_already(place) from None
        except OSError:  # another disk, or one without hard links
            _copy(path, place, lasting=True)
    try:
        source.unlink()
    except OSError as error:
        raise HeadclustError(
            f"cannot move {printable(path)}: {error.strerror}: it stays, and {printable(str(place))} is a copy of it: "
            "make it removable and run the command again, or use --copy with another -o."
        ) from None


def _write_pixels(row: int, table: Table, images: FoundImages, place: Path) -> None:
    try:
        image = images.read(row)
    except DataError as error:
        raise DataError(f"{printable(table.sample_ids[row])}: {error}: fix it, then run the command again.") from None
    with atomic_file(place, publish=_publish, lasting=False) as temporary:
        image.save(temporary, format="PNG")


def _publish(temporary: Path, place: Path) -> None:
    """Rename the complete temporary file to `place`; raise ConflictError if that exists."""
    try:
        place.hardlink_to(temporary)
    except FileExistsError:
        raise _exists_already(place) from None
    except OSError:  # a disk without hard links
        if os.path.lexists(place):
            raise _exists_already(place) from None
        temporary.rename(place)


def _exists_already(place: Path) -> ConflictError:
    return ConflictError(f"{printable(str(place))} exists and is not replaced: choose another place with -o.")
