"""headclust: sort images into meaningful groups without labels.

Public names load on first use (PEP 562), so that importing the package loads no library. The commands of the command
line are in `headclust.verbs`, one function per verb.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Features": "features",
    "load_features": "features",
    "write_features": "features",
    "NeighborGraph": "graph",
    "METHODS": "methods",
    "PRESETS": "methods",
    "Recipe": "methods",
    "OBJECTIVES": "training.objectives",
    "METRICS": "scoring.metrics",
    "ClusterModel": "model",
    "embed_images": "embedding.embed",
    "EmbedSettings": "embedding",
    "HeadClustering": "estimators",
    "EmbedImages": "estimators",
    "HeadclustError": "errors",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'headclust' has no attribute {name!r}")
    return getattr(importlib.import_module(f"headclust.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
