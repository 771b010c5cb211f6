"""Add images that came later to a feature file: only these are embedded, and all other rows keep their bytes.

Row numbers go on where the file ends, so an image has the slot in its batch, and the views, that it would have if the
images were embedded at once in this order. So the grown file has the same rows as one that is made at once, wherever
versions, device and number of threads are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headclust.embedding.again import try_reading
from headclust.embedding.alike import settings_like
from headclust.embedding.embed import embed_blocks, note_unreadable
from headclust.embedding.parts import make_task
from headclust.embedding.settings import EmbedSettings
from headclust.errors import ConflictError, DataError
from headclust.features import (
    Differences,
    Features,
    differences,
    load_features,
    open_staging,
    samples_sha256,
    verify_features,
    write_grown,
)
from headclust.features.assembly import Samples
from headclust.features.lock import writer_lock
from headclust.features.plan import plan_difference
from headclust.features.writing import staging_folder
from headclust.progress import printable

if TYPE_CHECKING:
    from headclust.backbones import Backbone
    from headclust.images.datasets import ImageSet

# Parts of a plan in which later rows have to agree with the others. Versions, device and threads may differ, and are
# recorded.
_SAME = ("backbone", "weights_sha256", "feature_point", "preprocessing", "pixel_rules", "n_views", "augmentation")
_SAME_SETTINGS = ("augmentation_settings", "batch_size", "dtype", "seed", "max_pixels")


@dataclass(frozen=True, eq=False)
class Growth:
    """A feature file and what becomes of it.

    Attributes:
        base: The file as it is.
        images: The images of its source as they are listed now.
        differences: What has changed.
        take: Rows of `images` to embed.
        kept: Rows of `base` to keep.
        forgotten: Names of left-out images that are not listed as such any more, unless they cannot be read again.
    """

    base: Features
    images: ImageSet
    differences: Differences
    take: NDArray[np.int64]
    kept: NDArray[np.int64]
    forgotten: frozenset[str]


def added_images(base: Features, images: ImageSet, differences: Differences) -> Growth:
    """The growth that adds new images, and left-out ones that may be readable now; every row of the file stays."""
    again = frozenset(images.sample_ids[row] for row in differences.again.tolist())
    take = np.sort(np.concatenate([differences.new, differences.again]))
    return Growth(base, images, differences, take, np.arange(base.n_samples), again)


def followed_source(base: Features, images: ImageSet, differences: Differences) -> Growth:
    """The growth after which a file has exactly the images of its source, those that were edited embedded again."""
    changed = {images.sample_ids[row] for row in differences.changed.tolist()}
    again = frozenset(images.sample_ids[row] for row in differences.again.tolist())
    take = np.sort(np.concatenate([differences.new, differences.again, differences.changed]))
    stale = np.array([name in changed for name in base.sample_ids], bool)
    stale[differences.removed] = True
    return Growth(base, images, differences, take, np.flatnonzero(~stale), again | differences.gone)


def compare(base: Features, images: ImageSet, covers: Callable[[str], bool] = lambda name: True) -> Differences:
    """The differences of a feature file and the images of its source; images in unlisted folders are not missing.

    Args:
        base: The file.
        images: The images that are listed now.
        covers: False for the names of images that were not looked for.
    """
    unlisted = tuple(str(folder) for folder, _ in images.record.get("unlisted", ()))  # each ends with "/"

    def in_scope(name: str) -> bool:
        return covers(name) and not name.startswith(unlisted)

    return differences(base, images.sample_ids, images.stamps, images.labels, in_scope)


def readable_again(images: ImageSet, differences: Differences, settings: EmbedSettings) -> Differences:
    """The differences without the left-out images that cannot be read now either.

    Raises:
        DataError: There are such images, and the settings allow none.
    """
    again = differences.again.tolist()
    if not again:
        return differences
    _, reasons = try_reading(images, again, settings, everything=True)
    settings.check_unreadable(images.sample_ids, reasons)
    return replace(differences, again=np.array([row for row in again if row not in reasons], np.int64))


def grow(growth: Growth, backbone: Backbone | None, path: Path, settings: EmbedSettings) -> Features:
    """Make the grown file; return its features. The same call resumes an interrupted one.

    Args:
        growth: What to embed and what to keep.
        backbone: The backbone of the file; None only if there is nothing to embed.
        path: The file to make, usually that of the earlier one, which stays until the new one is complete.
        settings: Device, time-out and what to do with unreadable images; all else is as the file records.

    Raises:
        ConflictError: The backbone or the rules by which files become pixels are others than those of the file.
        DataError: An image cannot be read, if the settings do not allow that, or all rows would be removed.
        HeadclustError: The file cannot be read or written, or another process is writing it.
    """
    base, images = growth.base, growth.images
    _check_intact(base)
    left_out = [image for image in base.left_out if image.sample_id not in growth.forgotten]
    attributes = _recorded(base, images)
    if not len(growth.take):
        if not len(growth.kept):
            raise DataError(f"{printable(images.source)}: none of the images that were embedded is there any more.")
        with writer_lock(staging_folder(path)):
            write_grown(path, base, growth.kept, left_out, Samples((), None, ()), None, attributes)
        return load_features(path)
    assert backbone is not None
    later = images.take(growth.take)
    first = int(base.attributes.get("n_listed", base.n_samples + len(base.left_out)))
    own = replace(
        settings_like(base.attributes, settings),
        n_views=base.n_views,
        augmentation=base.attributes.get("augmentation", settings.augmentation),
        seed=base.attributes.get("seed", 0),
        max_pixels=base.attributes.get("max_pixels"),
    )
    task = make_task(later, backbone, own)
    _check_like(base, task.plan)
    task = replace(task, layout=replace(task.layout, n_listed=first + len(later), first_row=first))
    grows = [base.sha256, len(growth.kept), samples_sha256(later.sample_ids, later.stamps, None)]
    replaces = load_features(path).sha256 if path.exists() else ""
    with open_staging(
        path, {**task.plan, "grows": grows}, task.layout, overwrite=not replaces, replaces=replaces
    ) as staging:
        assert staging is not None
        embed_blocks(_placed(later, first), backbone, task, staging, own)
        samples = Samples(later.sample_ids, _labels(later, attributes["class_names"]), later.stamps)
        staging.finish_grown(base, growth.kept, left_out, samples, attributes)
        bad = {row - first: reason for row, reason in staging.bad.items()}
    note_unreadable(later, path, bad)
    return load_features(path)


def _check_intact(base: Features) -> None:
    assert base.path is not None
    if problems := verify_features(base.path):  # its rows are copied
        raise DataError(problems[0])


def _check_like(base: Features, plan: Mapping[str, Any]) -> None:
    names = (*_SAME, *_SAME_SETTINGS)
    old, new = ({name: part[name] for name in names if part.get(name)} for part in (base.attributes, plan))
    if difference := plan_difference(old, new):
        raise ConflictError(
            f"{printable(str(base.path))} was made with other settings ({difference}): images cannot be added to it; "
            "embed all again with headclust run --overwrite."
        )


def _recorded(base: Features, images: ImageSet) -> dict[str, Any]:
    """The record of the images in the grown file; classes that are new come after the others."""
    names = [*base.class_names]
    if base.labels is not None:
        names += [name for name in images.class_names if name not in names]
    return {"unlisted": [], **images.record, "class_names": names}


def _labels(later: ImageSet, class_names: Sequence[str]) -> NDArray[np.int64] | None:
    """Labels of the later images in the class names of the file, -1 where it has no such class."""
    if later.labels is None or not class_names:
        return None
    number = {name: label for label, name in enumerate(class_names)}
    by_label = np.array([*(number.get(name, -1) for name in later.class_names), -1], np.int64)
    labels: NDArray[np.int64] = by_label[later.labels]
    return labels


def _placed(later: ImageSet, first: int) -> ImageSet:
    """The later images from row `first` on. Slots of earlier rows, of which a block may have some, are black."""
    read, black = later.read, Image.new("RGB", (8, 8))
    return replace(
        later,
        sample_ids=("",) * first + later.sample_ids,
        labels=None,
        stamps=((0, 0),) * first + later.stamps,
        read=lambda row: read(row - first) if row >= first else black,
    )
