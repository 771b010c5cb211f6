"""Rules that find images, classes and splits in a list of paths; the same for folders, archives and lists."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from headclust.errors import SettingError
from headclust.images.datasets.ignored import is_image_name
from headclust.progress import note, printable

SPLITS = ("train", "test", "val", "valid", "validation")


def find_splits(
    where: object, folders: Iterable[str], files: Iterable[str], holds_images: Callable[[str], bool]
) -> list[str]:
    """The split folders of a root, sorted; empty if images are outside them, which is noted in a line on stderr.

    Args:
        where: The source, for the message.
        folders: Names of the folders directly below the root, without those that are left out.
        files: Names of the files directly below the root.
        holds_images: Function that returns if a folder holds images, at any depth; not called without a split folder.
    """
    names = set(folders)
    splits = sorted(names.intersection(SPLITS))
    if not splits:
        return []
    outside = next(filter(holds_images, sorted(names.difference(SPLITS))), next(filter(is_image_name, files), None))
    if outside is None:
        return splits
    if len(splits) > 1:  # a single one may be a class
        note(f"{where}: {' and '.join(splits)} are not used as splits, because {outside} is an image, or holds some.")
    return []


def choose_split(where: str, splits: Sequence[str], split: str | None) -> str | None:
    """The split to use: one of `splits`, or None if there are none.

    Args:
        where: The source, for messages.
        splits: Its splits.
        split: The split that the user chose.

    Raises:
        SettingError: `split` is missing or does not exist, or there are no splits.
    """
    if not splits and split not in (None, "all"):
        raise SettingError(f"split {split!r} of {where}: it has no splits; leave --split out.")
    if splits and split not in splits:
        problem = "no split was named" if split is None else f"there is no split {split!r}"
        names = [printable(name) for name in splits[:12]]
        more = ", ..." if len(splits) > 12 else ""
        raise SettingError(
            f"{where} holds {', '.join(names)}{more}, and {problem}: use --split {' or --split '.join(names[:4])}."
        )
    return split if splits else None


def numeric_class_names(labels: np.ndarray) -> tuple[str, ...]:
    """Class names of labels given as numbers: the numbers as text if 0, 1, ... all occur; otherwise empty.

    Args:
        labels: int64 (n,), -1 if unknown.
    """
    values = np.unique(labels[labels >= 0])
    dense = len(values) and values[-1] == len(values) - 1
    return tuple(str(label) for label in values) if dense else ()


def encode_labels(texts: Sequence[str], names: Iterable[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of rows given as class names, and the class names sorted by code point.

    Args:
        texts: Class name per row; empty if it is unknown.
        names: Class names of all rows of all splits.

    Returns:
        int64 (n,), indices into the class names, -1 if unknown; the class names.
    """
    class_names = tuple(sorted(set(names) - {""}))
    index = {"": -1, **{name: label for label, name in enumerate(class_names)}}
    return np.array([index[text] for text in texts], np.int64), class_names


def class_folders(names: Iterable[str]) -> set[str]:
    """Candidate class folders of a split: folders directly below it that hold images; none if it holds images itself.

    Args:
        names: Paths of the images below the split folder (or the root), with "/".
    """
    folders = {name.rpartition("/")[0] for name in names}
    return set() if "" in folders else {folder for folder in folders if "/" not in folder}


def infer_classes(
    names: Sequence[str], others: Mapping[str, Collection[str]], split: str | None = None
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels and class names if subfolders are classes; None and no names otherwise.

    All splits share one list of classes, whichever of them is opened:

    - Folders are classes if a split has at least two of them: `train`, or, if it has fewer, any other split.
    - Every split with one of these folders has classes, and adds its other folders to the list. A split with none of
      these folders has no classes, for example a test set without labels in `test/unknown/FILE`.
    - A split has labels if it has classes and each of its images is exactly one folder deep, as CLASS/FILE.

    Args:
        names: Paths of the images below the split folder (or the root), with "/".
        others: The `class_folders` of each of the other splits.
        split: Name of the split; None if there are no splits.

    Returns:
        int64 (n,), indices into the class names; the class names, sorted by code point.
    """
    own = class_folders(names)
    folders = {**others, split or "": own}
    several = {name: classes for name, classes in folders.items() if len(classes) > 1}
    certain = set().union(*([several["train"]] if "train" in several else several.values()))
    texts = [name.rpartition("/")[0] for name in names]
    if not certain.intersection(own) or not own.issuperset(texts):
        return None, ()
    return encode_labels(texts, set().union(*(classes for classes in folders.values() if certain & set(classes))))
