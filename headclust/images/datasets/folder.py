"""Folders of images, with or without classes and splits."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from headclust import progress
from headclust.errors import ConflictError, DataError, one_line
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.layout import (
    check_images,
    choose_split,
    find_splits,
    infer_classes,
    is_hidden,
    is_image_name,
)
from headclust.images.image_file import decode


def open_folder(path: str, split: str | None) -> ImageSet:
    """The images of a folder, listed without opening any.

    **Images** are files with one of `image_file.EXTENSIONS`, in any case. Other files, and pipes and devices that are
    named like images, are left out and counted in a line on stderr. Names that start with a dot and `__MACOSX` are
    ignored. Links are followed; a folder with several paths is read once, which also ends loops. The order is by code
    point of the path, independent of the locale and the file system.

    **Splits.** A folder that holds nothing but `train/`, `test/`, `val/`, `valid/` or `validation/` has splits, and
    `split` must name one.

    **Classes.** Subfolders are classes if every image (of the split) is exactly one folder deep, as CLASS/FILE, and
    there are at least two such folders. Any other layout (flat, mixed or deeper) has no labels. All splits share one
    list of classes: see `layout.infer_classes`.

    Args:
        path: The folder.
        split: Name of the split folder; None or "all" if there are no splits.

    Raises:
        DataError: The folder is missing, not a folder, unreadable, or holds no images.
        SettingError: `split` is missing or does not exist.
    """
    root = locate(path)
    splits = _splits(root)
    return list_folder(root, choose_split(str(root), splits, split), splits)


def locate(path: str) -> Path:
    """The absolute path of an existing file or folder, links resolved.

    Raises:
        DataError: It does not exist, or the path is invalid.
    """
    try:
        return Path(path).expanduser().resolve(strict=True)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file or folder.") from None
    except (OSError, ValueError, RuntimeError) as error:  # too long, a null byte, links in a circle, an unknown ~user
        raise DataError(f"{path[:100]!r} cannot be opened: {one_line(error)}.") from None


def exists(path: str) -> bool:
    """True if the path exists; False also for invalid paths."""
    try:
        return bool(path) and Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, an unknown ~user
        return False


def list_folder(root: Path, split: str | None, splits: Sequence[str] = ()) -> ImageSet:
    """The images of a folder, or of one of its split folders, listed without opening any.

    Args:
        root: The absolute folder; sample ids are relative to it.
        split: Name of the split's folder, or None for the whole folder.
        splits: All split folders, which share one list of classes.

    Raises:
        DataError: The folder cannot be listed, or holds no images.
    """
    top = root / split if split else root
    ignored, special = list[str](), list[str]()
    files = sorted(_images(top, ignored, special))
    names = [name for name, _ in files]
    check_images(top, names, ignored)
    if special:
        progress.note(f"{top}: left out, because they are pipes or devices with the name of an image: {len(special)}")
    others = {other: folders_with_images(root / other) for other in splits if other != split}
    labels, class_names = infer_classes(names, others, split)
    prefix = f"{split}/" if split else ""
    ids = tuple(prefix + name for name in names)
    return ImageSet(
        dataset=root.name or "images",
        split=split or "all",
        source=str(root),
        sample_ids=ids,
        labels=labels,
        class_names=class_names,
        stamps=tuple(stamp for _, stamp in files),
        read=checking_folder(top, lambda i: decode(f"{root}/{ids[i]}")),
    )


def open_image(path: Path) -> ImageSet:
    """One image, with its file name as sample id.

    Args:
        path: The absolute path of an existing file.
    """
    status = path.stat()
    return ImageSet(
        dataset=path.name,
        split="all",
        source=str(path),
        sample_ids=(path.name,),
        labels=None,
        class_names=(),
        stamps=((status.st_size, status.st_mtime_ns),),
        read=checking_folder(path.parent, lambda _: decode(str(path))),
    )


def checking_folder(folder: Path, read: Callable[[int], Image.Image]) -> Callable[[int], Image.Image]:
    """`read` with a ConflictError in place of DataError if the folder of the images is gone.

    A folder on another device counts as gone: an unmounted disk leaves an empty folder.
    """
    device = _device(folder)

    def guarded(row: int) -> Image.Image:
        try:
            return read(row)
        except DataError:
            if _device(folder) != device:
                raise ConflictError(
                    f"{folder}, the folder of the images, no longer exists: put it back, and repeat the same command."
                ) from None
            raise

    return guarded


def list_class_folders(
    root: Path, split: str, dataset: str, n_classes: Sequence[int], splits: Sequence[str]
) -> ImageSet:
    """One split, in SPLIT/CLASS/FILE, of a data set with a fixed number of classes.

    The splits are found by name; other files and folders are ignored.

    Args:
        root: The absolute folder.
        split: One of `splits`.
        dataset: Name of the data set, and of its source.
        n_classes: Allowed numbers of classes over all splits.
        splits: Names of the split folders that hold class folders.

    Raises:
        DataError: The folder does not have this layout.
    """
    present = [name for name in splits if (root / name).is_dir()]
    if split not in present:
        raise DataError(f"{root} holds no folder {split!r}: expected {dataset} as SPLIT/CLASS/FILE.")
    images = list_folder(root, split, present)
    if len(images.class_names) not in n_classes:
        expected = " or ".join(map(str, n_classes))
        raise DataError(
            f"{root}: {len(images.class_names)} classes, expected the {expected} of {dataset} as SPLIT/CLASS/FILE."
        )
    return replace(images, dataset=dataset, source=f"{dataset}:{root}")


def folders_with_images(top: Path) -> set[str]:
    """The `layout.class_folders` of a split; each folder is listed only up to its first image.

    Raises:
        DataError: A folder cannot be listed.
    """
    entries = list(visible(top))
    if any(_is_image(entry) for entry in entries):
        return set()
    names, seen = set[str](), {_identity(top)}
    # Links last, as in `_images`: a folder is listed under its own name.
    for entry in sorted(filter(is_folder, entries), key=lambda entry: (entry.is_symlink(), entry.name)):
        identity = _identity(entry)
        if identity not in seen and any(_is_image(inner) for inner in visible(Path(entry.path))):
            names.add(entry.name)
        seen.add(identity)
    return names


def _splits(root: Path) -> list[str]:
    """The split folders of `root`, if it holds only these."""
    entries = list(visible(root))
    folders = {entry.name for entry in entries if is_folder(entry)}
    return find_splits(folders, (entry.name for entry in entries if entry.name not in folders))


def _images(root: Path, ignored: list[str], special: list[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """(path below `root`, (size, mtime_ns)) of every image file, in no particular order.

    Names of other files are appended to `ignored`, those of pipes and devices named like images to `special`.
    """
    seen: set[tuple[int, int]] = set()
    folders, links = [""], list[str]()
    while folders or links:
        # Links are read after all folders, so that a folder is listed under its own name.
        if not folders:
            links.sort(reverse=True)
            folders.append(links.pop())
        below = folders.pop()
        folder = Path(root, below)
        identity = _identity(folder)
        if identity in seen:
            continue
        seen.add(identity)
        for entry in visible(folder):
            name = f"{below}/{entry.name}" if below else entry.name
            if is_folder(entry):
                (links if entry.is_symlink() else folders).append(name)
            elif is_image_name(entry.name):
                if stamp := _stamp(entry):
                    yield name, stamp
                else:
                    special.append(entry.name)
            elif _is_file(entry):
                ignored.append(entry.name)


def visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder without hidden names, in no particular order.

    Raises:
        DataError: The folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not is_hidden(f"{entry.name}/"))
    except FileNotFoundError:
        raise DataError(f"{folder}: no such folder.") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is a file: expected a folder of images.") from None
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {one_line(error)}.") from None


def is_folder(entry: os.DirEntry[str]) -> bool:
    """True if the entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    return is_image_name(entry.name) and not is_folder(entry) and _stamp(entry) is not None


def _device(folder: Path) -> int | None:
    try:
        return folder.stat().st_dev
    except OSError:
        return None


def _identity(folder: Path | os.DirEntry[str]) -> tuple[int, int]:
    """Device and inode of a folder, the same for all of its paths."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    """Size and time of a regular file; (0, 0) for a broken link, which is listed and fails when read; else None."""
    try:
        status = entry.stat()
    except OSError:
        return 0, 0
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
