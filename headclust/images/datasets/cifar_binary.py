"""The official binary files of CIFAR-10 and CIFAR-100, from their folder or from the archive.

Format: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version". A record is the label bytes (CIFAR-100: coarse,
then fine) and 3,072 bytes: a red, a green and a blue plane of 32 rows of 32 pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headclust import progress
from headclust.errors import DataError, FileFormatError, one_line
from headclust.images.datasets.tarballs import open_tar

_PIXELS = 3 * 32 * 32
# The official archives unpack to 184 MB.
_MAX_UNPACKED = 2**29


class BinaryFormat(NamedTuple):
    """Names and sizes of the official files."""

    title: str
    label_limits: tuple[int, ...]  # number of classes per label byte
    files: dict[str, tuple[str, ...]]  # split -> its files, in the order of its rows
    n_records: dict[str, int]  # split -> records per file
    folder: str
    archive: str
    pickled: tuple[str, ...]  # names of files and folders of the Python version

    @property
    def record_bytes(self) -> int:
        """Bytes per image with its labels."""
        return len(self.label_limits) + _PIXELS


CIFAR10 = BinaryFormat(
    title="CIFAR-10",
    label_limits=(10,),
    files={"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
    n_records={"train": 10_000, "test": 10_000},
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
    pickled=("cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1", "test_batch"),
)
CIFAR100 = BinaryFormat(
    title="CIFAR-100",
    label_limits=(20, 100),
    files={"train": ("train.bin",), "test": ("test.bin",)},
    n_records={"train": 50_000, "test": 10_000},
    folder="cifar-100-binary",
    archive="cifar-100-binary.tar.gz",
    pickled=("cifar-100-python", "cifar-100-python.tar.gz", "train", "test"),
)


class Records(NamedTuple):
    """Images of a split: labels (n, label bytes), pixels (n, 3, 32, 32), and (size, mtime_ns) of each row's file."""

    labels: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    stamps: tuple[tuple[int, int], ...]


def read_records(root: Path, form: BinaryFormat, split: str) -> Records:
    """The images of a split, held in memory (CIFAR's train splits: 154 MB). Nothing is unpacked to disk.

    Fewer records than in the official files are accepted, with a line on stderr.

    Args:
        root: The folder of the binary files, a folder that holds that folder or the archive, or the archive.
        form: `CIFAR10` or `CIFAR100`.
        split: "train" or "test".

    Raises:
        DataError: The files are missing, or this is the pickled version.
        FileFormatError: A file is no whole number of records, is too large, or holds a label out of range; or the
            archive is damaged.
    """
    place = _find(root, form)
    names = form.files[split]
    limit = form.n_records[split] * form.record_bytes
    contents = (_from_archive if place.is_file() else _from_folder)(place, form, names, limit)
    parts, stamps = [], list[tuple[int, int]]()
    for name, content in zip(names, contents, strict=True):
        path = place if place.is_file() else place / name
        parts.append(_records(content, f"{place}/{name}", form, limit))
        status = path.stat()
        stamps += [(status.st_size, status.st_mtime_ns)] * len(parts[-1])
    records = np.concatenate(parts)
    official = form.n_records[split] * len(names)
    if len(records) < official:
        progress.note(f"{place}: {len(records)} images in the {split} files; {form.title} has {official}.")
    n_labels = len(form.label_limits)
    return Records(records[:, :n_labels], records[:, n_labels:].reshape(-1, 3, 32, 32), tuple(stamps))


def _find(root: Path, form: BinaryFormat) -> Path:
    """The folder of the binary files, or the archive."""
    if root.is_file():
        if root.name in form.pickled:
            raise _pickled(root, form)
        return root
    names = [name for files in form.files.values() for name in files]
    for place in (root, root / form.folder):
        if any((place / name).is_file() for name in names):
            return place
    if (root / form.archive).is_file():
        return root / form.archive
    for name in form.pickled:
        # Folders named train and test hold classes, only files of these names are pickles.
        if (root / name).is_file() or (name.startswith("cifar") and (root / name).is_dir()):
            raise _pickled(root / name, form)
    raise DataError(
        f"{root} holds no {form.title}: expected SPLIT/CLASS/FILE, or {names[0]} and the other files of {form.archive}."
    )


def _pickled(path: Path, form: BinaryFormat) -> DataError:
    return DataError(
        f"{path} is the pickled version of {form.title}, and unpickling can run any code: "
        f"expected the binary version, {form.archive}."
    )


def _from_folder(place: Path, form: BinaryFormat, names: tuple[str, ...], limit: int) -> list[bytes]:
    contents = []
    for name in names:
        try:
            with (place / name).open("rb") as file:
                contents.append(file.read(limit + 1))
        except FileNotFoundError:
            raise DataError(f"{place} holds no {name}: expected all files of {form.archive}.") from None
        except OSError as error:
            raise DataError(f"{place / name} cannot be read: {one_line(error)}.") from None
    return contents


def _from_archive(place: Path, form: BinaryFormat, names: tuple[str, ...], limit: int) -> list[bytes]:
    contents, others = dict[str, bytes](), set[str]()
    with open_tar(place, max_unpacked=_MAX_UNPACKED) as (reader, _):
        for member in reader:
            name = member.name.rpartition("/")[2]
            if name in names and member.kind == "file":
                contents[name] = reader.data(member._replace(size=min(member.size, limit + 1)))
            else:
                others.add(name)
    if not contents and others.intersection(form.pickled):
        raise _pickled(place, form)
    missing = [name for name in names if name not in contents]
    if missing:
        raise DataError(f"{place} holds no {missing[0]}: expected {form.archive}.")
    return [contents[name] for name in names]


def _records(content: bytes, where: str, form: BinaryFormat, limit: int) -> NDArray[np.uint8]:
    """The records of a file, uint8 (n, record bytes)."""
    size = form.record_bytes
    if len(content) > limit:
        raise FileFormatError(
            f"{where} holds more than {limit} bytes: expected at most {limit // size} records of {size}."
        )
    if not content or len(content) % size:
        raise FileFormatError(
            f"{where} holds {len(content)} bytes: expected a whole number of records of {size} bytes."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    for byte, n_classes in enumerate(form.label_limits):
        wrong = np.flatnonzero(records[:, byte] >= n_classes)
        if len(wrong):
            label = records[wrong[0], byte]
            raise FileFormatError(f"{where}: label {label} in record {wrong[0]}, expected 0 to {n_classes - 1}.")
    return records
