"""Tar shards in the layout of WebDataset, read in place.

Layout: https://github.com/webdataset/webdataset. The files of a sample are consecutive and share their name up to the
first dot: `0001.jpg`, `0001.cls`, `0001.json`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from glob import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from headclust import progress
from headclust.errors import DataError
from headclust.images.datasets.archive_members import Container
from headclust.images.datasets.folder import exists, locate
from headclust.images.datasets.ignored import is_image_name, left_out_at
from headclust.images.datasets.imageset import ImageSet
from headclust.images.datasets.layout import choose_split, find_splits, numeric_class_names
from headclust.images.datasets.tarballs import TarMember, TarReader, open_tar
from headclust.images.datasets.walk import is_folder, visible
from headclust.images.image_file import EXTENSIONS, decode
from headclust.textfiles import read_lines

# Beside the shards or one folder up, one name per line, as in https://huggingface.co/datasets/clip-benchmark/wds_mnist
# (read by https://github.com/LAION-AI/CLIP_benchmark, clip_benchmark/datasets/builder.py).
_CLASS_FILES = ("classnames.txt", "classes.txt")
_RANGE = re.compile(r"\{([0-9]+)\.\.([0-9]+)\}")
_MAX_SHARDS = 1_000_000
_MAX_LABEL_TEXT = 32


class Sample(NamedTuple):
    """An image of a shard.

    Attributes:
        key: Its name in the shard, without extensions.
        offset: Start of the image in the shard, in bytes.
        size: Size of the image, in bytes.
        label: Its label, -1 if there is none.
    """

    key: str
    offset: int
    size: int
    label: int


def open_webdataset(path: str, split: str | None) -> ImageSet:
    """The images of tar shards, ordered by the shards' names and the samples in them.

    A sample is a run of consecutive files that share their name up to the first dot. Its image is the file with an
    image's extension, its label the whole number in `.cls`; other files are ignored. Samples without an image are left
    out and counted in a line on stderr. Sample ids are SHARD/KEY, where SHARD is the shard's name without `.tar`.
    Without any `.cls` there are no labels. Class names are read from `classnames.txt` or `classes.txt`, one per line,
    beside the shards or one folder up; without such a file the numbers are the names.

    Args:
        path: A `.tar` file; a folder of them, or a folder that holds nothing but `train/`, `test/`, ... with them; or,
            if no such path exists, a pattern with `{000..012}` or `*`.
        split: Name of the split folder, by default "train" if it exists; None or "all" if there are no splits.

    Raises:
        DataError: There are no shards, or no samples in them; a name appears twice; a label is no whole number; or a
            class has no name.
        FileFormatError: A shard is damaged, or compressed.
        SettingError: `split` is missing or does not exist.
    """
    source, shards, split = _shards(path, split)
    folder = shards[0].parent
    containers = [Container.of(shard) for shard in shards]
    rows = [(number, sample) for number, shard in enumerate(shards) for sample in _samples(shard)]
    if not rows:
        raise DataError(
            f"webdataset:{path} holds no images: expected samples as KEY{EXTENSIONS[0]} with KEY.cls; a key ends at "
            "the first dot of a name. (For an archive of image folders, use the archive's path as the source.)"
        )
    ids = tuple(f"{_name(shards[number])}/{sample.key}" for number, sample in rows)
    labels = np.fromiter((sample.label for _, sample in rows), np.int64, len(rows))
    labeled = bool((labels >= 0).any())
    return ImageSet(
        dataset=_dataset_name(source),
        split=split or "all",
        source=f"webdataset:{source}",
        sample_ids=ids,
        labels=labels if labeled else None,
        class_names=_class_names(folder, labels) if labeled else (),
        stamps=tuple((sample.size, containers[number].mtime_ns) for number, sample in rows),
        read=lambda i: decode(containers[rows[i][0]].read(rows[i][1].offset, rows[i][1].size)),
    )


def _shards(path: str, split: str | None) -> tuple[str, list[Path], str | None]:
    """The source to reopen the shards from, the shards of the split, and the split."""
    if (_RANGE.search(path) or "*" in path) and not exists(path):
        pattern = str(Path(path).expanduser().absolute())
        choose_split(f"webdataset:{path}", [], split)
        return pattern, _matching(pattern), None
    root = locate(path)
    if not root.is_dir():
        choose_split(str(root), [], split)
        return str(root), [root], None
    shards = _tars(root)
    splits = [] if shards else _splits(root)
    split = choose_split(str(root), splits, "train" if split is None and "train" in splits else split)
    folder = root / split if split else root
    shards = _tars(folder)
    if not shards:
        raise DataError(f"{folder} holds no shards: expected files named .tar.")
    return str(root), shards, split


def _tars(folder: Path) -> list[Path]:
    return sorted(folder / entry.name for entry in visible(folder) if entry.name.endswith(".tar"))


def _matching(pattern: str) -> list[Path]:
    """The shards that match a pattern, with every number of a range, sorted."""
    paths = set[Path]()
    for name in _expanded(pattern):
        matches = [shard for shard in Path("/").glob(name[1:]) if not shard.name.startswith(".")]
        if not matches:
            raise DataError(f"{name}: no such shard, named by webdataset:{pattern}.")
        paths.update(matches)
    shards = {_name(shard): shard for shard in sorted(paths)}
    for shard in sorted(paths):
        if (other := shards[_name(shard)]) != shard:
            raise DataError(
                f"webdataset:{pattern} matches two shards of the same name, {shard} and {other}: sample ids are "
                "SHARD/KEY, so rename one, or embed their folders one by one."
            )
    return list(shards.values())


def _name(shard: Path) -> str:
    return shard.name.removesuffix(".tar")


def _expanded(pattern: str) -> Iterator[str]:
    """The glob patterns of all numbers in the ranges of a pattern; only `*` stays special in them."""
    match = _RANGE.search(pattern)
    if match is None:
        yield escape(pattern).replace("[*]", "*")
        return
    first, last = match.groups()
    if not 0 <= int(last) - int(first) < _MAX_SHARDS:
        raise DataError(f"webdataset:{pattern}: expected a range that counts up, to at most {_MAX_SHARDS} shards.")
    for number in range(int(first), int(last) + 1):
        yield from _expanded(pattern[: match.start()] + str(number).zfill(len(first)) + pattern[match.end() :])


def _splits(root: Path) -> list[str]:
    """The split folders of `root`, if all its shards are in these."""
    folders = [entry.name for entry in visible(root) if is_folder(entry)]
    return find_splits(root, folders, (), lambda name: bool(_tars(root / name)))


def _samples(shard: Path) -> list[Sample]:
    """The images of a shard, in its order."""
    samples, n_without = list[Sample](), 0
    with open_tar(shard) as (reader, compressed):
        if compressed:
            raise DataError(f"{shard} is compressed, but shards are read in place: decompress it first.")
        for key, image, label in _groups(shard, reader):
            if image is None:
                n_without += 1
            else:
                samples.append(Sample(key, image.offset, image.size, label))
    if n_without:
        progress.note(f"{shard}: samples left out, because they have no image: {n_without}")
    return samples


def _groups(shard: Path, reader: TarReader) -> Iterator[tuple[str, TarMember | None, int]]:
    """(key, image, label) of every run of files with the same key."""
    key, image, label, seen = "", None, -1, set[str]()
    for member in reader:
        if member.kind != "file" or left_out_at(member.name):
            continue
        folder, slash, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        if (new_key := folder + slash + stem) != key:
            if key:
                yield key, image, label
            if new_key in seen:
                raise DataError(f"{shard}: sample {new_key!r} appears twice, or its files are not consecutive.")
            seen.add(new_key)
            key, image, label = new_key, None, -1
        if extension.lower() == "cls":
            label = _label(shard, member, reader)
        elif is_image_name(f".{extension}") and "." not in extension:
            if image is not None:
                raise DataError(f"{shard}: sample {key!r} has two images: expected one.")
            image = member
    if key:
        yield key, image, label


def _label(shard: Path, member: TarMember, reader: TarReader) -> int:
    text = reader.data(member).strip() if member.size <= _MAX_LABEL_TEXT else b"..."
    if not re.fullmatch(rb"-1|[0-9]{1,18}", text):
        raise DataError(
            f"{shard}: {member.name!r} holds {text[:_MAX_LABEL_TEXT]!r}: expected a whole number, 0 or more, or -1."
        )
    return int(text)


def _class_names(folder: Path, labels: np.ndarray) -> tuple[str, ...]:
    for file in (place / name for place in (folder, folder.parent) for name in _CLASS_FILES):
        if not os.path.lexists(file):
            continue
        names = tuple(line.strip() for line in read_lines(file))
        if "" in names:
            raise DataError(f"{file}, line {names.index('') + 1} is blank: expected one line per class, from 0 on.")
        if labels.max() >= len(names):
            raise DataError(f"{file} names {len(names)} classes, but a sample has label {labels.max()}.")
        return names
    return numeric_class_names(labels)


def _dataset_name(source: str) -> str:
    """The name of the folder or shard; for a pattern, of its folder."""
    path = Path(source)
    named = path if path.exists() else path.parent
    return named.name.removesuffix(".tar") or "images"
