"""One function a verb: what the command line and a notebook call."""

from __future__ import annotations

from headclust.verbs.compare import compare
from headclust.verbs.embed import embed, estimate_embedding, import_array
from headclust.verbs.export import export
from headclust.verbs.fit import fit
from headclust.verbs.report import report
from headclust.verbs.results import evaluate, info, predict, verify
from headclust.verbs.run.run import Groups, run

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
