"""Archives of images, read without unpacking: tar, compressed tar, zip."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from headclust import progress
from headclust.errors import DataError
from headclust.images.datasets.archive_members import Container, resolve_members
from headclust.images.datasets.folder import locate
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.layout import (
    SPLITS,
    check_images,
    choose_split,
    class_folders,
    find_splits,
    infer_classes,
    is_hidden,
    is_image_name,
)
from headclust.images.datasets.tarballs import TarMember, TarReader, looks_like_tar, open_tar
from headclust.images.datasets.zips import read_member, zip_members
from headclust.images.image_file import decode

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".zip")
# A compressed tar has no random access, so its encoded images are held in memory, up to this many bytes.
MAX_HELD = 2**31


class Contents(NamedTuple):
    """Content of an archive, by the names of its members.

    Attributes:
        files: Names of all files that can be read.
        folders: Names of all folders that are members themselves.
        left_out: Number of other members: links, devices, sparse files.
        stamp: Function from an image's name to (size in bytes, a number that changes with the content).
        read: Function from an image's name to its bytes; raises DataError with a one-line reason.
    """

    files: set[str]
    folders: set[str]
    left_out: int
    stamp: Callable[[str], tuple[int, int]]
    read: Callable[[str], bytes]


def open_archive(path: str, split: str | None) -> ImageSet:
    """The images of an archive, listed without unpacking it: the same rows as those of the unpacked folder.

    Images, splits and classes are recognized as in `folder.open_folder`. If everything is in a single folder, as in
    most archives, that folder is the root (one level only, and not if it has the name of a split). Names below
    `__MACOSX/` and names with a leading dot are ignored. Hard links in a tar are followed, other links are not; members
    that are left out are counted in a line on stderr. Of several members with the same name the last counts, as when
    unpacking.

    A tar or zip file is read in place. A compressed tar is read once (twice if an image is a hard link to a file
    without an image's extension), and the images of all its splits are held in memory.

    Args:
        path: The archive; its format is recognized by its content.
        split: Name of the split folder; None or "all" if there are no splits.

    Raises:
        DataError: The file does not exist, it holds no images, a member's name leads outside, or the images of a
            compressed tar are more than `MAX_HELD` bytes.
        FileFormatError: The archive is damaged.
        SettingError: `split` is missing or does not exist.
    """
    archive = locate(path)
    contents = _contents(archive)
    if contents.left_out:
        progress.note(f"{archive}: members left out, because they are links, devices or sparse: {contents.left_out}")
    files, folders, root = _below_single_folder(_visible(contents.files), _visible(contents.folders))
    top_folders = {name.partition("/")[0] for name in folders} | {n.partition("/")[0] for n in files if "/" in n}
    splits = find_splits(top_folders, (name for name in files if "/" not in name))
    split = choose_split(str(archive), splits, split)
    prefix = f"{split}/" if split else ""
    inside = sorted(name for name in files if name.startswith(prefix))
    ids = tuple(filter(is_image_name, inside))
    check_images(archive, ids, [name for name in inside if not is_image_name(name)])
    others = {other: class_folders(_images_below(f"{other}/", files)) for other in splits if other != split}
    labels, class_names = infer_classes(_images_below(prefix, ids), others, split)
    return ImageSet(
        dataset=_stem(archive.name),
        split=split or "all",
        source=str(archive),
        sample_ids=ids,
        labels=labels,
        class_names=class_names,
        stamps=tuple(contents.stamp(root + name) for name in ids),
        read=lambda i: decode(contents.read(root + ids[i])),
    )


def _contents(archive: Path) -> Contents:
    container = Container.of(archive)
    start = container.read(0, 512)
    if start.startswith((b"PK\3\4", b"PK\5\6")) or (archive.suffix.lower() == ".zip" and not looks_like_tar(start)):
        return _zip_contents(container)
    with open_tar(archive) as (reader, compressed):
        if not compressed:
            return _tar_contents(container, reader)
    return _held_contents(archive)


def _zip_contents(container: Container) -> Contents:
    files, folders, left_out = resolve_members(zip_members(container.path), lambda member: member)
    return Contents(
        set(files),
        folders,
        left_out,
        stamp=lambda name: (files[name].size, files[name].crc),
        read=lambda name: read_member(container, files[name]),
    )


def _tar_contents(container: Container, reader: TarReader) -> Contents:
    spans, folders, left_out = resolve_members(reader, lambda member: (member.offset, member.size))
    return Contents(
        set(spans),
        folders,
        left_out,
        stamp=lambda name: (spans[name][1], container.mtime_ns),
        read=lambda name: container.read(*spans[name]),
    )


def _held_contents(archive: Path, also: Collection[str] = ()) -> Contents:
    """A compressed tar, with its images in memory.

    Args:
        archive: The file.
        also: Other members to hold, because images are hard links to them.
    """
    held = 0

    def take(member: TarMember) -> bytes | str:
        """The content of a member that is held, the name of any other."""
        nonlocal held
        if not _is_visible_image(member.name) and member.name not in also:
            return member.name
        held += member.size
        _check_held(archive, held)
        return reader.data(member)

    with open_tar(archive) as (reader, _):
        files, folders, left_out = resolve_members(reader, take)
    missing = {content for name, content in files.items() if isinstance(content, str) and _is_visible_image(name)}
    if missing - set(also):
        return _held_contents(archive, missing)
    images = {name: content for name, content in files.items() if isinstance(content, bytes)}
    return Contents(
        set(files),
        folders,
        left_out,
        stamp=lambda name: (len(images[name]), zlib.crc32(images[name])),
        read=images.__getitem__,
    )


def _is_visible_image(name: str) -> bool:
    return is_image_name(name) and not is_hidden(name)


def _check_held(archive: Path, held: int) -> None:
    if held > MAX_HELD:
        raise DataError(
            f"{archive} is compressed and holds more than {MAX_HELD} bytes of images, too many to hold in memory: "
            "decompress it to a .tar, which is read in place, or pack it as .zip."
        )


def _visible(names: Iterable[str]) -> set[str]:
    return {name for name in names if name and not is_hidden(name)}


def _below_single_folder(files: set[str], folders: set[str]) -> tuple[set[str], set[str], str]:
    """Files and folders below the single top folder, and that folder with "/"; unchanged if there are several."""
    tops = {name.partition("/")[0] for name in files | folders}
    if len(tops) != 1 or tops & files or tops & set(SPLITS):
        return files, folders, ""
    root = f"{tops.pop()}/"
    return {name.removeprefix(root) for name in files}, {n.removeprefix(root) for n in folders if n != root[:-1]}, root


def _images_below(prefix: str, names: Iterable[str]) -> list[str]:
    """Paths, relative to the folder `prefix`, of the images in it."""
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix) and is_image_name(name)]


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] or "images"
