"""Find the images of a run: list their source again and match it to the sample ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from headclust.errors import DataError
from headclust.images.datasets import ImageSet
from headclust.images.datasets.ignored import is_image_name
from headclust.images.datasets.reopen import SeparateFiles, reopen, separate_files
from headclust.images.heif import needing_extra
from headclust.progress import note


@dataclass(frozen=True)
class FoundImages:
    """The images of samples.

    Attributes:
        paths: The absolute path of each sample's file; None if the image is missing or not a separate file.
        folder: The folder that was listed; None if the source is not a folder.
        images: The image source; None if it could not be opened.
        rows: Row of each sample in the source; None if it is not among them.
        are_files: True if the images are separate files, not in an archive or the like.
        split: The split that was listed.
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
            DataError: It is missing or cannot be read.
        """
        row = self.rows[sample]
        if self.images is None or row is None:
            raise DataError("not found at its source")
        return self.images.read(row)


def find_images(
    source: str | None, split: str | None, sample_ids: Sequence[str], recorded: Mapping[str, Any] | None = None
) -> FoundImages:
    """Find the images of samples. Sample ids are looked up in the listing of the source, never used as paths.

    If the source cannot be opened, all paths are None, with a line on stderr. Nothing is downloaded.

    Args:
        source: The source as recorded in a feature file; None if unknown.
        split: Its split.
        sample_ids: Sample ids as in an assignments file.
        recorded: The attributes of the feature file, for its patterns of exclusion and added folders.
    """
    nothing: tuple[None, ...] = (None,) * len(sample_ids)
    if source is None:
        return FoundImages(nothing, None, None, nothing)
    reopened = reopen(source, split, sample_ids, recorded)
    images, rows = reopened.images, tuple(row if row >= 0 else None for row in reopened.rows.tolist())
    if images is None:
        note(f"the images cannot be found: {reopened.problem}")
        return FoundImages(nothing, None, None, rows, split=split)
    if hint := needing_extra(name for name, row in zip(sample_ids, rows, strict=True) if row is None):
        note(f"images that are not found: {rows.count(None):,}; {hint}.")
    files = separate_files(source, recorded)
    if files is None:
        return FoundImages(nothing, None, images, rows, split=split)
    paths = tuple(None if row is None else _file(files, images.sample_ids[row]) for row in rows)
    return FoundImages(paths, files.folder if files.is_folder else None, images, rows, any(paths), split)


def _file(files: SeparateFiles, name: str) -> str | None:
    """The file of a sample, or None. Names that are no image names (such as row numbers) count only in a list."""
    try:
        path = files.path(name)
        return str(path) if (files.is_list or is_image_name(name)) and path.is_file() else None
    except (OSError, ValueError):  # too long, a null character
        return None
