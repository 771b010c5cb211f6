"""Folders of images, with or without classes and splits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from headclust.errors import DataError, one_line
from headclust.images.datasets.exclude import Exclusion
from headclust.images.datasets.ignored import Ignored
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.layout import SPLITS, choose_split, find_splits, infer_classes
from headclust.images.datasets.unchanged import ListedFiles, file_stamp, folder_identity, folders_of
from headclust.images.datasets.walk import holds_images, image_files, is_folder, is_image_file, visible
from headclust.progress import note


def open_folder(path: str, split: str | None, exclusion: Exclusion | None = None) -> ImageSet:
    """The images of a folder, listed without opening any.

    **Images** are files with one of `image_file.EXTENSIONS`, in any case. Other files, pipes and devices that are named
    like images, and system folders (`ignored.is_system`) are left out and counted in a line on stderr. Names that start
    with a dot are ignored. Links are followed; a folder with several paths is read once, which also ends loops. A
    subfolder that cannot be listed is left out, with a line on stderr, and recorded as `unlisted`. The order is by code
    point of the path, independent of the locale and the file system.

    **Splits.** A folder whose images are all in `train/`, `test/`, `val/`, `valid/` or `validation/` has splits, and
    `split` must name one.

    **Classes.** Subfolders are classes if every image (of the split) is exactly one folder deep, as CLASS/FILE, and
    there are at least two such folders. Any other layout (flat, mixed or deeper) has no labels. All splits share one
    list of classes: see `layout.infer_classes`.

    Args:
        path: The folder.
        split: Name of the split folder; None or "all" if there are no splits.
        exclusion: Patterns of the files and folders to leave out.

    Raises:
        DataError: The folder is missing, not a folder, unreadable, or holds no images.
        SettingError: `split` is missing or does not exist.
    """
    root, exclusion = locate(path), exclusion or Exclusion()
    splits = _splits(root, exclusion)
    images = list_folder(root, choose_split(str(root), splits, split), splits, exclusion)
    if not splits:
        _note_deeper_splits(root, images.sample_ids)
    return replace(images, class_folders=images.class_names)


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


def list_folder(
    root: Path, split: str | None, splits: Sequence[str] = (), exclusion: Exclusion | None = None
) -> ImageSet:
    """The images of a folder, or of one of its split folders, listed without opening any.

    Args:
        root: The absolute folder; sample ids are relative to it.
        split: Name of the split's folder, or None for the whole folder.
        splits: All split folders, which share one list of classes.
        exclusion: Patterns of the files and folders to leave out.

    Raises:
        DataError: The folder cannot be listed, or holds no images.
    """
    ignored, exclusion = Ignored(), exclusion or Exclusion()
    files = sorted(image_files(root, split or "", ignored, exclusion))
    ignored.check_images(root / split if split else root, len(files), excluded=exclusion.count)
    ids = tuple(name for name, _, _ in files)
    prefix = f"{split}/" if split else ""
    others = {other: folders_with_images(root, other, exclusion) for other in splits if other != split}
    labels, class_names = infer_classes([name.removeprefix(prefix) for name in ids], others, split)
    stamps = tuple(stamp for _, stamp, _ in files)
    folders = folders_of(_one_per_folder(root, files))
    listed = ListedFiles(lambda row: f"{root}/{ids[row]}", stamps, folders)
    images = ImageSet(
        dataset=root.name or "images",
        split=split or "all",
        source=str(root),
        sample_ids=ids,
        labels=labels,
        class_names=class_names,
        stamps=stamps,
        read=listed.read,
    )
    return images.recorded(unlisted=[list(item) for item in sorted(ignored.unlisted)]) if ignored.unlisted else images


def _one_per_folder(root: Path, files: Sequence[tuple[str, tuple[int, int], bool]]) -> list[str]:
    """Paths of files that stand for all: the links, and one other file per folder."""
    others = {name.rpartition("/")[0]: name for name, _, is_link in files if not is_link}
    return [f"{root}/{name}" for name in (*others.values(), *(name for name, _, is_link in files if is_link))]


def open_image(path: Path) -> ImageSet:
    """One image, with its file name as sample id.

    Args:
        path: The absolute path of an existing file.
    """
    listed = ListedFiles([str(path)].__getitem__, (file_stamp(str(path)),), folders_of([str(path)]))
    return ImageSet(
        dataset=path.name,
        split="all",
        source=str(path),
        sample_ids=(path.name,),
        labels=None,
        class_names=(),
        stamps=tuple(listed.stamps),
        read=listed.read,
    )


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


def folders_with_images(root: Path, split: str, exclusion: Exclusion | None = None) -> set[str]:
    """The `layout.class_folders` of a split; each folder is listed only up to its first image.

    Raises:
        DataError: The split folder cannot be listed.
    """
    top, exclusion = root / split, exclusion or Exclusion()
    entries = [entry for entry in visible(top) if not _is_excluded(exclusion, root, entry)]
    if any(is_image_file(entry) for entry in entries):
        return set()
    names, seen = set[str](), {folder_identity(top)}
    # Links last, as in `image_files`: a folder is listed under its own name.
    for entry in sorted(filter(is_folder, entries), key=lambda entry: (entry.is_symlink(), entry.name)):
        try:
            identity = folder_identity(entry)
            inner = visible(Path(entry.path))
            if identity not in seen and any(
                is_image_file(file) and not _is_excluded(exclusion, root, file) for file in inner
            ):
                names.add(entry.name)
            seen.add(identity)
        except (DataError, OSError) as error:
            note(f"{entry.path} is no class, because it cannot be listed: {one_line(error.__cause__ or error)}")
    return names


def _is_excluded(exclusion: Exclusion, root: Path, entry: os.DirEntry[str]) -> bool:
    path = os.path.relpath(entry.path, root)
    return exclusion.matches(path, folder=is_folder(entry), count=False)


def _splits(root: Path, exclusion: Exclusion) -> list[str]:
    """The split folders of `root`, if all its images are in these."""
    entries = [entry for entry in visible(root) if not _is_excluded(exclusion, root, entry)]
    folders = {entry.name for entry in entries if is_folder(entry)}
    files = [entry.name for entry in entries if entry.name not in folders]
    return find_splits(root, folders, files, lambda name: holds_images(root / name))


def _note_deeper_splits(root: Path, ids: Sequence[str]) -> None:
    """Note in a line on stderr that all images are in split folders one level deeper, which are not used."""
    parts = [name.split("/") for name in ids]
    tops, folders = {names[0] for names in parts}, {names[1] for names in parts if len(names) > 2}
    if len(tops) == 1 and len(folders) > 1 and folders.issubset(SPLITS) and all(len(names) > 2 for names in parts):
        inner = root / tops.pop()
        note(f"{root}: its {' and '.join(sorted(folders))} are not used as splits: name {inner} to use one of them.")
