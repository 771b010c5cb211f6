"""Files and folders that a user leaves out of a source, by patterns."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np

from headclust.errors import DataError, SettingError
from headclust.images.datasets.imageset import ImageSet
from headclust.progress import note, printable


class Exclusion:
    """Patterns of the files and folders to leave out, and the number of those that they have matched.

    A pattern without "/" matches a file or folder of that name at any depth; one with "/" matches a path below the
    source. A folder is left out with everything in it; with "/" at its end, a pattern matches folders only. `*`, `?`
    and `[...]` stay within a name, `**` stands for any number of folders. Upper and lower case differ.

    Attributes:
        patterns: The patterns, sorted.
        count: Number of files and folders that are left out so far.

    Args:
        patterns: The patterns; their order and repetitions have no effect.

    Raises:
        SettingError: A pattern is empty, absolute, or leads outside the source.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self.patterns = tuple(sorted(set(patterns)))
        self._matchers = [(_parts(pattern), pattern.endswith("/")) for pattern in self.patterns]
        self._unmatched = set(range(len(self.patterns)))
        self.count = 0

    def matches(self, path: str, *, folder: bool = False, count: bool = True) -> bool:
        """True if a file or folder is left out; the folders that it is in are not checked.

        Args:
            path: Path below the source, with "/".
            folder: True for a folder.
            count: Add it to `count`; False where it is only looked at.
        """
        if not self._matchers:
            return False
        names = unicodedata.normalize("NFC", path).split("/")
        for number, (parts, only_folders) in enumerate(self._matchers):
            if (folder or not only_folders) and _match(parts, names):
                self._unmatched.discard(number)
                self.count += count
                return True
        return False

    def remaining(self, paths: set[str]) -> set[str]:
        """The paths, of files in an archive, that are not left out; a folder that is left out counts once."""
        if not self._matchers:
            return paths
        folders = dict[str, bool]()
        return {path for path in sorted(paths) if not (self._in_excluded(path, folders) or self.matches(path))}

    def _in_excluded(self, path: str, folders: dict[str, bool]) -> bool:
        """True if one of the folders of a path is left out; `folders` holds those that were checked before."""
        folder = path.rpartition("/")[0]
        if not folder:
            return False
        if folder not in folders:
            folders[folder] = self._in_excluded(folder, folders) or self.matches(folder, folder=True)
        return folders[folder]

    def apply(self, images: ImageSet) -> ImageSet:
        """The images that are not left out, by their sample ids; the patterns are recorded.

        Raises:
            DataError: All images are left out.
        """
        if not self.patterns:
            return images
        names = self.remaining(set(images.sample_ids))
        if not names:
            raise DataError(f"{printable(images.source)}: --exclude leaves out all {len(images)} images.")
        if len(names) < len(images):
            note(f"{images.source}: left out {_images(len(images) - len(names))} by --exclude")
            rows = [row for row, name in enumerate(images.sample_ids) if name in names]
            images = images.take(np.array(rows))
        for number in sorted(self._unmatched):
            note(f"--exclude {self.patterns[number]!r} matches nothing in {images.source}")
        return images.recorded(exclude=list(self.patterns))


def _parts(pattern: str) -> tuple[str, ...]:
    """The parts of a pattern between "/"; one that matches at any depth begins with "**"."""
    text = unicodedata.normalize("NFC", pattern)
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not parts or text.startswith(("/", "~")) or ".." in parts or "\0" in text:
        expected = "a name or a path below the source, such as private, '*.gif' or 2021/raw"
        raise SettingError(f"exclude {pattern[:100]!r}: expected {expected}.")
    return ("**", *parts) if "/" not in text.removesuffix("/") else tuple(parts)


def _match(parts: Sequence[str], names: Sequence[str]) -> bool:
    """True if the parts of a pattern match the names of a path."""
    if not parts:
        return not names
    first, *rest = parts
    if first == "**":
        return bool(names) if not rest else any(_match(rest, names[start:]) for start in range(len(names)))
    return bool(names) and (names[0] == first or fnmatchcase(names[0], first)) and _match(rest, names[1:])


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
