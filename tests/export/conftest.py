"""Small folders of images, and tables of samples and their groups."""

import os
from pathlib import Path

import pytest
from PIL import Image

from headclust.export import FoundImages, Table, find_images


def draw(root: Path, *names: str) -> Path:
    """Write images of 3 x 2 pixels; the color of each is (its number in the list, 0, 0)."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            Image.new("RGB", (3, 2), (number, 0, 0)).save(file, format="PNG")
    return root


def number(path: Path) -> int:
    with Image.open(path) as image:
        return image.getpixel((0, 0))[0]


def tree(root: Path) -> dict[str, str | bytes]:
    """Everything below a folder: targets of links, contents of files."""
    entries = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            entries[os.fspath(path.relative_to(root))] = os.fspath(path.readlink())
        elif path.is_file():
            entries[os.fspath(path.relative_to(root))] = path.read_bytes()
    return entries


def make_table(
    images: Path, *ids: str, clusters=None, groups=("one", "two"), split=None, **more
) -> tuple[Table, FoundImages]:
    found_images = find_images(str(images), split, ids)
    clusters = [row % 2 for row in range(len(ids))] if clusters is None else clusters
    shares = [row / len(ids) for row in range(len(ids))]
    names = dict(enumerate(groups))
    return Table(ids, found_images.paths, clusters, names, shares, source=str(images), **more), found_images


NAMES = ("a.png", "b.png", "c.png", "deep/a.png", "deep/er/a.png")


@pytest.fixture
def photos(tmp_path) -> Path:
    return draw(tmp_path / "photos", *NAMES)
