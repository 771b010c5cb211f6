"""Where images come from: folders, and named sources."""

from __future__ import annotations

from collections.abc import Callable

from headclust.datasets.bundled import open_digits
from headclust.datasets.folder import locate, open_cifar10, open_folder
from headclust.datasets.idx import open_fashion_mnist
from headclust.datasets.imageset import ImageSet
from headclust.errors import DataError, SettingError, unknown

__all__ = ["SOURCES", "ImageSet", "open_source"]

# Sources written NAME:PATH, and what opens them: (path, split) -> ImageSet.
SOURCES: dict[str, Callable[[str, str | None], ImageSet]] = {
    "cifar10": open_cifar10,
    "fashion-mnist": open_fashion_mnist,
}


def open_source(source: str | None, split: str | None = None) -> ImageSet:
    """The images a source names, listed and in a fixed order; no image is opened yet.

    Args:
        source: A folder of images (see `folder.open_folder` for what counts as classes and splits), `cifar10:PATH`,
            `fashion-mnist:PATH`, or `digits`, which is also what None gives. A folder of that name is `./digits`.
        split: For named sources "train" unless said. Folders with splits ask for one; those without have "all".

    Raises:
        SettingError: The source's name or the split does not exist.
        DataError: The folder is missing or holds nothing that can be used.
    """
    if source is None or source == "digits":
        return open_digits(split)
    name, colon, path = source.partition(":")
    if colon and path and name in SOURCES:
        return SOURCES[name](path, split)
    try:
        locate(source)
    except DataError:
        if "/" in name:
            raise
        if name in SOURCES:
            raise SettingError(f"source {name!r} needs its folder: say {name}:PATH.") from None
        kinds = ["digits", *(f"{known}:PATH" for known in SOURCES)]
        raise unknown("source", source[:100], kinds, how="Or a folder of images: there is none of that name.") from None
    return open_folder(source, split)
