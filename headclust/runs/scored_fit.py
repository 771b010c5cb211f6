"""One fit and what comes of it. Here labels end: a method gets features without them, and its outcome is scored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import METHODS, FitResult, configure
from headclust.model import ClusterModel, ensemble


@dataclass(frozen=True)
class ScoredFit:
    """A fit, scored.

    Attributes:
        result: What the method gave.
        report: What metrics.json says of it, with `eval` where test features were given.
        test: What the model says of the test features, where some were given.
    """

    result: FitResult
    report: dict[str, Any]
    test: Assigned | None


@dataclass(frozen=True)
class Assigned:
    """What a model says of samples: their clusters, int64 (n,), its confidence, float32 (n,), and the report."""

    clusters: NDArray[np.int64]
    confidence: NDArray[np.float32]
    report: dict[str, Any]


def fit_and_score(
    spaces: Sequence[Features],
    method: str,
    recipe: tuple[Any, ...],
    seed: int,
    *,
    device: torch.device | None = None,
    tests: Sequence[Features] = (),
) -> ScoredFit:
    """Fits a method and scores the outcome, on the fitted samples and on others.

    Args:
        spaces: Feature spaces of the same samples.
        method: A name in METHODS.
        recipe: Its recipe; an n_clusters of 0 stands for the number of labelled classes.
        seed: Seed of the fit.
        device: Where to compute; the CPU by default.
        tests: Feature spaces of other samples, one a space of the fit.

    Raises:
        HeadclustError: Anything about the features or settings that a user can mend.
    """
    recipe = with_clusters(recipe, spaces[0])
    unlabelled = tuple(replace(space, labels=None, class_names=()) for space in spaces)
    start = time.perf_counter()
    result = METHODS[method](unlabelled, recipe, seed, device=device)
    seconds = time.perf_counter() - start
    model, labels = result.model, spaces[0].labels
    report = ensemble.summarize(
        result.head_assignments, result.assignments, model.n_clusters, seconds=seconds, labels=labels
    )
    test = assign(model, tests) if tests else None
    return ScoredFit(result, {**report, "eval": test.report} if test else report, test)


def assign(model: ClusterModel, spaces: Sequence[Features]) -> Assigned:
    """Assigns clusters to samples, one feature space a space of the model, and scores them where they have labels."""
    start = time.perf_counter()
    said = model.assign(*(space.all() for space in spaces))
    seconds = time.perf_counter() - start
    labels = spaces[0].labels
    report = ensemble.summarize(said.by_head, said.clusters, model.n_clusters, seconds=seconds, labels=labels)
    return Assigned(said.clusters, said.confidence, report)


def with_clusters(recipe: tuple[Any, ...], space: Features) -> tuple[Any, ...]:
    """The recipe with its number of clusters, or where it says 0 the number of classes among the labels.

    Raises:
        SettingError: Neither is known, or there are fewer samples.
    """
    wanted: int = recipe[0].n_clusters
    known = space.labels[space.labels >= 0] if space.labels is not None else np.empty(0)
    if wanted == 0 and len(known) == 0:
        raise SettingError("the features have no labels to count classes by: say how many clusters with --clusters K.")
    wanted = wanted or len(np.unique(known))
    if wanted > space.n_samples:
        raise SettingError(f"{wanted} clusters asked of {space.n_samples} samples: wanted at most {space.n_samples}.")
    return configure(recipe, {"n_clusters": wanted})


def check_neighbors(given: Mapping[str, Any], space: Features) -> None:
    """Refuses a number of neighbors that someone asked for and there are not; the default is cut to what there is.

    Raises:
        SettingError: It is more than there are.
    """
    for name, value in given.items():
        if name.rpartition(".")[2] == "n_neighbors" and int(value) >= space.n_samples:
            most = space.n_samples - 1
            raise SettingError(f"{name} is {value}, of {space.n_samples} samples: wanted at most {most}.")
