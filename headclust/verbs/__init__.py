"""One function a verb: what the command line and a notebook call."""

from __future__ import annotations

from headclust.verbs.comparing import compare
from headclust.verbs.embedding import embed, estimate_embedding, import_array
from headclust.verbs.fitting import fit
from headclust.verbs.results import evaluate, info, predict, verify

__all__ = [
    "compare",
    "embed",
    "estimate_embedding",
    "evaluate",
    "fit",
    "import_array",
    "info",
    "predict",
    "verify",
]
