"""TEMI with the same weight for every pair. See docs/methods/pmi.md."""

from __future__ import annotations

from dataclasses import replace

from headclust.methods import gradient, temi
from headclust.training.stages import Stage

PRESETS: dict[str, tuple[Stage, ...]] = {
    name: tuple(replace(stage, objective="pmi") for stage in recipe) for name, recipe in temi.PRESETS.items()
}

fit = gradient.fit
