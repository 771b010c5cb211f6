"""Methods by name: each fits a recipe to feature spaces. Settings are the recipes' own keyword arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headclust.errors import SettingError, unknown
from headclust.methods import (
    clc,
    consensus,
    gmm,
    hdbscan,
    imc_swav,
    kmeans,
    leiden,
    pmi,
    scan,
    spectral,
    spherical_kmeans,
    temi,
    temi_scan,
    turtle,
    ward,
    wmi,
)
from headclust.methods.result import FitResult
from headclust.methods.settings import Setting, configure, settings

METHODS: dict[str, Callable[..., FitResult]] = {
    "consensus": consensus.fit,
    "temi": temi.fit,
    "wmi": wmi.fit,
    "pmi": pmi.fit,
    "temi-scan": temi_scan.fit,
    "scan": scan.fit,
    "imc-swav": imc_swav.fit,
    "clc": clc.fit,
    "turtle": turtle.fit,
    "kmeans": kmeans.fit,
    "spectral": spectral.fit,
    "spherical-kmeans": spherical_kmeans.fit,
    "gmm": gmm.fit,
    "ward": ward.fit,
    "leiden": leiden.fit,
    "hdbscan": hdbscan.fit,
}
PRESETS: dict[str, dict[str, tuple[Any, ...]]] = {
    "consensus": dict(consensus.PRESETS),
    "temi": dict(temi.PRESETS),
    "wmi": dict(wmi.PRESETS),
    "pmi": dict(pmi.PRESETS),
    "temi-scan": dict(temi_scan.PRESETS),
    "scan": dict(scan.PRESETS),
    "imc-swav": dict(imc_swav.PRESETS),
    "clc": dict(clc.PRESETS),
    "turtle": dict(turtle.PRESETS),
    "kmeans": dict(kmeans.PRESETS),
    "spectral": dict(spectral.PRESETS),
    "spherical-kmeans": dict(spherical_kmeans.PRESETS),
    "gmm": dict(gmm.PRESETS),
    "ward": dict(ward.PRESETS),
    "leiden": dict(leiden.PRESETS),
    "hdbscan": dict(hdbscan.PRESETS),
}
DEFAULT_METHOD = "consensus"  # what the name "default" stands for

__all__ = ["DEFAULT_METHOD", "METHODS", "PRESETS", "FitResult", "Setting", "configure", "find_preset", "settings"]


def find_preset(method: str, preset: str) -> tuple[str, tuple[Any, ...]]:
    """The method's own name (`default` resolved) and the recipe of one of its presets.

    Raises:
        SettingError: There is no such method or preset.
    """
    name = DEFAULT_METHOD if method == "default" else method
    if name not in METHODS:
        raise unknown("method", method, [*METHODS, "default"])
    if preset == "authors" and preset not in PRESETS[name]:
        raise SettingError(f"{name} has no preset 'authors', as there is no code of its authors to follow: use ours.")
    if preset not in PRESETS[name]:
        raise unknown("preset", preset, PRESETS[name])
    return name, PRESETS[name][preset]
