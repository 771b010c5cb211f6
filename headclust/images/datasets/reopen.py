"""Reopening the source of embedded images, and the rows of samples in it by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headclust.errors import HeadclustError, one_line
from headclust.filenames import storable_name
from headclust.images.datasets import SOURCES, open_source
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.layout import is_image_name
from headclust.images.datasets.lists import SUFFIXES


@dataclass(frozen=True)
class Reopened:
    """A source in its current state, and the rows of samples in it.

    Attributes:
        images: The images of the source; None if it cannot be opened.
        rows: Row of each sample in `images`, -1 if it is missing, int64 (n_samples,).
        problem: Reason why the source cannot be opened, in one line; empty if it can.
    """

    images: ImageSet | None
    rows: NDArray[np.int64]
    problem: str = ""


class SeparateFiles(NamedTuple):
    """The folder that sample ids are relative to, and the source: that folder itself, a list of paths, or an image."""

    folder: Path
    is_folder: bool
    is_list: bool


def separate_files(source: str) -> SeparateFiles | None:
    """The folder of the image files of a source; None if the images are not separate files."""
    name, colon, below = source.partition(":")
    path = Path(below if colon and name in SOURCES else source)
    is_folder, is_list = path.is_dir(), path.name.lower().endswith(SUFFIXES)
    if not (is_folder or is_list or is_image_name(path.name)):
        return None
    return SeparateFiles(path if is_folder else path.parent, is_folder, is_list and not is_folder)


def reopen(source: object, split: str | None, sample_ids: Sequence[str]) -> Reopened:
    """The images of samples. Sample ids are looked up in the list of the source, never opened as paths.

    Nothing is downloaded.

    Args:
        source: The source recorded in a feature file; any other type than str if it is unknown.
        split: The recorded split.
        sample_ids: Sample ids of a feature file or of an assignments file.
    """
    missing = np.full(len(sample_ids), -1, np.int64)
    if not isinstance(source, str):
        return Reopened(None, missing, "the features were imported, and do not record where the images are.")
    try:
        images = open_source(source, split, offline=True)
    except HeadclustError as error:
        return Reopened(None, missing, one_line(error))
    row_of = {storable_name(name): row for row, name in enumerate(images.sample_ids)}
    return Reopened(images, np.array([row_of.get(storable_name(name), -1) for name in sample_ids], np.int64))
