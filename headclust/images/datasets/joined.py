"""Images of several sources as one: those of a first source, and those of folders that were added to it later.

Names of added images start with the name of their source: that of its folder, numbered if the first source has such a
folder. The feature file records [name, source, split, patterns of exclusion] of each as `added`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from headclust.images.datasets.imageset import ImageSet


def joined(first: ImageSet, others: Sequence[tuple[str, ImageSet]]) -> ImageSet:
    """The images of a source, then those of others under their names; unchanged without others.

    Labels are those of the first source; others have a label where their class has the same name.

    Args:
        first: The source.
        others: Name and images of each added source. Images that lie in the folder of the first are left to that.
    """
    if not others:
        return first
    parts = [first, *(named(name, _outside(images, first.source)) for name, images in others)]
    starts = np.cumsum([0, *map(len, parts)]).tolist()

    def read(row: int) -> Image.Image:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        return parts[number].read(row - starts[number])

    unlisted = [folder for images in parts for folder in images.record.get("unlisted", ())]
    return replace(
        first,
        sample_ids=tuple(sample_id for images in parts for sample_id in images.sample_ids),
        labels=None if first.labels is None else np.concatenate([_labels(images, first) for images in parts]),
        stamps=tuple(stamp for images in parts for stamp in images.stamps),
        read=read,
        record={**first.record, **({"unlisted": unlisted} if unlisted else {})},
    )


def named(name: str, images: ImageSet) -> ImageSet:
    """The images of an added source under its name."""
    unlisted = [[f"{name}/{folder}", reason] for folder, reason in images.record.get("unlisted", ())]
    return replace(
        images,
        sample_ids=tuple(f"{name}/{sample_id}" for sample_id in images.sample_ids),
        record={**images.record, **({"unlisted": unlisted} if unlisted else {})},
    )


def _outside(images: ImageSet, source: str) -> ImageSet:
    """The images that do not lie in the folder `source`, where that is inside of theirs."""
    folder, own = Path(source), Path(images.source)
    if not (folder.is_absolute() and folder.is_relative_to(own)):
        return images
    inside = "" if folder == own else f"{folder.relative_to(own).as_posix()}/"
    return images.take(
        np.array([row for row, name in enumerate(images.sample_ids) if not name.startswith(inside)], int)
    )


def _labels(images: ImageSet, first: ImageSet) -> np.ndarray:
    """Labels of images, int64 (n,), in the classes of the first source."""
    if images.labels is None:
        return np.full(len(images), -1)
    number = {name: label for label, name in enumerate(first.class_names)}
    return np.array([*(number.get(name, -1) for name in images.class_names), -1], np.int64)[images.labels]


def added_source(sample_id: str, names: Sequence[str]) -> str:
    """The name of the added source that an image is of; empty if it is of the first source."""
    name, slash, _ = sample_id.partition("/")
    return name if slash and name in names else ""


def free_name(name: str, sample_ids: Sequence[str], taken: Sequence[str]) -> str:
    """`name`, or with -2, -3 ... if the first source has a folder of that name, or another added source has it.

    Args:
        name: The name of a folder.
        sample_ids: Images of the first source, of this file and as listed now.
        taken: Names of added sources.
    """
    used = {sample_id.partition("/")[0] for sample_id in sample_ids} | set(taken)
    number, free = 1, name
    while free in used:
        number += 1
        free = f"{name}-{number}"
    return free
