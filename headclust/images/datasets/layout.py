"""Rules that find images, classes and splits in a list of paths; the same for folders, archives and lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePath

import numpy as np

from headclust.errors import DataError, SettingError
from headclust.images.image_file import EXTENSIONS
from headclust.progress import note, printable

SPLITS = ("train", "test", "val", "valid", "validation")
# Kinds of other files named in a message, and characters of each suffix.
_KINDS, _SUFFIX_LENGTH = 6, 16


def is_image_name(name: str) -> bool:
    """True if a file name has the extension of an image, in any case."""
    return name.lower().endswith(EXTENSIONS)


def is_hidden(path: str) -> bool:
    """True if a part of the path starts with a dot or the path is below `__MACOSX`: such files are ignored.

    Args:
        path: Path below the root, with "/".
    """
    return path.startswith((".", "__MACOSX/")) or "/." in path


def describe_other_files(names: Iterable[str]) -> str:
    """Number and kinds of files that are no images by name, as a phrase; empty for none."""
    kinds = Counter(PurePath(name).suffix.lower() for name in names).most_common()
    kinds.sort(key=lambda kind: (-kind[1], kind[0]))
    if not kinds:
        return ""
    named = [f"{count} {suffix[:_SUFFIX_LENGTH] or 'without a suffix'}" for suffix, count in kinds[:_KINDS]]
    total, rest = sum(count for _, count in kinds), sum(count for _, count in kinds[_KINDS:])
    files = "1 file that is not an image" if total == 1 else f"{total} files that are not images"
    return f"{files} by name: {', '.join(named)}{f', {rest} others' if rest else ''}"


def check_images(where: object, names: Collection[str], ignored: Collection[str]) -> None:
    """Raise if there are no images; note ignored files in a line on stderr.

    Args:
        where: The folder or archive, for messages.
        names: Paths of its images.
        ignored: Names of its other files.

    Raises:
        DataError: There are no images.
    """
    others = describe_other_files(ignored)
    if not names:
        content = f"only {others}" if others else "no files at all"
        raise DataError(f"{where} holds no images, {content}: expected files named {' '.join(EXTENSIONS)}.")
    if others:
        note(f"{where}: ignored {others}")


def find_splits(folders: Iterable[str], files: Iterable[str]) -> list[str]:
    """The split folders of a root, sorted; empty if the root also holds other folders or images.

    Args:
        folders: Names of the folders directly below the root, without hidden ones.
        files: Names of the files directly below the root; files that are no images are ignored.
    """
    names = set(folders)
    if not names.issubset(SPLITS) or any(is_image_name(name) for name in files):
        return []
    return sorted(names)


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
