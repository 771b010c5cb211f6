"""Small gray copies of images, and how alike two of them are, if one image may be a part of the other.

Features tell what an image shows, so two photos of one scene may have features as alike as those of a photo and its
copy. Copies have the same pixels, except for what encoding, resizing, brightness and a narrow crop change: the
correlation of their small copies is near 1 once one is laid on the part of the other that it shows.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 96  # pixels of a sketch, which is square whatever the image
_CELLS = 24  # cells that are compared, per side
_SCALES = (1.0, 0.95, 0.9, 0.85, 0.8)  # part of the width, or of the height, that a crop keeps
_OFFSETS = 5  # positions of a window
_STEPS = (0.01, 0.003)  # of a finer search around the best window, of the side: detail needs a close fit
_AROUND = (-2, -1, 0, 1, 2)  # steps
# Correlation of the whole images below which no window is tried, and of the detail below which no finer one is.
_HOPELESS = 0.3
_SHARPNESS_SIDE = 256  # pixels of the longer side at which sharpness is measured
_FLAT = 1e-3  # length of a centered vector of cells, per cell, below which an image is of one color

Gray = NDArray[np.uint8]
Cells = NDArray[np.float32]


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


def likeness(first: Gray, second: Gray) -> float:
    """Correlation of two sketches, -1 to 1, where one is laid on the part of the other that fits it best.

    The part keeps at least 80 % of the width and of the height. It is the smaller of two correlations: of the cells,
    and of their detail, each cell minus the mean of it and its neighbors. Different images of few and smooth shapes,
    such as handwritten digits, have cells as alike as those of copies, but not their detail.
    """
    wholes = [_cells(image.astype(np.float32), _operators((1.0,))) for image in (first, second)]
    best = _correlation(*wholes)
    if best < _HOPELESS:
        return best
    images = (first.astype(np.float32), second.astype(np.float32))
    windows = [(_best_window(images[number], wholes[1 - number]), wholes[1 - number]) for number in (0, 1)]
    return max(min(_correlation(part, whole), _correlation(_detail(part), _detail(whole))) for part, whole in windows)


def _correlation(first: Cells, second: Cells) -> float:
    return float(_centered(first.reshape(-1)) @ _centered(second.reshape(-1)))


def _detail(cells: Cells) -> Cells:
    """Cells inside of the border minus the mean of themselves and their eight neighbors."""
    n = len(cells) - 2
    around = np.mean([cells[row : row + n, column : column + n] for row in range(3) for column in range(3)], axis=0)
    detail: Cells = cells[1:-1, 1:-1] - around
    return detail


def _best_window(image: Cells, whole: Cells) -> Cells:
    """The cells of the window of an image (SIDE, SIDE) that correlates most with the cells of another image."""
    target, windows = _centered(whole.reshape(-1)), (_windows(_SCALES), _windows(_SCALES))
    score, row, column = _search(image, target, *windows)
    best = windows[0][row], windows[1][column]
    part: Cells = _averages(best[0][None])[0] @ image @ _averages(best[1][None])[0].T
    if _correlation(_detail(part), _detail(whole)) < _HOPELESS:
        return part
    for step in _STEPS:
        windows = _around(best[0], step), _around(best[1], step)
        finer, row, column = _search(image, target, *windows)
        if finer > score:
            score, best = finer, (windows[0][row], windows[1][column])
    cells: Cells = _averages(best[0][None])[0] @ image @ _averages(best[1][None])[0].T
    return cells


def _search(
    image: Cells, whole: Cells, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> tuple[float, int, int]:
    """The largest correlation, and the window along rows and along columns that has it."""
    # Every window along rows with every one along columns, (n_rows, n_columns, _CELLS ** 2).
    left = _averages(rows) @ image
    cells = np.einsum("ris,cjs->rcij", left, _averages(columns), optimize=True)
    scores = _centered(cells.reshape(len(rows), len(columns), -1)) @ whole
    row, column = np.unravel_index(int(scores.argmax()), scores.shape)
    return float(scores[row, column]), int(row), int(column)


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
    steps = np.arange(_CELLS + 1) / _CELLS
    edges = SIDE * (windows[:, :1] + windows[:, 1:] * steps)
    pixels = np.arange(SIDE)
    low, high = edges[:, :-1, None], edges[:, 1:, None]
    overlap = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    weights: Cells = (overlap / overlap.sum(2, keepdims=True)).astype(np.float32)
    return weights


@cache
def _operators(scales: tuple[float, ...]) -> Cells:
    return _averages(_windows(scales))


def _cells(image: Cells, operators: Cells) -> Cells:
    """The cells of a whole image, (_CELLS, _CELLS)."""
    cells: Cells = operators[0] @ image @ operators[0].T
    return cells


def _centered(cells: Cells) -> Cells:
    """Cells (..., n) minus their mean, of unit length; zero for an image of one color."""
    centered = cells - cells.mean(-1, keepdims=True)
    length = np.linalg.norm(centered, axis=-1, keepdims=True)
    flat = length < _FLAT * cells.shape[-1]
    unit: Cells = np.where(flat, 0, centered / np.where(flat, 1, length))
    return unit
