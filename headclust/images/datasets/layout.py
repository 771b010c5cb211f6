"""What the shape of a list of paths says: which are images, which folders are classes, which are splits.

One set of rules for folders, for archives, which hold folders without being any, and for lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePath

import numpy as np

from headclust.errors import DataError, SettingError
from headclust.images.image_file import EXTENSIONS
from headclust.progress import note, printable

SPLITS = ("train", "test", "val", "valid", "validation")
# How many kinds of other files a line names, and how much of each suffix.
_KINDS, _SUFFIX_LENGTH = 6, 16


def is_image_name(name: str) -> bool:
    """Whether a file's name ends like an image's, in any case."""
    return name.lower().endswith(EXTENSIONS)


def is_hidden(path: str) -> bool:
    """Whether a file lies at, or below, a name that is no part of the data: it starts with a dot, or is `__MACOSX`.

    Args:
        path: Below the root, with "/".
    """
    return path.startswith((".", "__MACOSX/")) or "/." in path


def other_files(names: Iterable[str]) -> str:
    """How many files these are that are no images by name, and of which kinds; empty for none."""
    kinds = Counter(PurePath(name).suffix.lower() for name in names).most_common()
    kinds.sort(key=lambda kind: (-kind[1], kind[0]))
    if not kinds:
        return ""
    named = [f"{count} {suffix[:_SUFFIX_LENGTH] or 'without a suffix'}" for suffix, count in kinds[:_KINDS]]
    total, rest = sum(count for _, count in kinds), sum(count for _, count in kinds[_KINDS:])
    files = "1 file that is not an image" if total == 1 else f"{total} files that are not images"
    return f"{files} by name: {', '.join(named)}{f', {rest} others' if rest else ''}"


def check_images(where: object, names: Collection[str], ignored: Collection[str]) -> None:
    """Says in a line on stderr which files are ignored.

    Args:
        where: What was listed.
        names: Paths of its images.
        ignored: Names of its other files.

    Raises:
        DataError: There are no images.
    """
    others = other_files(ignored)
    if not names:
        found = f"only {others}" if others else "no files at all"
        raise DataError(f"{where} holds no images, {found}: expected files named {' '.join(EXTENSIONS)}.")
    if others:
        note(f"{where}: ignored {others}")


def splits_of(folders: Iterable[str], files: Iterable[str]) -> list[str]:
    """The split folders of a root, sorted, if it holds nothing else that counts; else an empty list.

    Args:
        folders: Names of the folders right below the root, without hidden ones.
        files: Names of the files right below the root; those that are no images do not matter.
    """
    found = set(folders)
    if not found.issubset(SPLITS) or any(is_image_name(name) for name in files):
        return []
    return sorted(found)


def choose_split(where: str, splits: Sequence[str], split: str | None) -> str | None:
    """The split to take: one of `splits`, or None where there are none.

    Args:
        where: What has the splits, for errors.
        splits: The splits there are.
        split: What was asked for.

    Raises:
        SettingError: It is missing, does not exist, or there are no splits.
    """
    if not splits and split not in (None, "all"):
        raise SettingError(f"split {split!r} of {where}: it has no splits; leave --split out.")
    if splits and split not in splits:
        found = "no split was named" if split is None else f"there is no split {split!r}"
        names = [printable(name) for name in splits[:12]]
        more = ", ..." if len(splits) > 12 else ""
        raise SettingError(
            f"{where} holds {', '.join(names)}{more}, and {found}: say --split {' or --split '.join(names[:4])}."
        )
    return split if splits else None


def number_names(labels: np.ndarray) -> tuple[str, ...]:
    """Names for labels that come as numbers: the numbers as text where 0, 1, ... all occur; else none.

    Args:
        labels: int64 (n,), -1 where unknown.
    """
    known = np.unique(labels[labels >= 0])
    dense = len(known) and known[-1] == len(known) - 1
    return tuple(str(label) for label in known) if dense else ()


def name_labels(texts: Sequence[str], known: Iterable[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels that come as names of classes, and these names sorted by code point.

    Args:
        texts: The name of each row's class; empty where it is unknown.
        known: The names of all rows of all splits.

    Returns:
        int64 (n,), indices into the names, -1 where unknown.
    """
    class_names = tuple(sorted(set(known) - {""}))
    index = {"": -1, **{name: label for label, name in enumerate(class_names)}}
    return np.array([index[text] for text in texts], np.int64), class_names


def class_folders(names: Iterable[str]) -> set[str]:
    """The folders of a split that may be classes: those right below it that hold images; none if it holds some itself.

    Args:
        names: Paths of the images below the split's folder (or the root), with "/".
    """
    folders = {name.rpartition("/")[0] for name in names}
    return set() if "" in folders else {folder for folder in folders if "/" not in folder}


def classes_of(
    names: Sequence[str], others: Mapping[str, Collection[str]], split: str | None = None
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels and class names, where subfolders are classes; None and no names where they are not.

    All splits decide together, and share one list of classes, whichever of them is opened:

    - Folders are classes where a split has at least two of them: `train`, or, where it has not, any other split.
    - Every split that has one of these folders has classes, and adds its other folders to the list. A split of which
      no folder is among them has none, such as a test set without labels, kept as `test/unknown/FILE`.
    - A split has labels if it has classes and every image of it lies exactly one folder deep, as CLASS/FILE.

    Args:
        names: Paths of the images below the split's folder (or the root), with "/".
        others: The `class_folders` of each of the other splits.
        split: Name of the split; None where there are no splits.

    Returns:
        int64 (n,), indices into the names sorted by code point.
    """
    own = class_folders(names)
    folders = {**others, split or "": own}
    several = {name: found for name, found in folders.items() if len(found) > 1}
    sure = set().union(*([several["train"]] if "train" in several else several.values()))
    labels_of = [name.rpartition("/")[0] for name in names]
    if not sure.intersection(own) or not own.issuperset(labels_of):
        return None, ()
    return name_labels(labels_of, set().union(*(found for found in folders.values() if sure.intersection(found))))
