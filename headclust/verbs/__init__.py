"""Verbs: the functions that the command line and notebooks call, one file and one function per verb.

A verb loads on first use, and only what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headclust.lazy import load_on_first_use

if TYPE_CHECKING:
    from headclust.verbs.add import Addition, add
    from headclust.verbs.compare import compare
    from headclust.verbs.demo import demo
    from headclust.verbs.embed import embed
    from headclust.verbs.evaluate import evaluate
    from headclust.verbs.export import export
    from headclust.verbs.fit import fit
    from headclust.verbs.import_array import import_array
    from headclust.verbs.info import info
    from headclust.verbs.models import models
    from headclust.verbs.name import Named, name
    from headclust.verbs.neighbors import neighbors
    from headclust.verbs.predict import predict
    from headclust.verbs.report import report
    from headclust.verbs.review import review
    from headclust.verbs.run import Groups, run
    from headclust.verbs.settings import settings
    from headclust.verbs.suggest import Suggested, suggest
    from headclust.verbs.verify import verify

__all__ = [
    "Addition",
    "Groups",
    "Named",
    "Suggested",
    "add",
    "compare",
    "demo",
    "embed",
    "evaluate",
    "export",
    "fit",
    "import_array",
    "info",
    "models",
    "name",
    "neighbors",
    "predict",
    "report",
    "review",
    "run",
    "settings",
    "suggest",
    "verify",
]

_FILES = {"Addition": "add", "Groups": "run", "Named": "name", "Suggested": "suggest"}
load_on_first_use(__name__, {**{name: name for name in __all__}, **_FILES})
