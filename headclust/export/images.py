"""Where the images of a run are: opened again as they were listed, and matched to sample ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from headclust.errors import DataError
from headclust.images.datasets import SOURCES, ImageSet
from headclust.images.datasets.layout import is_image_name
from headclust.images.datasets.lists import SUFFIXES
from headclust.images.datasets.reopen import reopen
from headclust.progress import note


@dataclass(frozen=True)
class Sources:
    """Images found again.

    Attributes:
        paths: The absolute path of each sample's file; None where it has none of its own, or is gone.
        folder: The folder they were listed in, if it was one.
        images: The source they come from; None where that could not be opened.
        rows: Which row of it each sample is; None where it has it no more.
        are_files: Whether its images are files of their own, and not in an archive or the like.
        split: The split they were looked for in.
    """

    paths: tuple[str | None, ...]
    folder: Path | None
    images: ImageSet | None
    rows: tuple[int | None, ...]
    are_files: bool = False
    split: str | None = None

    def read(self, sample: int) -> Image.Image:
        """The pixels of a sample, RGB.

        Raises:
            DataError: It cannot be read, or is gone.
        """
        row = self.rows[sample]
        if self.images is None or row is None:
            raise DataError("no longer where it was")
        return self.images.read(row)


def find_images(source: str | None, split: str | None, sample_ids: Sequence[str]) -> Sources:
    """Where samples are. Only what the source lists is found: no sample id leads anywhere else.

    A source that cannot be opened costs the paths alone, and a line on stderr. Nothing is downloaded.

    Args:
        source: As a feature file has it; None where it is not known.
        split: Its split.
        sample_ids: As an assignments file has them.
    """
    nothing: tuple[None, ...] = (None,) * len(sample_ids)
    if source is None:
        return Sources(nothing, None, None, nothing)
    found = reopen(source, split, sample_ids)
    images, rows = found.images, tuple(row if row >= 0 else None for row in found.rows.tolist())
    if images is None:
        note(f"the images are not found again: {found.problem}")
        return Sources(nothing, None, None, rows, split=split)
    place = _place(source)
    listed = place.name.lower().endswith(SUFFIXES)
    base = place if place.is_dir() else place.parent
    if not (listed or place.is_dir()):
        return Sources(nothing, None, images, rows, split=split)
    paths = tuple(None if row is None else _file(base, images.sample_ids[row], any_name=listed) for row in rows)
    return Sources(paths, None if listed else base, images, rows, any(paths), split)


def _place(source: str) -> Path:
    name, colon, path = source.partition(":")
    return Path(path if colon and name in SOURCES else source)


def _file(base: Path, name: str, *, any_name: bool) -> str | None:
    """The file of a sample, unless there is none; where rows have numbers for names, a file may be called like one."""
    try:
        path = base / name
        return str(path) if (any_name or is_image_name(name)) and path.is_file() else None
    except (OSError, ValueError):  # too long, a null character
        return None
