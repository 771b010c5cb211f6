"""Images that are numbers: what the tests of decoding decode."""

from __future__ import annotations

import mmap
from collections.abc import Callable

import numpy as np

from headclust.images.decoding import decoded_batches

BATCH = 8
SHAPE = (2, BATCH, 3, 3, 3)
Pixels = np.ndarray


def blocks(n: int) -> list[range]:
    return [range(start, min(start + BATCH, n)) for start in range(0, n, BATCH)]


def run(
    before: Callable[[int], None] = lambda row: None, n: int = 30, **options: float
) -> tuple[list[np.ndarray], dict[int, str]]:
    """Decodes n images of which row i is i + 1 on plane 0 and 255 - i on plane 1; all batches, and what was bad."""

    def decode(row: int, out: Pixels) -> None:
        before(row)
        out[0], out[1] = row + 1, 255 - row

    batches, bad = [], {}
    for _, pixels, reasons in decoded_batches(decode, blocks(n), SHAPE, workers=2, **options):
        batches.append(pixels.copy())
        bad.update(reasons)
    return batches, bad


def check(batches: list[np.ndarray], n: int, bad: set[int]) -> None:
    """Every good row in its slot, black everywhere else."""
    slots = np.concatenate([batch[:, :, 0, 0, 0] for batch in batches], 1)
    good = [row < n and row not in bad for row in range(slots.shape[1])]
    rows = np.arange(slots.shape[1])
    assert slots[0].tolist() == np.where(good, rows + 1, 0).tolist()
    assert slots[1].tolist() == np.where(good, 255 - rows, 0).tolist()
    assert all((batch == batch[:, :, :1, :1, :1]).all() for batch in batches)


def shared(n: int) -> np.ndarray:
    return np.frombuffer(mmap.mmap(-1, 8 * n), np.int64)
