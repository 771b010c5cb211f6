"""Archives of one-pixel images, each of its own color, and what to ask of them."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from headclust.errors import HeadclustError
from headclust.images.datasets.archives import open_archive

MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz", ".tar.bz2": "w:bz2"}
CLASSES = ("cat/1.png", "cat/2.png", "dog/1.png")


def png(number: int) -> bytes:
    """A pixel of the color (number, 0, 0)."""
    data = io.BytesIO()
    Image.new("RGB", (1, 1), (number, 0, 0)).save(data, format="PNG")
    return data.getvalue()


def tar(path: Path, *names: str, mode: str = "w", **options) -> Path:
    """A tar file of one-pixel images, numbered as listed; names that are no image's hold text."""
    with tarfile.open(path, mode, **options) as archive:
        for number, name in enumerate(names):
            member, data = tarfile.TarInfo(name), png(number) if name.endswith("png") else b"text"
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def zipped(path: Path, *names: str, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """As `tar`, a zip file."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for number, name in enumerate(names):
            info = zipfile.ZipInfo("x")
            info.filename = name  # whatever it is
            archive.writestr(info, png(number) if name.endswith("png") else b"text", method)
    return path


def pack(path: Path, *names: str) -> Path:
    if path.name.endswith(".zip"):
        return zipped(path, *names)
    return tar(path, *names, mode=next(mode for end, mode in MODES.items() if path.name.endswith(end)))


def numbers(images) -> list[int]:
    return [images.read(i).getpixel((0, 0))[0] for i in range(len(images))]


def refusal(path: Path, split: str | None = None) -> str:
    with pytest.raises(HeadclustError) as caught:
        open_archive(str(path), split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tree(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(number))
    return root


def assert_same(found, expected) -> None:
    assert found.sample_ids == expected.sample_ids
    assert found.class_names == expected.class_names
    assert (found.labels is None) == (expected.labels is None)
    assert found.labels is None or found.labels.tolist() == expected.labels.tolist()
    assert numbers(found) == numbers(expected)
