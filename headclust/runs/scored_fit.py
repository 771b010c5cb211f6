"""One fit and its scores. The method gets features without labels; labels only score its result."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError
from headclust.features import Features
from headclust.group import current
from headclust.methods import FitResult, Recipe
from headclust.methods.constraints import Constraints
from headclust.progress import note, printable
from headclust.runs.levels import Join, Levels
from headclust.training.unfinished import seconds_before

if TYPE_CHECKING:
    import torch

    from headclust.model import ClusterModel

# What methods load when they fit: loaded before, so that the seconds of a fit are those of the computation.
_LIBRARIES = (
    *("faiss", "sklearn.cluster", "sklearn.linear_model", "sklearn.mixture"),
    *("headclust.graph.matrix", "headclust.graph.neighbors", "headclust.training.train"),
)


@dataclass(frozen=True)
class Assigned:
    """Predictions of a model.

    Attributes:
        clusters: Cluster of each sample, int64 (n_samples,).
        confidence: Its probability, float32 (n_samples,).
        report: Sizes, agreement and seconds, and scores if labels are known; with the keys of metrics.json.
    """

    clusters: NDArray[np.int64]
    confidence: NDArray[np.float32]
    report: dict[str, Any]

    def renumbered(self, ids: Sequence[int], n_clusters: int) -> Assigned:
        """The same predictions with other cluster ids, as in `ClusterModel.renumbered`."""
        clusters = np.array(ids, dtype=np.int64)[self.clusters]
        return replace(self, clusters=clusters, report={**self.report, "n_clusters": n_clusters})

    def __repr__(self) -> str:
        return f"Assigned({len(self.clusters)} samples in {len(np.unique(self.clusters))} clusters)"


@dataclass(frozen=True)
class ScoredFit:
    """A fit with its scores.

    Attributes:
        result: The result of the method.
        report: The contents of metrics.json, with `eval` if test features were given.
        test: Predictions for the test features; None if none were given.
        levels: How the clusters join; None if there are too many of them, or another process computes it.
    """

    result: FitResult
    report: dict[str, Any]
    test: Assigned | None
    levels: Levels | None

    def renumbered(self, ids: Sequence[int], n_clusters: int) -> ScoredFit:
        """The same fit with other cluster ids, as in `ClusterModel.renumbered`; no score depends on them."""
        report = {**self.report, "n_clusters": n_clusters}
        test = None if self.test is None else self.test.renumbered(ids, n_clusters)
        report |= {} if test is None else {"eval": test.report}
        levels = None if self.levels is None else self.levels.renumbered(ids)
        return ScoredFit(self.result.renumbered(ids, n_clusters), report, test, levels)


def fit_and_score(
    spaces: Sequence[Features],
    recipe: Recipe,
    seed: int,
    *,
    device: torch.device | None = None,
    tests: Sequence[Features] = (),
    constraints: Constraints | None = None,
) -> ScoredFit:
    """Fit a method without labels, then score the result on the fitted samples and on others.

    Of several processes that share the fit, the first one scores it.

    Args:
        spaces: Feature spaces of the same samples.
        recipe: The method and its settings; an n_clusters of 0 stands for the number of labeled classes.
        seed: Seed of the fit.
        device: Where to compute; the CPU by default.
        tests: Feature spaces of other samples, one per space of the fit.
        constraints: What a person has fixed, if anything.

    Raises:
        HeadclustError: The features cannot be used, or a setting is out of range.
    """
    from headclust.model import ensemble

    recipe = recipe.for_features(spaces[0])
    for library in _LIBRARIES:
        importlib.import_module(library)
    unlabeled = [replace(space, labels=None, class_names=()) for space in spaces]
    start = time.perf_counter()
    result = recipe.fit(unlabeled, seed, device=device, constraints=constraints)
    seconds = time.perf_counter() - start + seconds_before()
    if result.model.n_clusters < recipe.n_clusters:
        note(f"warning: {fewer_clusters(result.model.n_clusters, recipe.n_clusters)}")
    levels = _levels(result, unlabeled) if current().rank == 0 else None
    labels, tests = (None, ()) if current().rank else (spaces[0].labels, tests)
    report = ensemble.summarize(
        result.head_assignments,
        result.assignments,
        result.model.n_clusters,
        seconds=seconds,
        labels=labels,
    )
    # Of an approximate neighbor search: the least of several.
    recalls = [record["recall"] for record in result.history if "neighbor_search" in record]
    report |= {"neighbor_recall": min(recalls)} if recalls else {}
    test = assign(result.model, tests, device=device) if tests else None
    return ScoredFit(result, {**report, "eval": test.report} if test else report, test, levels)


def _levels(result: FitResult, spaces: Sequence[Features]) -> Levels | None:
    """The joins of the clusters of a fit; None, after a line on stderr, if there are too many of them."""
    from headclust.model.joins import MOST_CLUSTERS, join_clusters

    used = len(np.unique(result.assignments))
    if used > MOST_CLUSTERS:
        note(f"no levels: {used:,} clusters are more than the {MOST_CLUSTERS:,} that are joined.")
        return None
    return Levels(tuple(Join(*join) for join in join_clusters(result.model, spaces, result.assignments)))


def fewer_clusters(n_clusters: int, expected: int) -> str:
    """The warning for a model with fewer clusters than expected."""
    return f"only {n_clusters} of {expected} clusters are used: no more samples differ, after the method's transform."


def assign(model: ClusterModel, spaces: Sequence[Features], *, device: torch.device | None = None) -> Assigned:
    """Assign clusters to samples, one feature space per space of the model, and score them if they have labels.

    Args:
        model: A fitted model.
        spaces: The samples, one per space of the model.
        device: Where to compute; where the model is by default.

    Raises:
        DataError: The model gives no probabilities for a sample, as numbers in it or in the features are too large.
    """
    from headclust.model import ensemble

    start = time.perf_counter()
    model = model if device is None else model.to(device)
    assignment = model.assign(*spaces)
    undefined = np.flatnonzero(~np.isfinite(assignment.confidence))
    if len(undefined):
        first = printable(spaces[0].sample_ids[int(undefined[0])])
        raise DataError(
            f"no cluster for {len(undefined)} of {len(assignment.confidence)} samples, first {first}: their features "
            "or the model's numbers are too large: check the features, or fit again."
        )
    seconds = time.perf_counter() - start
    report = ensemble.summarize(
        assignment.by_head, assignment.clusters, model.n_clusters, seconds=seconds, labels=spaces[0].labels
    )
    return Assigned(assignment.clusters, assignment.confidence, report)
