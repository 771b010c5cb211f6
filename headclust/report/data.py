"""The data of a report: a run, and its feature files where they still exist."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust import runs
from headclust.device import resolve_device
from headclust.errors import FileFormatError, HeadclustError, one_line
from headclust.features import Features
from headclust.filenames import storable_name
from headclust.progress import printable
from headclust.runs.added import spaces_of
from headclust.runs.groups import Groups, describe_groups, read_groups
from headclust.runs.inputs import check_alike, load_spaces
from headclust.runs.scored_fit import assign

if TYPE_CHECKING:
    from headclust.model import ClusterModel


@dataclass(frozen=True, eq=False)
class ReportData:
    """The samples of a report, with their clusters and features. Row i of every array is `sample_ids[i]`.

    Attributes:
        name: Name of the run folder.
        config: The run's config.json.
        metrics: Metrics of these samples, with the keys of metrics.json.
        model: The fitted pipeline, on the device to compute on.
        sample_ids: Names of the samples.
        groups: The groups of the run; of its fitted samples also their groups.
        clusters: Group of each sample, int64 (n_samples,).
        confidence: float32 (n_samples,).
        spaces: Features of the samples, one per feature space; empty if the files are not available.
        is_fitted: True if these are the samples that the run was fitted on.
        problem: Reason why the run's feature files cannot be used, in one line; empty if they can.
    """

    name: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    model: ClusterModel
    sample_ids: tuple[str, ...]
    groups: Groups
    clusters: NDArray[np.int64]
    confidence: NDArray[np.float32]
    spaces: tuple[Features, ...]
    is_fitted: bool
    problem: str

    @property
    def n_clusters(self) -> int:
        """Number of groups: clusters of the model, or after fixes or at a level the groups that have images."""
        return int(self.metrics["n_clusters"])

    @property
    def n_ids(self) -> int:
        """The largest id of a group, or cluster of the model, plus 1: the length of arrays with a place per id."""
        return max(self.model.n_clusters, int(self.clusters.max()) + 1)

    @property
    def empty(self) -> list[int]:
        """Clusters of the fit without an image; after fixes or at a level, groups are those with images."""
        return [] if self.groups.is_changed else np.setdiff1d(np.arange(self.n_ids), self.clusters).tolist()

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """Labels, int64 (n_samples,), -1 where unknown; None if all are. They are used for scores only."""
        labels = self.spaces[0].labels if self.spaces else None
        return labels if labels is not None and (labels >= 0).any() else None

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Origin of the samples: the feature file's attributes, or what the run's config records of that file."""
        return self.spaces[0].attributes if self.spaces else self.config["features"][0]


def read_data(
    path: Path, features: Sequence[Path] = (), *, level: int | None = None, device: str | None = None
) -> ReportData:
    """Read a run and the features of its samples, or assign the samples of other feature files.

    Args:
        path: A run folder.
        features: Feature files to use, one per feature space: the run's own at their present place, or those of other
            samples, which the run's model then assigns. If empty, the run's own, at the recorded path or beside
            the run folder; they may be missing.
        level: Number of groups to join the clusters to, by levels.json; the finest level when None.
        device: Where to compute; the best available when None.

    Raises:
        HeadclustError: The run cannot be read, or the feature files given cannot be used.
    """
    run = runs.read_run(path)
    groups = read_groups(run, level=level)
    recorded, problem = run.config["features"], ""
    spaces: tuple[Features, ...] = ()
    if features:
        spaces = load_spaces(features)
        check_alike(recorded, spaces)
    else:
        try:
            spaces = spaces_of(run)
        except HeadclustError as error:
            problem = one_line(error)
    name, model = path.resolve().name, run.model.to(resolve_device(device))
    if features and [space.sha256 for space in spaces] != [space["sha256"] for space in recorded]:
        assigned = assign(model, spaces)
        clusters = groups.of(assigned.clusters)
        return ReportData(
            name,
            run.config,
            describe_groups(clusters, spaces[0].labels) if groups.is_changed else assigned.report,
            model,
            spaces[0].sample_ids,
            groups,
            clusters,
            assigned.confidence,
            spaces,
            is_fitted=False,
            problem=problem,
        )
    ids, clusters, confidence = _assignments(run, groups, spaces)
    return ReportData(
        name,
        run.config,
        describe_groups(clusters, spaces[0].labels if spaces else None) if groups.is_changed else run.metrics,
        model,
        ids,
        groups,
        clusters,
        confidence,
        spaces,
        is_fitted=True,
        problem=problem,
    )


def _assignments(
    run: runs.Run, groups: Groups, spaces: Sequence[Features]
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.float32]]:
    """Sample ids, groups and confidences of a run, in the order of its features where those are available.

    Raises:
        FileFormatError: The file has other samples than the features.
    """
    name, sample_ids = printable(str(run.path / "assignments.csv")), groups.sample_ids
    clusters, confidence = groups.clusters, groups.confidence.astype(np.float32)
    if not spaces:
        return sample_ids, clusters, confidence
    ids = spaces[0].sample_ids
    if all(map(operator.eq, map(storable_name, ids), sample_ids)) and len(ids) == len(clusters):
        return ids, clusters, confidence
    row_of = {sample_id: row for row, sample_id in enumerate(sample_ids)}
    rows = [row_of[key] for key in map(storable_name, ids) if key in row_of]
    if not len(rows) == len(ids) == len(sample_ids):
        raise FileFormatError(
            f"{name} holds {len(sample_ids)} samples, {len(rows)} of them among the {len(ids)} of the "
            "features: restore it from a copy, or fit again."
        )
    return ids, clusters[rows], confidence[rows]
