"""What a report is made from: a run, and the feature files it names as far as they are still there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headclust import runs
from headclust.errors import FileFormatError, HeadclustError, one_line
from headclust.features import Features
from headclust.filenames import storable_name
from headclust.model import ClusterModel
from headclust.progress import printable
from headclust.runs.assignments import read_assignments
from headclust.runs.inputs import check_alike, load_spaces, locate_features, reload_spaces
from headclust.runs.scored_fit import assign


@dataclass(frozen=True, eq=False)
class ReportData:
    """Samples, what a run says of them, and what is known besides. Row i of everything is `sample_ids[i]`.

    Attributes:
        name: The run folder's.
        config: The run's, as written.
        metrics: Of these samples, as in metrics.json.
        model: The fitted pipeline.
        sample_ids: Names of the samples.
        clusters: int64 (n_samples,).
        confidence: float32 (n_samples,).
        spaces: Their features, one a space; empty where the files are gone.
        own: Whether these are the samples that the run was fitted on.
        missing: Why the run's feature files cannot be used, a line; empty where they can.
    """

    name: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    model: ClusterModel
    sample_ids: tuple[str, ...]
    clusters: NDArray[np.int64]
    confidence: NDArray[np.float32]
    spaces: tuple[Features, ...]
    own: bool
    missing: str

    @property
    def n_clusters(self) -> int:
        """Number of clusters, used or not."""
        return self.model.n_clusters

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """Labels with at least one known, or None. They only score."""
        labels = self.spaces[0].labels if self.spaces else None
        return labels if labels is not None and (labels >= 0).any() else None

    @property
    def described(self) -> Mapping[str, Any]:
        """What is known of where the samples come from: the feature file's attributes, or what the run says of it."""
        return self.spaces[0].attributes if self.spaces else self.config["features"][0]


def read_data(path: Path, features: Sequence[Path] = ()) -> ReportData:
    """Reads a run and the features of its samples, or of the samples in other feature files.

    Args:
        path: A run folder.
        features: Feature files to use, one a space: the run's own from where they lie now, or those of other samples,
            which the run's model then assigns. Empty for its own where it says they are, or
            beside it; they may be gone.

    Raises:
        HeadclustError: The run cannot be read, or feature files that were named cannot be used.
    """
    run = runs.read_run(path)
    stated, missing = run.config["features"], ""
    spaces: tuple[Features, ...] = ()
    if features:
        spaces = load_spaces(features)
        check_alike(stated, spaces)
    else:
        try:
            spaces = reload_spaces(locate_features(run.path, stated))
        except HeadclustError as error:
            missing = one_line(error)
    name = path.resolve().name
    if features and [space.sha256 for space in spaces] != [space["sha256"] for space in stated]:
        said = assign(run.model, spaces)
        ids = spaces[0].sample_ids
        return ReportData(
            name, run.config, said.report, run.model, ids, said.clusters, said.confidence, spaces, False, missing
        )
    ids, clusters, confidence = _assignments(run.path / "assignments.csv", run.model.n_clusters, spaces)
    return ReportData(name, run.config, run.metrics, run.model, ids, clusters, confidence, spaces, True, missing)


def _assignments(
    path: Path, n_clusters: int, spaces: Sequence[Features]
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.float32]]:
    """Ids, clusters and confidences of a run, in the order of its features where those are at hand.

    Raises:
        FileFormatError: The file is not of this run, or of other samples than the features.
    """
    said, name = read_assignments(path), printable(str(path))
    clusters, confidence = said.clusters, said.confidence.astype(np.float32)
    if not len(clusters) or clusters.max() >= n_clusters:
        found = f"cluster {clusters.max()}" if len(clusters) else "no samples"
        raise FileFormatError(f"{name} holds {found}, of {n_clusters} clusters: restore it from a copy, or fit again.")
    if not spaces:
        return said.sample_ids, clusters, confidence
    ids = spaces[0].sample_ids
    there = {sample_id: row for row, sample_id in enumerate(said.sample_ids)}
    rows = [there[key] for key in map(storable_name, ids) if key in there]
    if not len(rows) == len(ids) == len(said.sample_ids):
        raise FileFormatError(
            f"{name} holds {len(said.sample_ids)} samples, {len(rows)} of them of the {len(ids)} in the features: "
            "restore it from a copy, or fit again."
        )
    return ids, clusters[rows], confidence[rows]
