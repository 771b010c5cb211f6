"""Sources of images: folders, archives, lists, and named data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from headclust.choices import Labels
from headclust.errors import DataError, SettingError, unknown
from headclust.images.datasets.bundled import open_digits
from headclust.images.datasets.cifar import open_cifar10, open_cifar20, open_cifar100
from headclust.images.datasets.exclude import Exclusion
from headclust.images.datasets.folder import locate, open_folder, open_image
from headclust.images.datasets.idx import open_fashion_mnist
from headclust.images.datasets.ignored import is_image_name
from headclust.images.datasets.imagenet import open_imagenet
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.stl10 import open_stl10
from headclust.images.datasets.subset import read_class_ids
from headclust.images.heif import HEIF_EXTENSIONS, NEEDS_EXTRA

__all__ = ["SOURCES", "ImageSet", "describe_folders", "open_source", "read_class_ids"]


def _open_webdataset(path: str, split: str | None) -> ImageSet:
    from headclust.images.datasets.webdataset import open_webdataset

    return open_webdataset(path, split)


def _open_huggingface(name: str, split: str | None, *, offline: bool) -> ImageSet:
    from headclust.images.datasets.huggingface import open_huggingface

    return open_huggingface(name, split, offline=offline)


# Openers of the sources NAME:PATH: (path, split) -> ImageSet. Those in `_FETCHED` also take `offline`.
SOURCES: dict[str, Callable[..., ImageSet]] = {
    "cifar10": open_cifar10,
    "cifar100": open_cifar100,
    "cifar20": open_cifar20,
    "fashion-mnist": open_fashion_mnist,
    "hf": _open_huggingface,
    "imagenet": open_imagenet,
    "stl10": open_stl10,
    "webdataset": _open_webdataset,
}
_FETCHED = {"hf"}
# Folders that are named in a message, and characters of each.
_NAMES, _LONGEST_NAME = 4, 40


def open_source(
    source: str | None,
    split: str | None = None,
    *,
    classes: Path | None = None,
    exclude: Sequence[str] = (),
    labels: Labels = "folders",
    offline: bool = False,
) -> ImageSet:
    """The images of a source, listed in a fixed order; no image is opened yet.

    Args:
        source: A folder of images (classes and splits as in `folder.open_folder`), an archive of one
            (`archives.SUFFIXES`), a list of paths (`lists.SUFFIXES`), one image, NAME:PATH with a name from `SOURCES`,
            or `digits` (also None). A folder named digits is `./digits`.
        split: "train" by default for named sources. Folders with splits need one; folders without have "all".
        classes: A file with the classes to keep, one per line (see `read_class_ids`); None keeps all images.
        exclude: Patterns of files and folders, or of sample ids, to leave out (see `exclude.Exclusion`).
        labels: "folders": those of the data set, and class subfolders of a folder or an archive; "dataset": only those
            that a named data set, a list or shards record; "none".
        offline: Forbid downloads, which only `hf:` sources make.

    Raises:
        SettingError: The name of the source, the split or a class does not exist, or a pattern is not possible.
        DataError: The source is missing or holds no usable images.
    """
    ids = None if classes is None else read_class_ids(Path(classes))  # first, because listing may take long
    exclusion = Exclusion(exclude)
    images = exclusion.apply(_open(source, split, offline, exclusion))
    if ids is not None:
        images = images.of_classes(ids)
    return images.without_labels() if labels == "none" or (labels == "dataset" and images.class_folders) else images


def describe_folders(images: ImageSet) -> str:
    """The class subfolders of a source, as a phrase with the first of them."""
    folders = images.class_folders
    names = ", ".join(name[:_LONGEST_NAME] for name in folders[:_NAMES])
    return f"{len(folders)} subfolders ({names}{', ...' if len(folders) > _NAMES else ''})"


def _open(source: str | None, split: str | None, offline: bool, exclusion: Exclusion) -> ImageSet:
    if source is None or source == "digits":
        return open_digits(split)
    if not source:
        raise SettingError("the source is empty: expected a folder of images, or a named source such as digits.")
    name, colon, path = source.partition(":")
    if colon and path and name in SOURCES:
        return SOURCES[name](path, split, **({"offline": offline} if name in _FETCHED else {}))
    try:
        place = locate(source)
    except DataError:
        if "/" in name:
            raise
        if name in SOURCES:
            raise SettingError(f"source {name!r} needs its folder: use {name}:PATH.") from None
        kinds = ["digits", *(f"{kind}:PATH" for kind in SOURCES)]
        raise unknown("source", source[:100], kinds, how="There is no folder of that name either.") from None
    return _open_file(source, place, split, exclusion) if place.is_file() else open_folder(source, split, exclusion)


def _open_file(source: str, place: Path, split: str | None, exclusion: Exclusion) -> ImageSet:
    """The images of an archive or of a list, or one image, recognized by the file's name."""
    from headclust.images.datasets import archives, lists

    name = place.name.lower()
    if name.endswith(archives.SUFFIXES):
        return archives.open_archive(source, split, exclusion)
    if name.endswith(lists.SUFFIXES):
        return lists.open_list(source, split)
    if is_image_name(name):
        if split not in (None, "all"):
            raise SettingError(f"split {split!r} of {place}: one image has no splits; leave --split out.")
        return open_image(place)
    if name.endswith(HEIF_EXTENSIONS):  # the extra is not installed
        raise DataError(f"{place} is HEIC, which {NEEDS_EXTRA}.")
    kinds = f"one image, an archive ({' '.join(archives.SUFFIXES)}) or a list of paths ({' '.join(lists.SUFFIXES)})"
    raise DataError(f"{place} is a file of another kind: expected a folder of images, {kinds}.")
