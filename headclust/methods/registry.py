"""Methods by name: the function that fits each, and its presets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    umap_kmeans,
    ward,
    wmi,
)
from headclust.methods.result import FitResult

_MODULES: dict[str, Any] = {
    "consensus": consensus,
    "temi": temi,
    "wmi": wmi,
    "pmi": pmi,
    "temi-scan": temi_scan,
    "scan": scan,
    "imc-swav": imc_swav,
    "clc": clc,
    "turtle": turtle,
    "kmeans": kmeans,
    "spectral": spectral,
    "spherical-kmeans": spherical_kmeans,
    "gmm": gmm,
    "ward": ward,
    "leiden": leiden,
    "hdbscan": hdbscan,
    "umap-kmeans": umap_kmeans,
}
METHODS: dict[str, Callable[..., FitResult]] = {name: module.fit for name, module in _MODULES.items()}
PRESETS: dict[str, dict[str, tuple[Any, ...]]] = {name: dict(module.PRESETS) for name, module in _MODULES.items()}
DEFAULT_METHOD = "consensus"  # the method that "default" stands for


def list_methods() -> list[dict[str, Any]]:
    """The methods: `name`, `presets`, and their `meaning` in one line; JSON-like records."""
    return [
        {
            "name": name,
            "presets": sorted(PRESETS[name], reverse=True),
            "meaning": (module.__doc__ or "").splitlines()[0],
        }
        for name, module in _MODULES.items()
    ]
