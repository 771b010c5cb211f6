"""Archives of images, read without unpacking: tar, compressed tar, zip."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from headclust import progress
from headclust.errors import DataError
from headclust.images.datasets.archive_members import Container, resolve_members
from headclust.images.datasets.exclude import Exclusion
from headclust.images.datasets.folder import locate
from headclust.images.datasets.ignored import Ignored, is_image_name, left_out_at
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.layout import SPLITS, choose_split, class_folders, find_splits, infer_classes
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


def open_archive(path: str, split: str | None, exclusion: Exclusion | None = None) -> ImageSet:
    """The images of an archive, listed without unpacking it: the same rows as those of the unpacked folder.

    Images, splits and classes are recognized as in `folder.open_folder`, and the same names are left out. If all images
    are in a single folder, as in most archives, that folder is the root (one level only, and not if it has the name of
    a split). Hard links in a tar are followed, other links are not; members that are left out are counted in a line on
    stderr. Of several members with the same name the last counts, as when unpacking.

    A tar or zip file is read in place. A compressed tar is read once (twice if an image is a hard link to a file
    without an image's extension), and the images of all its splits are held in memory.

    Args:
        path: The archive; its format is recognized by its content.
        split: Name of the split folder; None or "all" if there are no splits.
        exclusion: Patterns of the files and folders to leave out.

    Raises:
        DataError: The file does not exist, it holds no images, a member's name leads outside, or the images of a
            compressed tar are more than `MAX_HELD` bytes.
        FileFormatError: The archive is damaged.
        SettingError: `split` is missing or does not exist.
    """
    archive, exclusion, ignored = locate(path), exclusion or Exclusion(), Ignored()
    contents = _contents(archive)
    if contents.left_out:
        progress.note(f"{archive}: members left out, because they are links, devices or sparse: {contents.left_out}")
    visible, folders = ignored.visible(contents.files), ignored.visible(contents.folders)
    root = _single_folder(visible, folders)
    ignored.files += [name for name in visible if not name.startswith(root)]
    files = exclusion.remaining({name.removeprefix(root) for name in visible if name.startswith(root)})
    splits = _splits(archive, files, {name.removeprefix(root) for name in folders if name.startswith(root)} - {""})
    split = choose_split(str(archive), splits, split)
    prefix = f"{split}/" if split else ""
    inside = sorted(name for name in files if name.startswith(prefix))
    ids = tuple(filter(is_image_name, inside))
    ignored.files += [name for name in inside if not is_image_name(name)]
    ignored.check_images(archive, len(ids), excluded=exclusion.count)
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
        class_folders=class_names,
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
    return is_image_name(name) and not left_out_at(name)


def _check_held(archive: Path, held: int) -> None:
    if held > MAX_HELD:
        raise DataError(
            f"{archive} is compressed and holds more than {MAX_HELD} bytes of images, too many to hold in memory: "
            "decompress it to a .tar, which is read in place, or pack it as .zip."
        )


def _single_folder(files: Iterable[str], folders: Iterable[str]) -> str:
    """The top folder that is the root, with "/"; empty if images are outside it, or if it has the name of a split.

    Other files or folders may be beside it only if it holds splits or classes, which they would hide otherwise.
    """
    images = [name for name in files if is_image_name(name)]
    tops = {name.partition("/")[:2] for name in images}
    top, slash = tops.pop() if len(tops) == 1 else ("", "")
    if not slash or top in SPLITS:
        return ""
    root = f"{top}/"
    inside = [name.removeprefix(root) for name in images]
    parts = {name.partition("/")[0] for name in inside}
    alone = all(f"{name}/".startswith(root) for name in (*files, *folders))
    return root if alone or parts.intersection(SPLITS) or len(class_folders(inside)) > 1 else ""


def _splits(archive: Path, files: set[str], folders: Iterable[str]) -> list[str]:
    """The split folders of an archive, if all its images are in these."""
    with_images = {name.partition("/")[0] for name in files if "/" in name and is_image_name(name)}
    tops = {name.partition("/")[0] for name in (*folders, *(name for name in files if "/" in name))}
    return find_splits(archive, tops, (name for name in files if "/" not in name), with_images.__contains__)


def _images_below(prefix: str, names: Iterable[str]) -> list[str]:
    """Paths, relative to the folder `prefix`, of the images in it."""
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix) and is_image_name(name)]


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] or "images"
