"""One function a verb: what the command line and a notebook call."""

from __future__ import annotations

from headclust.verbs.comparing import compare
from headclust.verbs.embedding import embed, estimate_embedding, import_array
from headclust.verbs.exporting import export
from headclust.verbs.fitting import fit
from headclust.verbs.reporting import report
from headclust.verbs.results import evaluate, info, predict, verify
from headclust.verbs.running import Groups, run

__all__ = [
    "Groups",
    "compare",
    "embed",
    "estimate_embedding",
    "evaluate",
    "export",
    "fit",
    "import_array",
    "info",
    "predict",
    "report",
    "run",
    "verify",
]
