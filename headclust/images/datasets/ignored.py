"""Files and folders that are left out of a source by their names, and the one line that counts them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from headclust.errors import DataError
from headclust.images.heif import HEIF_EXTENSIONS, heif_is_installed
from headclust.images.image_file import EXTENSIONS
from headclust.progress import note, printable

# Folders of file servers, systems and photo programs: trash, snapshots, thumbnails. In lower case.
_SYSTEM = frozenset(
    {
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@sharebin"),  # Synology
        *("@recycle", "@recently-snapshot", "@transcode", "@__thumb", ".@__thumb", ".@upload_cache"),  # QNAP
        *("$recycle.bin", "system volume information", "$extend"),  # Windows
        *("lost+found", ".zfs", ".snapshot", ".snapshots", "~snapshot", ".recycle", ".recycle.bin"),  # Unix, Samba
        *("__macosx", ".appledouble", ".appledb", ".appledesktop", "network trash folder", "temporary items"),  # macOS
        *(".spotlight-v100", ".fseventsd", ".temporaryitems", ".documentrevisions-v100"),
        *(".thumbnails", ".thumbs", ".thumb", ".dthumb", ".dtrash", ".picasaoriginals", ".photoprism"),
        *(".stversions", ".stfolder", ".sync", ".dropbox.cache", ".tmp.drivedownload", ".tmp.driveupload"),
    }
)
# "RECYCLER" of Windows XP: only as written there, because "recycler" may be a class.
_SYSTEM_NAME = re.compile(r"\.trash(es|ed)?([-_. ].*)?|.*\.(lrdata|lrcat-data)", re.IGNORECASE | re.DOTALL)
_LIBRARY_SUFFIXES = (".photoslibrary", ".photolibrary", ".aplibrary", ".migratedphotolibrary", ".migratedaplibrary")
# The folders of a photo library that hold the photos themselves; the others hold thumbnails and edited copies.
_LIBRARY_PHOTOS = ("originals", "Originals", "Masters")

_RAW = (
    *(".3fr", ".ari", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".drf", ".eip", ".erf"),
    *(".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".ori", ".pef", ".ptx"),
    *(".pxn", ".r3d", ".raf", ".raw", ".rw2", ".rwl", ".rwz", ".sr2", ".srf", ".srw", ".x3f"),
)
_VIDEOS = (
    *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".insv", ".lrv", ".m2t", ".m2ts", ".m4v", ".mkv"),
    *(".mod", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".tod", ".vob", ".webm", ".wmv"),
)
# Kinds of other files named in a message, and characters of each suffix or name.
_KINDS, _LENGTH = 6, 32
_SUFFIX_LENGTH = 16


def is_image_name(name: str) -> bool:
    """True if a file name has the extension of an image that can be read, in any case."""
    name = name.lower()
    return name.endswith(EXTENSIONS) or (name.endswith(HEIF_EXTENSIONS) and heif_is_installed())


def is_system(name: str) -> bool:
    """True if a folder of this name belongs to a file server, a system or a photo program."""
    return name.lower() in _SYSTEM or name == "RECYCLER" or bool(_SYSTEM_NAME.fullmatch(name)) or is_library(name)


def is_library(name: str) -> bool:
    """True if a folder of this name is the library of a photo program."""
    return name.lower().endswith(_LIBRARY_SUFFIXES)


def holds_photos(library: str) -> bool:
    """True if the folder of this name in a photo library holds the photos themselves."""
    return library in _LIBRARY_PHOTOS


def left_out_at(path: str) -> str:
    """The part of a path at which it is left out: up to the first hidden name or system folder; empty if there is none.

    Args:
        path: Path of a file below the root, with "/".
    """
    *folders, name = path.split("/")
    for depth, folder in enumerate(folders, start=1):
        if folder.startswith(".") or is_system(folder):
            return "/".join(folders[:depth])
    return path if name.startswith(".") else ""


@dataclass
class Ignored:
    """Everything that a listing leaves out.

    Attributes:
        files: Names of visible files that are no images by name.
        folders: Paths of system folders, hidden ones among them; other hidden names are not counted.
        special: Number of pipes and devices with the name of an image.
        unlisted: (path, reason) of the folders that cannot be listed.
    """

    files: list[str] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)
    special: int = 0
    unlisted: list[tuple[str, str]] = field(default_factory=list)

    def visible(self, names: Iterable[str]) -> set[str]:
        """The paths of an archive that are neither hidden nor in a system folder; the system folders are counted."""
        visible = set()
        for name in names:
            if place := left_out_at(name):
                if is_system(place.rpartition("/")[2]):
                    self.folders.add(place)
            elif name:
                visible.add(name)
        return visible

    def check_images(self, where: object, n_images: int, *, excluded: int = 0) -> None:
        """Raise if there are no images; note everything that is left out, in a line on stderr.

        Args:
            where: The folder or archive, for messages.
            n_images: Number of its images.
            excluded: Number of its files and folders that the user has excluded.

        Raises:
            DataError: There are no images.
        """
        parts = [*_describe_files(self.files), *self._describe_others(excluded)]
        if not n_images:
            content = f"only {'; '.join(parts)}" if parts else "no files at all"
            library = next(filter(is_library, sorted(self.folders)), None)
            step = f"expected files named {' '.join(EXTENSIONS)}"
            if library and isinstance(where, Path) and where.is_dir():
                step = f"name {printable(library)} itself to use the photos in it"
            raise DataError(f"{where} holds no images, {content}: {step}.")
        if parts:
            note(f"{where}: ignored {'; '.join(parts)}")
        self._note_unlisted(where)

    def _describe_others(self, excluded: int) -> list[str]:
        names = Counter(path.rpartition("/")[2] for path in self.folders)
        return [
            *([_counted(names, "system folder", "system folders", omit_one=True)] if names else []),
            *(
                [f"{_plural(self.special, 'pipe or device', 'pipes or devices')} named like images"]
                if self.special
                else []
            ),
            *([f"{_plural(excluded, 'file or folder', 'files or folders')} by --exclude"] if excluded else []),
        ]

    def _note_unlisted(self, where: object) -> None:
        if self.unlisted:
            count = _plural(len(self.unlisted), "folder that cannot be listed", "folders that cannot be listed")
            path, reason = self.unlisted[0]
            first = f"{printable(path)}: {printable(reason)}"
            step = f"make {'it' if len(self.unlisted) == 1 else 'them'} readable, or use --exclude"
            note(f"{where}: left out {count} ({first}): {step}.")


def _describe_files(names: Iterable[str]) -> list[str]:
    """Numbers and kinds of files that are no images by name, as phrases."""
    kinds = Counter(PurePath(name).suffix.lower() for name in names)
    heif, raw, videos = (
        Counter({kind: count for kind, count in kinds.items() if kind in group})
        for group in (HEIF_EXTENSIONS, _RAW, _VIDEOS)
    )
    others = kinds - heif - raw - videos
    extra = "need the extra `heif` (pip install 'headclust[heif]')"
    phrases = (
        (heif, f"image that {extra.replace('need', 'needs', 1)}", f"images that {extra}"),
        (raw, "raw photo, which is not read", "raw photos, which are not read"),
        (videos, "video", "videos"),
        (others, "file that is not an image by name", "files that are not images by name"),
    )
    return [_counted(counts, *nouns) for counts, *nouns in phrases if counts]


def _counted(kinds: Counter[str], singular: str, plural: str, *, omit_one: bool = False) -> str:
    """A number of things with their most frequent kinds: "3 videos: 2 .mov, 1 .mp4"; the 1 may be omitted."""
    ordered = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    named = [_short(kind) if omit_one and count == 1 else f"{count} {_short(kind)}" for kind, count in ordered[:_KINDS]]
    rest = sum(count for _, count in ordered[_KINDS:])
    return f"{_plural(kinds.total(), singular, plural)}: {', '.join(named)}{f', {rest} others' if rest else ''}"


def _short(kind: str) -> str:
    return kind[: _SUFFIX_LENGTH if kind.startswith(".") else _LENGTH] or "without a suffix"


def _plural(count: int, singular: str, plural: str) -> str:
    return f"1 {singular}" if count == 1 else f"{count} {plural}"
