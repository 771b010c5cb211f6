"""Augmented views of an image, each drawn from its own random stream (seed, row, view), so that views are repeatable.

All random numbers come from a NumPy generator and Pillow does the operations, so no global generator is used. A view
depends neither on the worker that draws it nor on earlier views.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from headclust.errors import SettingError, unknown
from headclust.seeding import VIEW_STREAM, stream_seed

_HORIZONTAL, _AFFINE = Image.Transpose.FLIP_LEFT_RIGHT, Image.Transform.AFFINE


@dataclass(frozen=True)
class Target:
    """The input that a backbone needs.

    Args:
        size: (height, width).
        resampling: The backbone's interpolation.
        mean: RGB color, 0 to 255, that the backbone's normalization maps to zero.
    """

    size: tuple[int, int]
    resampling: Image.Resampling
    mean: tuple[int, int, int]

    @staticmethod
    def of(preprocessing: Any) -> Target:
        """The target of a backbone's `Preprocessing`."""
        record = preprocessing.record
        name = str(record.get("interpolation", "bicubic")).upper()
        resampling = Image.Resampling.__members__.get(name, Image.Resampling.BICUBIC)
        red, green, blue = (round(255 * float(value)) for value in record["mean"])
        return Target(preprocessing.size, resampling, (red, green, blue))


class Augmentation(Protocol):
    """A distribution of views; its fields are its settings, which are recorded with the features."""

    def __call__(self, image: Image.Image, target: Target, generator: np.random.Generator) -> Image.Image:
        """A random view of an RGB image, of the target's size."""


@dataclass(frozen=True)
class Standard:
    """Crop, flip, color jitter and gray of SimCLR (https://arxiv.org/abs/2002.05709), as used by SCAN.

    Deviations: no blur (as in SCAN), and crops of at least a fifth of the image.

    Args:
        scale: Range of a crop's area, as a share of the image's area.
        ratio: Range of a crop's aspect ratio, width over height.
        flip_probability: Probability of a horizontal flip.
        jitter: Largest change of brightness, contrast, saturation and hue.
        jitter_probability: Probability of the color jitter.
        gray_probability: Probability of conversion to gray.
    """

    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_probability: float = 0.8
    gray_probability: float = 0.2

    def __call__(self, image: Image.Image, target: Target, generator: np.random.Generator) -> Image.Image:
        """A random view of an RGB image, of the target's size."""
        height, width = target.size
        box = random_crop(image.size, self.scale, self.ratio, generator)
        view = image.crop(box).resize((width, height), target.resampling)
        if generator.random() < self.flip_probability:
            view = view.transpose(_HORIZONTAL)
        if generator.random() < self.jitter_probability:
            view = self._jittered(view, generator)
        if generator.random() < self.gray_probability:
            view = view.convert("L").convert("RGB")
        return view

    def _jittered(self, view: Image.Image, generator: np.random.Generator) -> Image.Image:
        *spans, hue = self.jitter
        factors = [generator.uniform(max(0.0, 1 - span), 1 + span) for span in spans]
        shift = generator.uniform(-hue, hue)
        steps: list[Callable[[Image.Image], Image.Image]] = [
            lambda image: ImageEnhance.Brightness(image).enhance(factors[0]),
            lambda image: ImageEnhance.Contrast(image).enhance(factors[1]),
            lambda image: ImageEnhance.Color(image).enhance(factors[2]),
            lambda image: shift_hue(image, shift),
        ]
        for i in generator.permutation(len(steps)):
            view = steps[i](view)
        return view


@dataclass(frozen=True)
class Strong:
    """SCAN's augmentation for self-labeling: flip, crop, random operations, Cutout.

    Ranges of the operations: https://github.com/wvangansbeke/Unsupervised-Classification, data/augment.py. Sizes of
    crop and Cutout: its configs/selflabel/selflabel_imagenet_50.yml (224 of 256 px; at most 75 of 224 px).

    Deviation: every image is cropped. SCAN does not crop CIFAR images, which have the size of the crop already.

    Args:
        crop: Side of the crop, as a share of the image's shorter side.
        flip_probability: Probability of a horizontal flip.
        n_operations: Number of operations, drawn with replacement.
        operations: Names in `OPERATIONS`, each with its lowest and highest strength.
        cutout: Largest side of the patch, as a share of the view's shorter side.
    """

    crop: float = 224 / 256
    flip_probability: float = 0.5
    n_operations: int = 4
    operations: tuple[tuple[str, float, float], ...] = (
        *(("identity", 0, 1), ("autocontrast", 0, 1), ("equalize", 0, 1)),
        *(("rotate", -30, 30), ("solarize", 0, 256), ("posterize", 4, 8)),
        *((name, 0.05, 0.95) for name in ("color", "contrast", "brightness", "sharpness")),
        *((name, -0.1, 0.1) for name in ("shear x", "shear y", "translate x", "translate y")),
    )
    cutout: float = 75 / 224

    def __call__(self, image: Image.Image, target: Target, generator: np.random.Generator) -> Image.Image:
        """A random view of an RGB image, of the target's size."""
        height, width = target.size
        scale = min(image.width / width, image.height / height) * self.crop
        room = (image.width - scale * width, image.height - scale * height)
        left, top = generator.uniform(0, room[0]), generator.uniform(0, room[1])
        # Rounding must not move the box outside the image.
        box = (left, top, min(image.width, left + scale * width), min(image.height, top + scale * height))
        view = image.resize((width, height), target.resampling, box=box)
        if generator.random() < self.flip_probability:
            view = view.transpose(_HORIZONTAL)
        for i in generator.integers(len(self.operations), size=self.n_operations):
            name, low, high = self.operations[i]
            view = OPERATIONS[name](view, generator.uniform(low, high))
        return self._cut_out(view, target.mean, generator)

    def _cut_out(self, view: Image.Image, color: tuple[int, int, int], generator: np.random.Generator) -> Image.Image:
        half = int(generator.integers(1, max(1, round(self.cutout * min(view.size))), endpoint=True)) // 2
        x, y = (int(generator.integers(side)) for side in view.size)
        box = (max(0, x - half), max(0, y - half), min(view.width, x + half), min(view.height, y + half))
        if half:
            view.paste(color, box)
        return view


def _affine(view: Image.Image, *matrix: float) -> Image.Image:
    return view.transform(view.size, _AFFINE, matrix)


# Pixels from outside the image are black, as in the authors' code.
OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda view, _: view.copy(),
    "autocontrast": lambda view, _: ImageOps.autocontrast(view),
    "equalize": lambda view, _: ImageOps.equalize(view),
    "rotate": lambda view, degrees: view.rotate(degrees),
    "solarize": lambda view, threshold: ImageOps.solarize(view, int(threshold)),
    "color": lambda view, factor: ImageEnhance.Color(view).enhance(factor),
    "contrast": lambda view, factor: ImageEnhance.Contrast(view).enhance(factor),
    "brightness": lambda view, factor: ImageEnhance.Brightness(view).enhance(factor),
    "sharpness": lambda view, factor: ImageEnhance.Sharpness(view).enhance(factor),
    "shear x": lambda view, slope: _affine(view, 1, slope, 0, 0, 1, 0),
    "shear y": lambda view, slope: _affine(view, 1, 0, 0, slope, 1, 0),
    "translate x": lambda view, share: _affine(view, 1, 0, share * view.width, 0, 1, 0),
    "translate y": lambda view, share: _affine(view, 1, 0, 0, 0, 1, share * view.height),
    "posterize": lambda view, bits: ImageOps.posterize(view, int(bits)),
}
AUGMENTATIONS: dict[str, Augmentation] = {"standard": Standard(), "strong": Strong()}


@dataclass(frozen=True)
class Views:
    """Number and kind of the views per image.

    Args:
        n_views: Number of views per image; 0 for none.
        augmentation: A name in `AUGMENTATIONS`.
        seed: Seed of their random streams, >= 0.
        target: The input that the backbone needs.
    """

    n_views: int
    augmentation: str
    seed: int
    target: Target

    def pixels(self, image: Image.Image, row: int, view: int) -> NDArray[np.uint8]:
        """One view, uint8 (height, width, 3).

        Args:
            image: An RGB image.
            row: Its row in the list of images; its views depend on no other image.
            view: 0 to n_views - 1.
        """
        generator = np.random.default_rng(stream_seed(self.seed, VIEW_STREAM, row, view))
        return np.array(AUGMENTATIONS[self.augmentation](image, self.target, generator))

    def record(self) -> dict[str, Any]:
        """Attributes of a feature file about its views; empty without views."""
        if not self.n_views:
            return {}
        settings = asdict(AUGMENTATIONS[self.augmentation])  # type: ignore[call-overload]
        return {"n_views": self.n_views, "augmentation": self.augmentation, "augmentation_settings": settings}


def plan_views(preprocessing: Any, n_views: int, augmentation: str, seed: int) -> Views:
    """The `Views` for a backbone.

    Raises:
        SettingError: The number of views is negative, or the augmentation does not exist.
    """
    if n_views < 0:
        raise SettingError(f"{n_views} views: expected 0 or more.")
    if augmentation not in AUGMENTATIONS:
        raise unknown("augmentation", augmentation, AUGMENTATIONS)
    return Views(n_views, augmentation, seed, Target.of(preprocessing))


def random_crop(
    size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random box (left, top, right, bottom) inside an image, drawn as by torchvision's RandomResizedCrop.

    After ten failed attempts: the largest centered box with an allowed ratio.

    Args:
        size: (width, height) of the image.
        scale: Lowest and highest share of its area.
        ratio: Lowest and highest width over height; drawn uniformly on a logarithmic scale.
        generator: The random generator.
    """
    width, height = size
    for _ in range(10):
        area = width * height * generator.uniform(*scale)
        aspect = float(np.exp(generator.uniform(*np.log(ratio))))
        w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            left, top = (int(generator.integers(room, endpoint=True)) for room in (width - w, height - h))
            return left, top, left + w, top + h
    w = min(width, max(1, round(height * ratio[1])))
    h = min(height, max(1, round(width / ratio[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def shift_hue(image: Image.Image, shift: float) -> Image.Image:
    """An RGB image with its hue rotated by `shift` of the circle, -0.5 to 0.5."""
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int16) + int(shift * 255)).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")
