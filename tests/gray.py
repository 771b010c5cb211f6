"""Images and a model small enough to kill: what the tests of stage 1 embed."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from headclust.embedding import EmbedSettings
from headclust.embedding.embed import embed_images
from headclust.errors import DataError
from headclust.features import load_features
from headclust.images.augment import Target
from headclust.seeding import stream_seed

N = 150


def written(path: Path) -> tuple[int, int, int]:
    """What changes if a file is replaced or written to; the time of access, which reading moves, is left out."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class FakeImages:
    """Image i is one gray level; `bad` rows cannot be read."""

    n: int = N
    bad: tuple[int, ...] = ()
    dataset: str = "gray"
    split: str = "train"
    source: str = "/gray"
    class_names: tuple[str, ...] = ("dark", "light")
    before: Callable[[int], None] = lambda row: None
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def sample_ids(self) -> tuple[str, ...]:
        return tuple(f"{row}.png" for row in range(self.n))

    @property
    def labels(self) -> np.ndarray:
        return np.arange(self.n) % 2

    @property
    def stamps(self) -> tuple[tuple[int, int], ...]:
        return ((10, 20),) * self.n

    def __len__(self) -> int:
        return self.n

    def read(self, row: int) -> Image.Image:
        self.before(row)
        if row in self.bad:
            raise DataError(f"torn after {row} bytes")
        return Image.new("RGB", (9, 9), (row % 251, row // 251, 7))


@dataclass(frozen=True)
class FakePreprocessing:
    record: dict[str, Any] = field(default_factory=lambda: {"input_size": [8, 8], "mean": [0.5] * 3})
    size: tuple[int, int] = (8, 8)

    def pixels(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize(self.size))

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.permute(0, 3, 1, 2).float() / 255


class FakeModel(torch.nn.Module):
    """A convolution for the rounding, and the first pixel to know the image by."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 6, 3, bias=False)
        self.conv.weight = torch.nn.Parameter(torch.randn(6, 3, 3, 3, generator=generator), requires_grad=False)
        self.scale = scale
        self.batches: list[tuple[int, ...]] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.batches.append(tuple(batch.shape))
        marks = batch[:, :, 0, 0] * 255
        return torch.cat([marks, self.conv(batch).mean((2, 3))], 1) * self.scale


class Interrupted(FakeModel):
    """Ctrl-C arrives at the n-th batch."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if len(self.batches) == self.n:
            raise KeyboardInterrupt
        return super().forward(batch)


@dataclass(frozen=True)
class FakeBackbone:
    model: torch.nn.Module = field(default_factory=FakeModel)
    preprocessing: FakePreprocessing = field(default_factory=FakePreprocessing)
    name: str = "fake"
    feature_dim: int = 9
    weights_origin: str = "made here"
    weights_sha256: str = "0" * 64
    feature_point: str = "the end"


def embed(path: Path, images: FakeImages | None = None, backbone: FakeBackbone | None = None, **options: Any) -> Path:
    options = {"batch_size": 8, "device": "cpu", **options}
    return embed_images(images or FakeImages(), backbone or FakeBackbone(), path, EmbedSettings(**options))


def rows_read(path: Path) -> list[int]:
    """Which image each row was made from, told by its features."""
    red, green = load_features(path).all()[:, :2].round().int().T.tolist()
    return [251 * g + r for r, g in zip(red, green, strict=True)]


def shared(n: int) -> np.ndarray:
    """Zeros (n,) that worker processes share with the test."""
    return np.frombuffer(mmap.mmap(-1, n), np.uint8)


def views_drawn(path: Path, view: int) -> list[int]:
    return load_features(path).rows(slice(None), view)[:, 2].round().int().tolist()


def _marked(image: Image.Image, target: Target, generator: np.random.Generator) -> Image.Image:
    """The image, and in its blue the first number of the view's own stream."""
    view = image.resize(target.size)
    view.putpixel((0, 0), (*image.getpixel((0, 0))[:2], int(generator.integers(256))))
    return view


def mark(seed: int, row: int, view: int) -> int:
    return int(np.random.default_rng(stream_seed(seed, 4, row, view)).integers(256))


@dataclass(frozen=True)
class Marked:
    """An augmentation that shows which image and which stream a view came from."""

    def __call__(self, image: Image.Image, target: Target, generator: np.random.Generator) -> Image.Image:
        return _marked(image, target, generator)
