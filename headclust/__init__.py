"""headclust: sort images into meaningful groups without labels.

Public names load on first use, so that importing the package loads no library. The commands of the command
line are in `headclust.verbs`, one function per verb.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headclust.lazy import load_on_first_use

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

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


load_on_first_use(__name__, _HOMES)
