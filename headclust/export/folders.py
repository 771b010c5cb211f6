"""A folder a group, of links to the images or of copies; or the images themselves, moved.

What lies where is settled by the assignments alone before anything is made, so running it again goes on where it was
stopped. Nothing is ever replaced or deleted, but what `move` has put in its new place.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from headclust.disk import atomic_file, is_temporary, sync_folder, write_atomically, write_errors
from headclust.errors import ConflictError, DataError, HeadclustError
from headclust.export.images import Sources
from headclust.export.table import Table
from headclust.filenames import file_name
from headclust.progress import bar, note, printable

HOW = ("link", "copy", "move")
MARKER = "headclust-export.json"
_LONGEST = 255  # bytes of a name on the disks there are
_LONGEST_GROUP = 100


def write_folders(target: Path, table: Table, sources: Sources, how: str) -> Path:
    """Makes a folder a group below `target`, with every image in its own; returns `target`.

    Images without a file of their own (in archives and the like) are only copied: their pixels, as PNG. Files of one
    name in a group get -2, -3 ... after it.

    Args:
        target: A folder that is not there, is empty, or holds this very export, which is gone on with.
        table: What to export.
        sources: Where the images are.
        how: One of `HOW`.

    Raises:
        ConflictError: Something else is there, or in the way.
        DataError: There is nothing to put there, or an image cannot be read.
        HeadclustError: The disk does not take it.
    """
    with write_errors(target):
        target = target.resolve()
        _check_target(target, sources)
        plan = _plan(table, as_pixels=how == "copy" and not sources.are_files)
        missing = [row for row, place in enumerate(plan) if not _can(how, row, sources) and not _lexists(target, place)]
        if len(missing) == len(plan):
            raise DataError(_nothing(table, sources, how))
        _mark(target, table, sources, how)
        if missing:
            first = printable(table.sample_ids[missing[0]])
            note(f"left out, as no longer where they were: {len(missing)} of {len(plan)} images ({first}).")
        for group in dict.fromkeys(group for group, _ in plan):
            _make_group(target / group)
        left = set(missing)
        # Links to other images first: moved later, those would be gone when it is their turn.
        order = sorted(
            set(range(len(plan))) - left, key=lambda row: (not Path(sources.paths[row] or "").is_symlink(), row)
        )
        with bar(f"{how} images", len(order)) as advance:
            for row in order:
                _put(how, row, table, sources, target / plan[row][0] / plan[row][1])
                advance(1)
        note(f"images in folders: {len(order)}; folders: {len({plan[row][0] for row in order})}.")
    return target


def _can(how: str, row: int, sources: Sources) -> bool:
    return sources.paths[row] is not None or (how == "copy" and sources.rows[row] is not None)


def _nothing(table: Table, sources: Sources, how: str) -> str:
    where = printable(table.source or "a source that is not known")
    if how != "copy" and any(row is not None for row in sources.rows):
        return f"the images in {where} are no files of their own to {how}: say --copy to write them as PNG."
    return f"none of the {len(table)} images is found in {where}: put them back where they were."


# -- What lies where ---------------------------------------------------------------------------------------------------


def _plan(table: Table, *, as_pixels: bool) -> list[tuple[str, str]]:
    """The folder and the name of every sample: the same for the same assignments and groups, whatever is there."""
    names = Names(taken=[MARKER])
    folders = {group: names.free(file_name(group), _LONGEST_GROUP) for group in table.classes}
    within = {group: Names() for group in table.classes}
    return [
        (folders[group], within[group].free(_base_name(name, png=as_pixels), _LONGEST))
        for name, group in zip(table.sample_ids, table.group_of, strict=True)
    ]


class Names:
    """Names in one folder, no two of them alike even where upper and lower case are."""

    def __init__(self, taken: Sequence[str] = ()) -> None:
        self._taken = {_key(name) for name in taken}
        self._next: dict[str, int] = {}

    def free(self, name: str, longest: int) -> str:
        """`name`, or with -2, -3 ... before its suffix; cut to `longest` bytes."""
        stem, suffix = os.path.splitext(name)  # noqa: PTH122  # pathlib would take "a/" and "a" for one
        number = self._next.get(_key(name), 1)
        while True:
            candidate = _cut(stem, suffix if number == 1 else f"-{number}{suffix}", longest)
            number += 1
            if _key(candidate) not in self._taken:
                self._next[_key(name)] = number
                self._taken.add(_key(candidate))
                return candidate


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _cut(stem: str, end: str, longest: int) -> str:
    """`stem` and `end`, of at most `longest` bytes; of `end` its last ones if it alone is longer."""
    tail = os.fsencode(end)[-longest:]
    return os.fsdecode(os.fsencode(stem)[: longest - len(tail)] + tail)


def _base_name(sample_id: str, *, png: bool) -> str:
    """What a sample's file is called: as it is, unless that is no name; of pixels a name that can be printed."""
    name = sample_id.rpartition("/")[2]
    if name in ("", ".", "..") or "\0" in name:
        name = file_name(sample_id)
    return f"{os.path.splitext(printable(name))[0]}.png" if png else name  # noqa: PTH122  # as above


# -- The folder --------------------------------------------------------------------------------------------------------


def _check_target(target: Path, sources: Sources) -> None:
    shown = printable(str(target))
    if os.path.lexists(target) and not target.is_dir():
        raise ConflictError(f"{shown} exists and is no folder: choose another place with -o.")
    if sources.folder is None:
        return
    folder = sources.folder.resolve()  # one that is a link to the export has each image where it would be put
    if target.is_relative_to(folder):
        raise ConflictError(
            f"{shown} lies in {printable(str(sources.folder))}, where the images would be found once more: "
            "choose another place with -o."
        )
    if folder.is_relative_to(target):
        raise ConflictError(f"{shown} holds the images themselves: choose another place with -o.")


def _mark(target: Path, table: Table, sources: Sources, how: str) -> None:
    """Writes down what the folder is an export of, or makes sure that it is one of the same."""
    content = json.dumps([list(table.sample_ids), table.group_of, how, table.source, sources.split]).encode()
    own = {
        "format": "headclust-folders",
        "format_version": 1,
        "how": how,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    marker, shown = target / MARKER, printable(str(target))
    target.mkdir(parents=True, exist_ok=True)
    if all(is_temporary(path) for path in target.iterdir()):  # as a process killed while marking leaves it
        write_atomically(marker, (json.dumps(own, indent=2) + "\n").encode())
    elif not os.path.lexists(marker):
        raise ConflictError(f"{shown} holds other things: choose another place with -o, or an empty folder.")
    elif _read_marker(marker) != own:
        raise ConflictError(f"{shown} holds an export of something else: choose another place with -o.")


def _read_marker(marker: Path) -> Any:
    try:
        return json.loads(marker.read_bytes())
    except ValueError:
        return None


def _make_group(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir()
    if folder.is_symlink() or not folder.is_dir():
        raise ConflictError(f"{printable(str(folder))} is in the way: wanted a folder there, or nothing.")


def _lexists(target: Path, place: tuple[str, str]) -> bool:
    return os.path.lexists(target.joinpath(*place))


# -- One image ---------------------------------------------------------------------------------------------------------


def _put(how: str, row: int, table: Table, sources: Sources, place: Path) -> None:
    path = sources.paths[row]
    if path is None:
        if not os.path.lexists(place):  # what is there was written whole
            _write_pixels(row, table, sources, place)
    elif how == "link":
        _link(path, place)
    elif how == "copy":
        _copy(path, place)
    else:
        _move(path, place)


def _link(path: str, place: Path) -> None:
    try:
        place.symlink_to(path)
    except FileExistsError:
        if not (place.is_symlink() and str(place.readlink()) == path):
            raise _in_the_way(place) from None


def _copy(path: str, place: Path, *, lasting: bool = False) -> None:
    if os.path.lexists(place):
        _check_same(path, place)
        return
    with atomic_file(place, publish=_publish, lasting=lasting) as temporary:
        shutil.copyfile(path, temporary)
        shutil.copystat(path, temporary)


def _check_same(path: str, place: Path) -> None:
    if place.is_symlink() or not place.is_file() or not filecmp.cmp(path, place, shallow=False):
        raise _in_the_way(place)


def _move(path: str, place: Path) -> None:
    """A link is moved as what it leads to, which stays where it is: elsewhere it might lead nowhere."""
    source = Path(path)
    # One file by two ways, so its only copy; whereas a hard link has its own place, and is a move half done.
    if _key(source.name) == _key(place.name) and source.parent.samefile(place.parent):
        return
    if os.path.lexists(place):  # stopped between the two steps below
        _check_same(path, place)
        sync_folder(place.parent)
    elif source.is_symlink():
        _copy(path, place, lasting=True)
    else:
        try:
            place.hardlink_to(source)
        except FileExistsError:
            raise _in_the_way(place) from None
        except OSError:  # another disk, or one without hard links
            _copy(path, place, lasting=True)
    try:
        source.unlink()
    except OSError as error:
        raise HeadclustError(
            f"cannot move {printable(path)}: {error.strerror}: it stays, and {printable(str(place))} is the same: "
            "let it be removed and run it again, or say --copy and another -o."
        ) from None


def _write_pixels(row: int, table: Table, sources: Sources, place: Path) -> None:
    try:
        image = sources.read(row)
    except DataError as error:
        raise DataError(f"{printable(table.sample_ids[row])}: {error}: mend it, then run it again.") from None
    with atomic_file(place, publish=_publish, lasting=False) as temporary:
        image.save(temporary, format="PNG")


def _publish(temporary: Path, place: Path) -> None:
    """Gives the file its own name, unless that is taken."""
    try:
        place.hardlink_to(temporary)
    except FileExistsError:
        raise _in_the_way(place) from None
    except OSError:  # a disk without hard links
        if os.path.lexists(place):
            raise _in_the_way(place) from None
        temporary.rename(place)


def _in_the_way(place: Path) -> ConflictError:
    return ConflictError(f"{printable(str(place))} is in the way and not replaced: choose another place with -o.")
