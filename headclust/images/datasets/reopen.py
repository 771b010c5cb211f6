"""Reopening the source of embedded images, and the rows of samples in it by their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headclust.errors import HeadclustError, one_line
from headclust.filenames import storable_name
from headclust.images.datasets import SOURCES, open_source
from headclust.images.datasets.ignored import is_image_name
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.joined import added_source, joined
from headclust.images.datasets.lists import SUFFIXES
from headclust.progress import quiet


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
    """The folder that sample ids are relative to, and the source: that folder itself, a list of paths, or an image.

    `added` holds the folders of added sources, by their names.
    """

    folder: Path
    is_folder: bool
    is_list: bool
    added: Mapping[str, Path] = MappingProxyType({})

    def path(self, sample_id: str) -> Path:
        """The file of an image."""
        name = added_source(sample_id, [*self.added])
        return self.added[name] / sample_id.partition("/")[2] if name else self.folder / sample_id


def separate_files(source: str, recorded: Mapping[str, Any] | None = None) -> SeparateFiles | None:
    """The folder of the image files of a source; None if the images are not separate files.

    Args:
        source: The source recorded in a feature file.
        recorded: The attributes of that file, for the folders of added sources.
    """
    name, colon, below = source.partition(":")
    path = Path(below if colon and name in SOURCES else source)
    is_folder, is_list = path.is_dir(), path.name.lower().endswith(SUFFIXES)
    if not (is_folder or is_list or is_image_name(path.name)):
        return None
    added = {str(name): Path(str(folder)) for name, folder, *_ in (recorded or {}).get("added", ())}
    return SeparateFiles(path if is_folder else path.parent, is_folder, is_list and not is_folder, added)


def reopen(
    source: object, split: str | None, sample_ids: Sequence[str], recorded: Mapping[str, Any] | None = None
) -> Reopened:
    """The images of samples. Sample ids are looked up in the list of the source, never opened as paths.

    Nothing is downloaded, and nothing is noted on stderr.

    Args:
        source: The source recorded in a feature file; any other type than str if it is unknown.
        split: The recorded split.
        sample_ids: Sample ids of a feature file or of an assignments file.
        recorded: The attributes of the feature file, for the images with exactly the rows and labels of the file; None
            if the order of the images and their labels do not matter.
    """
    missing = np.full(len(sample_ids), -1, np.int64)
    if not isinstance(source, str):
        return Reopened(None, missing, "the features were imported, and do not record where the images are.")
    try:
        with quiet():
            images = open_again(source, split, recorded or {})
            images = joined(images, open_added(recorded or {})[0])
    except HeadclustError as error:
        return Reopened(None, missing, one_line(error))
    row_of = {storable_name(name): row for row, name in enumerate(images.sample_ids)}
    return Reopened(images, np.array([row_of.get(storable_name(name), -1) for name in sample_ids], np.int64))


def open_again(source: str, split: str | None, recorded: Mapping[str, Any]) -> ImageSet:
    """The images of a source, without those of added sources; nothing is downloaded.

    Args:
        source: The source recorded in a feature file.
        split: The recorded split.
        recorded: The attributes of the feature file.

    Raises:
        HeadclustError: The source cannot be opened.
    """
    return open_source(source, split, offline=True, **_options(recorded))


def open_added(recorded: Mapping[str, Any]) -> tuple[list[tuple[str, ImageSet]], dict[str, str]]:
    """Name and images of each added source; and by name, the reasons of those that cannot be opened.

    Args:
        recorded: The attributes of a feature file.
    """
    opened, problems = list[tuple[str, ImageSet]](), dict[str, str]()
    for name, source, split, exclude in recorded.get("added", ()):
        try:
            opened.append((name, open_source(source, split, exclude=exclude, labels="folders", offline=True)))
        except HeadclustError as error:
            problems[name] = one_line(error)
    return opened, problems


def _options(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `open_source` that a feature file records."""
    exclude = recorded.get("exclude")
    return {
        "exclude": [str(pattern) for pattern in exclude] if isinstance(exclude, list | tuple) else [],
        "labels": "none" if recorded.get("labels") == "none" else "folders",
    }
