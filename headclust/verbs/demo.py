"""The verb `demo`: embed bundled images, fit, compare with k-means, make a report, with the same verbs as a user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headclust.embedding import EmbedSettings
from headclust.errors import ConflictError
from headclust.progress import note
from headclust.verbs.embed import embed
from headclust.verbs.fit import fit
from headclust.verbs.report import report

BACKBONE = "efficientnet_lite0"
_SPLITS = ("train", "test")
_METHODS = ("consensus", "kmeans")
REPORT = "report.html"


def demo(folder: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Embed the bundled digits, fit the default and k-means on the train rows, score both on train and test rows.

    The report shows the groups of the default. Embedding resumes, or is skipped when it is finished; the rest is made
    again.

    Args:
        folder: Folder for `features/`, `runs/` and `report.html`.

    Returns:
        (method, split, metrics) in the order of the table.
    """
    train, test = (_embed(folder / "features" / f"digits-{split}" / f"{BACKBONE}.h5", split) for split in _SPLITS)
    rows = []
    for method in _METHODS:
        note(f"fitting {method}: headclust fit {train} --method {method} --eval {test}")
        run = fit([train], method=method, evaluate_on=[test], output=folder / "runs" / method, overwrite=True)
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        rows += [(method, "train", metrics), (method, "test", metrics["eval"])]
    note(f"writing the report: headclust report {folder / 'runs' / _METHODS[0]} --no-umap -o {folder / REPORT}")
    report(folder / "runs" / _METHODS[0], umap=False, output=folder / REPORT)
    return rows


def _embed(path: Path, split: str) -> Path:
    """Embed a split of the digits into the demo's own file at `path`; return it."""
    try:
        embed(BACKBONE, "digits", split=split, output=path)
    except ConflictError as conflict:  # an earlier version, or another number of threads
        note(f"{conflict} Made again for the demo.")
        embed(BACKBONE, "digits", split=split, output=path, settings=EmbedSettings(overwrite=True))
    return path
