"""A run on a folder of small pictures with hostile names."""

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import make_blobs
from PIL import Image

from headclust import verbs, write_features
from headclust.images.datasets import open_source
from headclust.report import read_data

HOSTILE = (
    "<script>document.title='taken'<",
    '"><img src=x onerror=alert(1)>.png',
    "=1+1.png",
    "\x1b[31mred.png",
    "two\nlines.png",
    "%2e%2e%2f.png",
    "{{ 7*7 }}.png",
    "&lt;b&gt;.png",
    "\u202egpj.png",
    "a" * 251 + ".png",
    "$(touch x)`touch y`.png",
    "x</script><b>.png",  # in a folder, x<
)
SIDE = 40


def color_of(number: int) -> tuple[int, int, int]:
    """The color of a picture, far enough from those of the others to survive compression."""
    return (number % 4) * 80, (number // 4 % 4) * 80, (number // 16) * 60


def make_photos(folder: Path, count: int = 60) -> dict[bytes, int]:
    """Write pictures of one color each; return the number of each picture by file name."""
    folder.mkdir()
    numbers = {}
    for number in range(count):
        text = HOSTILE[number] if number < len(HOSTILE) else f"photo {number:03}.png"
        name = b"caf\xe9.png" if number == len(HOSTILE) else text.encode()
        name = name if name.endswith(b".png") else name + b".png"
        numbers[name] = number
        path = os.fsencode(folder) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120  # of bytes
        Image.new("RGB", (SIDE, SIDE // 2 if number % 2 else SIDE), color_of(number)).save(path, "PNG")
    return numbers


class World:
    """A folder of pictures, a feature file of them in another order, and a run on it."""

    def __init__(self, root: Path, labels: bool = True) -> None:
        self.root, self.folder = root, root / "photos"
        self.numbers = make_photos(self.folder)
        images = open_source(str(self.folder))
        order = np.random.default_rng(5).permutation(len(images))
        self.blobs = make_blobs(len(images))
        self.features = write_features(
            root / "photos.h5",
            self.blobs.features,
            sample_ids=[images.sample_ids[row] for row in order],
            labels=self.blobs.labels if labels else None,
            class_names=("<i>ant", "bee", "cat", "dog") if labels else (),
            skipped=[("<b>torn.jpg", "empty file (0 bytes)")],
            dataset="photos",
            backbone="gauss",
            attributes={"source": images.source, "split": "all"},
        )
        self.run = verbs.fit([self.features], method="kmeans", clusters=4, heads=2, output=root / "run")

    def number(self, sample_id: str) -> int:
        """The number of a sample's picture."""
        return self.numbers[os.fsencode(sample_id)]


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> World:
    """One world for all tests; not to be changed."""
    return World(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def bare(tmp_path) -> World:
    """A world without labels."""
    return World(tmp_path, labels=False)


@pytest.fixture
def data(shared):
    """Report data of the shared world, read anew for each test."""
    return read_data(shared.run)
