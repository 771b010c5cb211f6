"""Small folders of images, and tables of who is in which group."""

import os
from pathlib import Path

import pytest
from PIL import Image

from headclust.export import Sources, Table, find_images


def draw(root: Path, *names: str) -> Path:
    """Images of 3 x 2 pixels, each of its own color: (number in the list, 0, 0)."""
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
    """Everything below a folder: what links say, what files hold."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[os.fspath(path.relative_to(root))] = os.fspath(path.readlink())
        elif path.is_file():
            found[os.fspath(path.relative_to(root))] = path.read_bytes()
    return found


def make_table(
    images: Path, *ids: str, clusters=None, groups=("one", "two"), split=None, **more
) -> tuple[Table, Sources]:
    sources = find_images(str(images), split, ids)
    clusters = [row % 2 for row in range(len(ids))] if clusters is None else clusters
    shares = [row / len(ids) for row in range(len(ids))]
    return Table(ids, sources.paths, clusters, groups, shares, source=str(images), **more), sources


NAMES = ("a.png", "b.png", "c.png", "deep/a.png", "deep/er/a.png")


@pytest.fixture
def photos(tmp_path) -> Path:
    return draw(tmp_path / "photos", *NAMES)
