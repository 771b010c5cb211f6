"""The verb `info`: a summary of a feature file or run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headclust import runs
from headclust.features import is_folder, kind_of, load_features


def info(path: Path) -> dict[str, Any]:
    """The counts, attributes and left-out images of a feature file, or configuration and metrics of a run: JSON-like.

    Raises:
        HeadclustError: The path is neither, or cannot be read.
    """
    if path.is_dir() and not is_folder(path):
        run = runs.read_record(path)
        return {**run.config, "metrics": run.metrics}
    features = load_features(path)
    labels = features.labels
    counts = {"n_samples": features.n_samples, "feature_dim": features.feature_dim, "n_views": features.n_views}
    counts["n_skipped"] = len(features.skipped)
    counts["n_labeled"] = 0 if labels is None else int((labels >= 0).sum())
    skipped = [{"sample_id": name, "reason": reason, "kind": kind_of(reason)} for name, reason, _ in features.left_out]
    return {**counts, **features.attributes, **({"skipped": skipped} if skipped else {})}
