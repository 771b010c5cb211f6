"""Export to one folder per group: links to the images, copies, or the images themselves, moved.

The place of every image follows from the assignments alone, so a second call resumes an interrupted one. Nothing is
replaced or deleted, except that `move` deletes the original when the image is complete at its new path.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from headclust.disk import is_temporary, write_atomically, write_errors
from headclust.errors import ConflictError, DataError
from headclust.export.images import FoundImages
from headclust.export.one_image import put
from headclust.export.table import Table
from headclust.filenames import LONGEST, folder_name, same_name_key, shorten
from headclust.progress import bar, note, printable

MODES = ("link", "copy", "move")
MARKER = "headclust-export.json"


def write_folders(
    target: Path, table: Table, images: FoundImages, mode: str, more: Mapping[str, Any] = MappingProxyType({})
) -> Path:
    """Write one folder per group below `target`, each image into the folder of its group, and return `target`.

    Images that are not separate files (in archives and the like) can only be copied: their pixels, as PNG. Files
    of the same name in a group get the suffixes -2, -3, ...

    Args:
        target: A folder that does not exist, is empty, or holds this same export, which is then resumed.
        table: The table to export.
        images: The images.
        mode: One of `MODES`.
        more: What the mark of the export records besides.

    Raises:
        ConflictError: `target` holds something else, or a file with the name of an image.
        DataError: None of the images is available, or one cannot be read.
        HeadclustError: A file cannot be written.
    """
    with write_errors(target):
        target = target.resolve()
        _check_target(target, images)
        plan = _plan(table, as_pixels=mode == "copy" and not images.are_files)
        missing = [
            row for row, place in enumerate(plan) if not _is_available(mode, row, images) and not _exists(target, place)
        ]
        if len(missing) == len(plan):
            raise DataError(_nothing_available(table, images, mode))
        _mark(target, table, images, mode, more)
        if missing:
            first = printable(table.sample_ids[missing[0]])
            note(f"left out, as they were not found: {len(missing)} of {len(plan)} images ({first}).")
        for group in dict.fromkeys(group for group, _ in plan):
            _make_group(target / group)
        # Links first: the images that they lead to may be moved as well.
        order = sorted(
            set(range(len(plan))) - set(missing), key=lambda row: (not Path(images.paths[row] or "").is_symlink(), row)
        )
        with bar(f"{mode} images", len(order)) as advance:
            for row in order:
                put(mode, row, table, images, target / plan[row][0] / plan[row][1])
                advance(1)
        _note_changed_names(list(dict.fromkeys(table.group_of)))
        note(f"images in folders: {len(order)}; folders: {len({plan[row][0] for row in order})}.")
    return target


def _is_available(mode: str, row: int, images: FoundImages) -> bool:
    return images.paths[row] is not None or (mode == "copy" and images.rows[row] is not None)


def _nothing_available(table: Table, images: FoundImages, mode: str) -> str:
    source = printable(table.source or "an unknown source")
    if mode != "copy" and any(row is not None for row in images.rows):
        done = {"link": "linked", "move": "moved"}[mode]
        return f"the images in {source} are not separate files and cannot be {done}: use --copy to write PNG files."
    return f"none of the {len(table)} images is found in {source}: put them back where they were."


# -- The place of each image -------------------------------------------------------------------------------------------


def _plan(table: Table, *, as_pixels: bool) -> list[tuple[str, str]]:
    """Folder name and file name of each sample; they depend on the assignments and groups only."""
    folders = _folder_names(table.classes)
    within = {group: Names() for group in table.classes}
    places = []
    for sample_id, group in zip(table.sample_ids, table.group_of, strict=True):
        places.append((folders[group], within[group].free(_base_name(sample_id, png=as_pixels))))
    return places


def _folder_names(groups: Sequence[str]) -> dict[str, str]:
    """The folder of each group: its name, except for what file systems forbid, numbered if another has that name."""
    names = Names(taken=[MARKER])
    return {group: names.free(folder_name(group), is_folder=True) for group in groups}


def _note_changed_names(groups: Sequence[str]) -> None:
    changed = {
        group: folder
        for group, folder in _folder_names(groups).items()
        if folder != unicodedata.normalize("NFC", group)
    }
    for group, folder in list(changed.items())[:1]:
        note(
            "folders with another name than their group, as file systems do not allow it or another folder has it: "
            f"{len(changed)} ({group} is in {folder})."
        )


class Names:
    """The names used in a folder; no two of them differ only in case, composition or invisible characters."""

    def __init__(self, taken: Sequence[str] = ()) -> None:
        self._taken = {same_name_key(name) for name in taken}
        self._next: dict[str, int] = {}

    def free(self, name: str, max_bytes: int = LONGEST, *, is_folder: bool = False) -> str:
        """`name`, cut to `max_bytes`, with -2, -3, ... if it is taken: before its suffix, or last. It is then taken."""
        suffix = "" if is_folder else os.path.splitext(name)[1]  # noqa: PTH122  # pathlib would treat "a/" as "a"
        suffix = suffix if len(os.fsencode(suffix)) <= max_bytes // 4 else ""  # a longer one is no ending
        stem, key = name.removesuffix(suffix), same_name_key(name)
        number = self._next.get(key, 1)
        while True:
            end = suffix if number == 1 else f"-{number}{suffix}"
            candidate = shorten(stem, max_bytes - len(os.fsencode(end))) + end
            number += 1
            if same_name_key(candidate) not in self._taken:
                self._next[key] = number
                self._taken.add(same_name_key(candidate))
                return candidate


def _base_name(sample_id: str, *, png: bool) -> str:
    """File name of a sample: the last part of its id, made valid if it is no file name; valid everywhere if `png`."""
    name = sample_id.rpartition("/")[2]
    if name in ("", ".", "..") or "\0" in name:
        name = folder_name(sample_id)
    return f"{folder_name(os.path.splitext(name)[0])}.png" if png else name  # noqa: PTH122  # as above


# -- The folder --------------------------------------------------------------------------------------------------------


def _check_target(target: Path, images: FoundImages) -> None:
    shown = printable(str(target))
    if os.path.lexists(target) and not target.is_dir():
        raise ConflictError(f"{shown} exists and is not a folder: choose another place with -o.")
    if images.folder is None:
        return
    folder = images.folder.resolve()  # it may be a link to the export itself
    if target.is_relative_to(folder):
        raise ConflictError(
            f"{shown} lies in the image folder {printable(str(images.folder))}, where every image would then be listed "
            "twice: choose another place with -o."
        )
    if folder.is_relative_to(target):
        raise ConflictError(f"{shown} contains the image folder: choose another place with -o.")


def _mark(
    target: Path, table: Table, images: FoundImages, mode: str, more: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Write a file that identifies the export into the folder; raise ConflictError if the folder holds another."""
    content = json.dumps([list(table.sample_ids), table.group_of, mode, table.source, images.split]).encode()
    expected = {
        "format": "headclust-folders",
        "format_version": 1,
        "how": mode,
        "sha256": hashlib.sha256(content).hexdigest(),
        **more,
    }
    marker, shown = target / MARKER, printable(str(target))
    target.mkdir(parents=True, exist_ok=True)
    if all(is_temporary(path) for path in target.iterdir()):  # as left by a process killed while writing the marker
        write_atomically(marker, (json.dumps(expected, indent=2) + "\n").encode())
    elif not os.path.lexists(marker):
        raise ConflictError(f"{shown} holds other files: choose another place with -o, or an empty folder.")
    elif _read_marker(marker) != expected:
        raise ConflictError(f"{shown} holds another export: choose another place with -o.")


def _read_marker(marker: Path) -> Any:
    try:
        return json.loads(marker.read_bytes())
    except ValueError:
        return None


def _make_group(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir()
    if folder.is_symlink() or not folder.is_dir():
        raise ConflictError(
            f"{printable(str(folder))} exists and is not a folder: rename it, or choose another place with -o."
        )


def _exists(target: Path, place: tuple[str, str]) -> bool:
    return os.path.lexists(target.joinpath(*place))
