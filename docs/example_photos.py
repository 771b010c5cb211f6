"""Make the image folders of the tutorials: `python example_photos.py photos new-photos`.

The first has 180 handwritten digits as PNG files in nested folders, and one truncated file. The second has 12 other
digits and 2 crops of photographs. All images come with scikit-learn, so nothing is downloaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

N_PHOTOS, N_NEW = 180, 12


def main() -> None:
    """Write both folders."""
    photos, new = map(Path, sys.argv[1:])
    digits = load_digits().images * 15.9375  # from 0 to 16, to 0 to 255
    for number, digit in enumerate(digits[:N_PHOTOS]):
        place = photos / str(2019 + number % 3) / ("attic" if number % 2 else "cellar")
        save(digit, place / f"IMG_{number:04d}.png")
    whole = (photos / "2019/cellar/IMG_0000.png").read_bytes()
    (photos / "2020/IMG_0500.png").write_bytes(whole[: len(whole) // 2])
    for number, digit in enumerate(digits[-N_NEW:]):
        save(digit, new / f"IMG_{1000 + number}.png")
    for name, scene in zip(("flower", "temple"), reversed(load_sample_images().images), strict=True):
        save(scene[100:300, 200:400], new / f"{name}.png")


def save(pixels: np.ndarray, path: Path) -> None:
    """Write an image of 64 x 64 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC).save(path)


if __name__ == "__main__":
    main()
