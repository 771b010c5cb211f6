"""The whole story on bundled images, through the verbs a user calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headclust import verbs
from headclust.errors import ConflictError
from headclust.progress import note

BACKBONE = "efficientnet_lite0"
_SPLITS = ("train", "test")
_METHODS = ("consensus", "kmeans")


def run_demo(folder: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Embeds the bundled digits, fits the default and k-means on the train rows, scores both there and on the test.

    Embedding resumes or is skipped when it is done already; the runs are made anew.

    Args:
        folder: Where everything goes: `features/` and `runs/` below it.

    Returns:
        (method, split, metrics) in the order of the table.
    """
    train, test = (_embed(folder / "features" / f"digits-{split}" / f"{BACKBONE}.h5", split) for split in _SPLITS)
    rows = []
    for method in _METHODS:
        note(f"fitting {method}: headclust fit {train} --method {method} --eval {test}")
        run = verbs.fit([train], method=method, evaluate_on=[test], output=folder / "runs" / method, overwrite=True)
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        rows += [(method, "train", metrics), (method, "test", metrics["eval"])]
    return rows


def _embed(output: Path, split: str) -> Path:
    try:
        return verbs.embed(BACKBONE, "digits", split=split, output=output)
    except ConflictError as conflict:
        # An earlier version, or another number of threads. It is the demo's own file.
        note(f"{conflict} Made anew for the demo.")
        return verbs.embed(BACKBONE, "digits", split=split, output=output, overwrite=True)
