"""Archives of images, read without unpacking: tar, compressed tar, zip."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from headclust import progress
from headclust.errors import DataError
from headclust.images.datasets.archive_members import Container, fold
from headclust.images.datasets.folder import locate
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.layout import (
    SPLITS,
    check_images,
    choose_split,
    class_folders,
    classes_of,
    is_hidden,
    is_image_name,
    splits_of,
)
from headclust.images.datasets.tarballs import TarMember, TarReader, looks_like_tar, open_tar
from headclust.images.datasets.zips import read_member, zip_members
from headclust.images.image_file import decode

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".zip")
# A compressed tar cannot be read from the middle, so its images are held in memory, as they are, up to this.
MAX_HELD = 2**31


class Contents(NamedTuple):
    """What an archive holds, by the names of its members.

    Attributes:
        files: Every file that can be read.
        folders: Every folder that is a member itself.
        left_out: How many members are neither: links, devices, sparse files.
        stamp: (size in bytes, a number that changes with the content) of an image.
        read: An image's bytes; DataError with a one-line reason.
    """

    files: set[str]
    folders: set[str]
    left_out: int
    stamp: Callable[[str], tuple[int, int]]
    read: Callable[[str], bytes]


def open_archive(path: str, split: str | None) -> ImageSet:
    """An archive's images, listed without unpacking it: the same rows as the unpacked folder has.

    What counts as images, splits and classes is told in `folder.open_folder`. A single folder that everything lies in,
    as most archives have one, is taken for the root, once, unless it is called like a split. Names below `__MACOSX/`
    are ignored as those with a leading dot are. Links in the archive are not followed (but hard links in a tar are);
    they are counted in a line on stderr. Of members with the same name the last one counts, as when unpacking.

    A tar or zip file is read in place. A compressed tar is read once (twice where an image in it is a hard link to a
    file that is none by name), and the images of all its splits are held in memory.

    Args:
        path: The archive; what it is is told by its content.
        split: Name of the split folder; None or "all" where there are no splits.

    Raises:
        DataError: There is no such file, it holds no images, a member names a path outside, or the images of a
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
    splits = splits_of(top_folders, (name for name in files if "/" not in name))
    split = choose_split(str(archive), splits, split)
    prefix = f"{split}/" if split else ""
    inside = sorted(name for name in files if name.startswith(prefix))
    ids = tuple(filter(is_image_name, inside))
    check_images(archive, ids, [name for name in inside if not is_image_name(name)])
    others = {other: class_folders(_images_below(f"{other}/", files)) for other in splits if other != split}
    labels, class_names = classes_of(_images_below(prefix, ids), others, split)
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
    files, folders, left_out = fold(zip_members(container.path), lambda member: member)
    return Contents(
        set(files),
        folders,
        left_out,
        stamp=lambda name: (files[name].size, files[name].crc),
        read=lambda name: read_member(container, files[name]),
    )


def _tar_contents(container: Container, reader: TarReader) -> Contents:
    spans, folders, left_out = fold(reader, lambda member: (member.offset, member.size))
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
        """Its content; of what is not held, its name."""
        nonlocal held
        if not _is_wanted(member.name) and member.name not in also:
            return member.name
        held += member.size
        _check_held(archive, held)
        return reader.data(member)

    with open_tar(archive) as (reader, _):
        files, folders, left_out = fold(reader, take)
    missing = {content for name, content in files.items() if isinstance(content, str) and _is_wanted(name)}
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


def _is_wanted(name: str) -> bool:
    return is_image_name(name) and not is_hidden(name)


def _check_held(archive: Path, held: int) -> None:
    if held > MAX_HELD:
        raise DataError(
            f"{archive} is compressed and holds more than {MAX_HELD} bytes of images, which would be held in memory: "
            "decompress it to a .tar, which is read in place, or pack it as .zip."
        )


def _visible(names: Iterable[str]) -> set[str]:
    return {name for name in names if name and not is_hidden(name)}


def _below_single_folder(files: set[str], folders: set[str]) -> tuple[set[str], set[str], str]:
    """Files and folders below the one folder everything lies in, and that folder with a "/"; unchanged without one."""
    tops = {name.partition("/")[0] for name in files | folders}
    if len(tops) != 1 or tops & files or tops & set(SPLITS):
        return files, folders, ""
    root = f"{tops.pop()}/"
    return {name.removeprefix(root) for name in files}, {n.removeprefix(root) for n in folders if n != root[:-1]}, root


def _images_below(prefix: str, names: Iterable[str]) -> list[str]:
    """The images among them that are in the folder of this prefix, by their paths in it."""
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix) and is_image_name(name)]


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] or "images"
