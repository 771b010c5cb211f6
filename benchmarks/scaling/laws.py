"""Exponents: how a figure grows with one of the sizes, the others being equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from scaling.points import Line, point_of

AXES = {"n": "samples", "d": "dimensions", "k": "clusters"}


class Law(NamedTuple):
    """A power law of one size.

    Attributes:
        part: The part.
        axis: The size that differs: "n", "d" or "k".
        low: The smallest size measured.
        high: The largest.
        exponent: Of the CPU seconds.
        megabytes: Private memory per 1,000 samples, for the axis "n"; None for others.
    """

    part: str
    axis: str
    low: int
    high: int
    exponent: float
    megabytes: float | None


def laws(lines: Sequence[Line]) -> list[Law]:
    """The laws of every part, from each group of at least three points that differ in one size only."""
    measured = [(point_of(line), line) for line in lines if "error" not in line]
    results = []
    for axis in AXES:
        rest = [name for name in ("part", "n", "d", "k", "option", "dtype") if name != axis]

        def others(item: tuple, rest: list[str] = rest) -> tuple:  # type: ignore[type-arg]
            return tuple(getattr(item[0], name) for name in rest)

        for _, group in groupby(sorted(measured, key=others), key=others):
            items = sorted(group, key=lambda item: getattr(item[0], axis))
            sizes = [getattr(point, axis) for point, _ in items]
            if len(sizes) < 3:
                continue
            seconds = [max(line["cpu"], 1e-3) for _, line in items]
            # Slope of log(seconds) against log(size), by least squares.
            exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
            memory = [line["private_mb"] for _, line in items]
            grows = axis == "n" and None not in memory
            slope = float(np.polyfit(sizes, memory, 1)[0]) * 1000 if grows else None
            results.append(Law(items[0][0].part, axis, sizes[0], sizes[-1], exponent, slope))
    return sorted(results, key=lambda law: (law.part, list(AXES).index(law.axis)))


def text_of(law: Law) -> str:
    """The law in one line."""
    shown = 0.0 if math.isclose(law.exponent, 0, abs_tol=0.005) else law.exponent
    return f"{AXES[law.axis]}^{shown:.2f} from {law.low:,} to {law.high:,}"
