"""TEMI with weights of pairs per head instead of the ensemble's. See docs/methods/wmi.md."""

from __future__ import annotations

from dataclasses import replace

from headclust.methods import gradient, temi
from headclust.training.stages import Stage

PRESETS: dict[str, tuple[Stage, ...]] = {
    name: tuple(replace(stage, objective="wmi") for stage in recipe) for name, recipe in temi.PRESETS.items()
}

fit = gradient.fit
