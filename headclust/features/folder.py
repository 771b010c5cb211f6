"""A folder of shards as a feature file: `NAME.h5/` with one feature file per shard, and a manifest in their order.

It stands for the one file that would hold all rows, and has the `sha256` of that file. The manifest is not trusted: it
names files in its own folder only, and each has to have the checksum, and the attributes, that belong to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust.errors import FileFormatError, one_line
from headclust.features.format import ContentDigest, encode_attributes, encode_texts
from headclust.features.left_out import LeftOut, stored_kinds
from headclust.features.opened import NEXT_STEP
from headclust.features.reading import Features, load_file
from headclust.features.source import Source, row_blocks
from headclust.progress import printable

FORMAT, FORMAT_VERSION = "headclust-shards", 1
MANIFEST = "manifest.json"
_NAME = re.compile(
    r"[0-9]{1,18}-[0-9]{1,18}\.h5", re.ASCII
)  # rows of the listed images: first, and that after the last
_OWN = ("n_listed", "sha256")  # attributes in which the files differ


@dataclass(frozen=True)
class Part:
    """A file of the folder, as the manifest lists it.

    Args:
        name: Its name.
        sha256: Its checksum.
        n_samples: Its number of rows.
    """

    name: str
    sha256: str
    n_samples: int


@dataclass(frozen=True, eq=False)
class ChainedRows:
    """The rows of several sources, one after the other."""

    sources: Sequence[Source]
    starts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", np.cumsum([0, *map(len, self.sources)]))

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: Any, /) -> NDArray[np.floating[Any]]:
        if isinstance(index, slice) and index.step in (None, 1):
            return self._slice(*index.indices(len(self))[:2])
        numbers = self._numbers(index)
        owner = np.searchsorted(self.starts, numbers, side="right") - 1
        first = self.sources[0][:0]
        rows = np.empty((*numbers.shape, first.shape[1]), first.dtype)
        for source in np.unique(owner).tolist():
            of_source = owner == source
            rows[of_source] = self.sources[source][numbers[of_source] - self.starts[source]]
        return rows

    def _numbers(self, index: Any) -> NDArray[np.int64]:
        """Row numbers, 0 to n - 1, of row numbers, a mask or a slice.

        Raises:
            IndexError: There is no such row.
        """
        n = len(self)
        if isinstance(index, slice):
            return np.arange(*index.indices(n))
        given = np.asarray(index)
        if given.dtype == bool:
            given = np.flatnonzero(given)
        numbers = np.where(given < 0, given + n, given).astype(np.int64)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < n:
            raise IndexError(f"row {given.max()}: expected 0 to {n - 1}")
        return numbers

    def _slice(self, start: int, stop: int) -> NDArray[np.floating[Any]]:
        parts = [
            source[max(start - first, 0) : stop - first]
            for source, first in zip(self.sources, self.starts.tolist(), strict=False)
            if first < stop and start < first + len(source)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([self.sources[0][:0], *parts])


def is_folder(path: Path) -> bool:
    """True if `path` is a folder of shards."""
    return path.is_dir() and (path / MANIFEST).is_file()


def read_manifest(path: Path) -> tuple[str, list[Part]]:
    """The checksum of all content, and the files in their order.

    Raises:
        FileFormatError: The manifest cannot be read, or holds something else than names of files in this folder.
    """
    file = path / MANIFEST
    try:
        content = json.loads(file.read_bytes())
        if (content["format"], content["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"its format is {content['format']!r}, version {content['format_version']!r}")
        parts = [Part(**part) for part in content["files"]]
        for part in parts:
            if not (isinstance(part.name, str) and _NAME.fullmatch(part.name) and type(part.n_samples) is int):
                raise ValueError(f"it names {str(part.name)[:60]!r}, expected FIRST-LAST.h5 and a number of rows")
        if not parts or len({part.name for part in parts}) < len(parts):
            raise ValueError("it names no file, or one twice")
        return str(content["sha256"]), parts
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        name = printable(str(file))
        raise FileFormatError(
            f"{name} is no manifest of shards ({printable(one_line(error))}): {NEXT_STEP}."
        ) from error


def manifest(sha256: str, parts: Sequence[Part]) -> bytes:
    """The bytes of a manifest; arguments as `read_manifest` returns them."""
    files = [vars(part) for part in parts]
    return json.dumps(
        {"format": FORMAT, "format_version": FORMAT_VERSION, "sha256": sha256, "files": files}, indent=1
    ).encode()


def load_folder(path: Path) -> Features:
    """The features in a folder of shards, as those of one file. Rows are read when they are used.

    Raises:
        FileFormatError: The manifest or a file is damaged or missing, or they do not belong together.
    """
    sha256, parts = read_manifest(path)
    files = [_load_part(path, part) for part in parts]
    for file in files[1:]:
        _check_alike(path, file, files[0])
    return replace(joined_files(files), path=path, sha256=sha256, attributes=_attributes(files, sha256))


def _load_part(path: Path, part: Part) -> Features:
    file = path / part.name
    if not file.is_file():
        raise FileFormatError(f"{printable(str(file))} is missing: restore it from a copy, or embed again.")
    features = load_file(file)
    if (features.sha256, features.n_samples) != (part.sha256, part.n_samples):
        raise FileFormatError(
            f"{printable(str(file))} is not the file of the manifest ({features.n_samples} rows, sha256 "
            f"{features.sha256[:12]}; expected {part.n_samples}, {printable(str(part.sha256)[:12])}): {NEXT_STEP}."
        )
    return features


def _check_alike(path: Path, file: Features, first: Features) -> None:
    own, others = ({name: f.attributes[name] for name in f.attributes if name not in _OWN} for f in (file, first))
    shapes = [(f.feature_dim, f.n_views, f.labels is None) for f in (file, first)]
    if own != others or shapes[0] != shapes[1]:
        raise FileFormatError(
            f"{printable(str(file.path))} does not belong to the others in {printable(str(path))}: {NEXT_STEP}."
        )


def joined_files(files: Sequence[Features]) -> Features:
    """Several feature files as one, without its checksum."""
    labels = [file.labels for file in files if file.labels is not None]
    stamps = [file.stamps for file in files if file.stamps is not None]
    return replace(
        files[0],
        sample_ids=tuple(chain.from_iterable(file.sample_ids for file in files)),
        labels=np.concatenate(labels) if labels else None,
        left_out=tuple(chain.from_iterable(file.left_out for file in files)),
        stamps=np.concatenate(stamps) if len(stamps) == len(files) else None,
        attributes=_attributes(files, ""),
        sha256="",
        _open=cache(lambda view: ChainedRows([file.source(view) for file in files])),
    )


def _attributes(files: Sequence[Features], sha256: str) -> dict[str, Any]:
    """The attributes of the one file that would hold the rows of all."""
    attributes = {**files[0].attributes, "sha256": sha256}
    if all("n_listed" in file.attributes for file in files):
        attributes["n_listed"] = sum(file.attributes["n_listed"] for file in files)
    return attributes


def content_sha256(features: Features) -> str:
    """The checksum of a feature file with these features: that of the one file, whatever files they lie in."""
    kinds = _kinds(features.left_out)
    attributes = {**features.attributes, **({"skipped_kinds": kinds} if kinds else {})}
    digest = ContentDigest(encode_attributes(attributes))
    n_samples, dim = features.n_samples, features.feature_dim
    planes: list[tuple[str, tuple[int, ...], range]] = [("features", (n_samples, dim), range(1))]
    if features.n_views:
        planes.append(("views", (features.n_views, n_samples, dim), range(1, 1 + features.n_views)))
    for name, shape, numbers in planes:
        digest.begin(name, features.source()[:0].dtype, shape)
        for rows in chain.from_iterable(_slabs(features, plane - 1 if plane else None) for plane in numbers):
            digest.update(rows)
    skipped = encode_texts(text for pair in features.skipped for text in pair).reshape(-1, 2)
    tables = (("sample_ids", encode_texts(features.sample_ids)), ("labels", features.labels), ("skipped", skipped))
    for name, array in (*tables, ("stamps", features.stamps)):
        if array is not None and len(array):
            digest.begin(name, array.dtype, array.shape)
            digest.update(array)
    return digest.hexdigest()


def _slabs(features: Features, view: int | None) -> Iterator[NDArray[np.floating[Any]]]:
    source = features.source(view)
    return (source[rows] for rows in row_blocks(len(source), features.feature_dim))


def _kinds(left_out: Sequence[LeftOut]) -> list[list[Any]]:
    """The attribute `skipped_kinds`; empty if it is not stored."""
    return stored_kinds((image.reason, image.stamp) for image in left_out if image.stamp is not None)


def files_of(path: Path) -> list[Path]:
    """The files of a folder of shards, in order.

    Raises:
        FileFormatError: The manifest cannot be read.
    """
    return [path / part.name for part in read_manifest(path)[1]]
