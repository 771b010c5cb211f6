"""SCAN as TEMI compares itself with it: TEMI's heads, teacher and temperatures. See docs/methods/temi-scan.md."""

from __future__ import annotations

from dataclasses import replace

from headclust.methods import gradient, temi
from headclust.training.stages import Stage

PRESETS: dict[str, tuple[Stage, ...]] = {
    name: tuple(replace(stage, objective="temi-scan") for stage in stages) for name, stages in temi.PRESETS.items()
}

fit = gradient.fit
