"""Small gray copies of images, and how alike two of them are, if one image may be a part of the other.

Features tell what an image shows, so two photos of one scene may have features as alike as those of a photo and its
copy. Copies have the same pixels, except for what encoding, resizing, brightness and a narrow crop change: the
correlation of their small copies is near 1 once one is laid on the part of the other that it shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headclust.progress import bar

SIDE = 96  # pixels of a sketch, which is square whatever the image
_CELLS = 24  # cells that are compared, per side
_SCALES = (1.0, 0.95, 0.9, 0.85, 0.8)  # part of the width, or of the height, that a crop keeps
_OFFSETS = 5  # positions of a window
_STEPS = (0.01, 0.003)  # of a finer search around the best window, of the side: detail needs a close fit
_AROUND = (-2, -1, 0, 1, 2)  # steps
# Correlation of the whole images below which no window is tried, and likeness of the best window below which it is not
# fitted: the lowest of 592 copies (630 made of 70 photos as in benchmarks/duplicates.py) were 0.31 and 0.35.
_HOPELESS = 0.3
_SHARPNESS_SIDE = 256  # pixels of the longer side at which sharpness is measured
_FLAT = 1e-3  # length of a centered vector of cells, per cell, below which an image is of one color

Gray = NDArray[np.uint8]
Cells = NDArray[np.float32]
Window = NDArray[np.float64]  # start and length along rows and along columns, of the side, (2, 2)


def sketch(image: Image.Image) -> Gray:
    """The image in gray, uint8 (SIDE, SIDE)."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian over that of the image, in gray, at 256 pixels of its longer side; 0 for one color."""
    gray = image.convert("L")
    gray.thumbnail((_SHARPNESS_SIDE, _SHARPNESS_SIDE), Image.Resampling.BOX)
    pixels = np.asarray(gray, np.float32)
    if min(pixels.shape) < 3:
        return 0.0
    # Four neighbors minus four times the pixel, (height - 2, width - 2).
    around = pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:]
    # Divided by the variance of the pixels: a copy of more contrast is not sharper.
    return float(np.var(around - 4 * pixels[1:-1, 1:-1]) / max(float(np.var(pixels)), 1.0))


def likenesses(sketches: Mapping[int, Gray], pairs: Collection[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """Correlation of each pair of sketches, -1 to 1, where one is laid on the part of the other that fits it best.

    The part keeps at least 80 % of the width and of the height. It is the smaller of two correlations: of the cells,
    and of their detail, each cell minus the mean of it and its neighbors. Different images of few and smooth shapes,
    such as handwritten digits, have cells as alike as those of copies, but not their detail.

    Args:
        sketches: Sketches by key.
        pairs: Keys of two sketches each.
    """
    whole_side = np.array([0.0, 1.0])  # start and length
    images = {key: sketches[key].astype(np.float32) for key in {key for pair in pairs for key in pair}}
    wholes = {key: _cells(image, whole_side, whole_side) for key, image in images.items()}
    result = {(a, b): _correlation(wholes[a], wholes[b]) for a, b in pairs}
    # The windows of an image are compared with all images it is paired with at once.
    others: dict[int, list[int]] = {}
    for a, b in [pair for pair, value in result.items() if value >= _HOPELESS]:
        others.setdefault(a, []).append(b)
        others.setdefault(b, []).append(a)
    best: dict[tuple[int, int], tuple[float, float, int, Window]] = {}
    for key, targets in others.items():
        windows = _best_windows(images[key], [wholes[other] for other in targets])
        for other, window in zip(targets, windows, strict=True):
            pair = (key, other) if (key, other) in result else (other, key)
            laid = (_alike(images[key], window, wholes[other]), float(images[key].sum()), key, window)
            best[pair] = max(best.get(pair, laid), laid, key=lambda each: each[:2])
    # Of the two images of a pair, only the one of which a part is more like the other is fitted, or the brighter one.
    with bar("comparing similar images", len(best)) as advance:
        for (a, b), (value, _, key, window) in best.items():
            image, whole = images[key], wholes[b if key == a else a]
            fitted = value if value < _HOPELESS else _alike(image, _fitted(image, window, whole), whole)
            result[a, b] = max(value, fitted)
            advance(1)
    return result


def _alike(image: Cells, window: Window, whole: Cells) -> float:
    """The smaller of two correlations of the cells of a window with those of another image: of cells and of detail."""
    part = _cells(image, *window)
    return min(_correlation(part, whole), _correlation(_detail(part), _detail(whole)))


def _correlation(first: Cells, second: Cells) -> float:
    return float(_centered(first.reshape(-1)) @ _centered(second.reshape(-1)))


def _detail(cells: Cells) -> Cells:
    """Cells inside of the border minus the mean of themselves and their eight neighbors."""
    n = len(cells) - 2
    around = np.mean([cells[row : row + n, column : column + n] for row in range(3) for column in range(3)], axis=0)
    detail: Cells = cells[1:-1, 1:-1] - around
    return detail


def _best_windows(image: Cells, wholes: Sequence[Cells]) -> Iterator[Window]:
    """For each other image, its cells given, the window of an image (SIDE, SIDE) that correlates most with it."""
    windows = _windows(_SCALES)
    averages = _averages(windows)
    # Every window along rows with every one along columns, (n_windows, n_windows, _CELLS ** 2).
    parts = np.einsum("ris,cjs->rcij", averages @ image, averages, optimize=True)
    parts = _centered(parts.reshape(len(windows), len(windows), -1))
    for whole in wholes:
        scores = parts @ _centered(whole.reshape(-1))
        yield windows[[*np.unravel_index(int(scores.argmax()), scores.shape)]]


def _fitted(image: Cells, window: Window, whole: Cells) -> Window:
    """The window near another one that correlates most with the cells of another image."""
    best, score = window.copy(), _correlation(_cells(image, *window), whole)
    # Along rows and along columns in turn, twice: all pairs of both would be twelve times as many.
    for step, side in itertools.product(_STEPS, (0, 1, 0, 1)):
        near = _around(best[side], step)
        turned, target = (image, whole) if side == 0 else (image.T, whole.T)
        # The cells of every window along this side with the best one along the other, (n, _CELLS, _CELLS).
        parts = _averages(near) @ (turned @ _averages(best[1 - side][None])[0].T)
        scores = _centered(parts.reshape(len(near), -1)) @ _centered(target.reshape(-1))
        if scores.max() > score:
            score, best[side] = float(scores.max()), near[scores.argmax()]
    return best


def _windows(scales: tuple[float, ...]) -> NDArray[np.float64]:
    """Start and length of windows along a side of length 1, (n, 2)."""
    pairs = [(0.0, scale) for scale in scales if scale == 1]
    pairs += [((1 - s) * place / (_OFFSETS - 1), s) for s in scales if s < 1 for place in range(_OFFSETS)]
    return np.array(pairs)


def _around(window: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Windows near another one, (n, 2), inside of the side."""
    start, length = window.tolist()
    pairs = []
    changes = [step * number for number in _AROUND]
    for change in changes:
        size = min(1.0, max(min(_SCALES), length + change))
        pairs += [(min(max(0.0, start + shift - change / 2), 1 - size), size) for shift in changes]
    return np.array(pairs)


def _averages(windows: NDArray[np.float64]) -> Cells:
    """Weights with which the pixels of a side become the cells of each window, (n, _CELLS, SIDE)."""
    # Cell i of a window reaches from edges[i] to edges[i + 1], in pixels; a pixel counts by its overlap.
    edges = SIDE * (windows[:, :1] + windows[:, 1:] * (np.arange(_CELLS + 1) / _CELLS))
    # Part of each pixel that is below each edge, (n, _CELLS + 1, SIDE).
    below = np.clip(edges.astype(np.float32)[:, :, None] - np.arange(SIDE, dtype=np.float32), 0, 1)
    lengths = np.diff(edges)[:, :, None]
    return np.asarray((below[:, 1:] - below[:, :-1]) / lengths, np.float32)


def _cells(image: Cells, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Cells:
    """The cells of a window of an image, (_CELLS, _CELLS)."""
    cells: Cells = _averages(rows[None])[0] @ image @ _averages(columns[None])[0].T
    return cells


def _centered(cells: Cells) -> Cells:
    """Cells (..., n) minus their mean, of unit length; zero for an image of one color."""
    centered = cells - cells.mean(-1, keepdims=True)
    length = np.linalg.norm(centered, axis=-1, keepdims=True)
    flat = length < _FLAT * cells.shape[-1]
    unit: Cells = np.where(flat, 0, centered / np.where(flat, 1, length))
    return unit
