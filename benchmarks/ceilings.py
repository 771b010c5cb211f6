"""Limits of the features: the default beside what labels could choose, name, start or learn.

Command:  python benchmarks/ceilings.py TRAIN TEST [--seeds 3]
Setting:  TRAIN and TEST are feature files of two splits with labels. All rows but k-means and the default use labels,
          those of TRAIN unless TEST is named, and are upper bounds, not results: the head of the default that is best
          by labels of TEST; over-clusters, each named after its most frequent class; a linear discriminant of the
          classes in the default's space, before and after it is trained as the default's heads are; the probes of
          `headclust evaluate --probes`, of raw features.
Figure:   ACC on TEST in percent, and per trained row the log-likelihood of pairs in nats in the last tenth of the
          training (of the default the mean over its heads); means over seeds.
Expected: on CIFAR-100 the classes at a likelihood no higher than the default's heads: then a better search of the same
          objective gains nothing.
Result:   see docs/default.md, "How far the features allow".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from script import answer, labeled_pair
from tiny import feature_file

from headclust.features import Features
from headclust.graph.neighbors import shared_neighbors
from headclust.group import current
from headclust.methods import FitResult, Recipe
from headclust.methods.consensus.calibration import temper_
from headclust.methods.consensus.partitions import neighbors_within_cluster
from headclust.methods.consensus.refinement import limited
from headclust.methods.registry import PRESETS
from headclust.model import ClusterModel
from headclust.model.heads.linear import LinearHeads
from headclust.scoring import metrics
from headclust.scoring.probes import PROBES
from headclust.training.sampling import Samples
from headclust.training.train import train_stage

OVER = (("kmeans", 2), ("kmeans", 5), ("consensus", 2))  # methods, and clusters per class


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    train = parser.add_argument("train", metavar="TRAIN", type=Path, help="feature file with labels")
    test = parser.add_argument("test", metavar="TEST", type=Path, help="another, of the same classes")
    parser.add_argument("--seeds", type=int, default=3)
    return answer("ceilings", parser, run, arguments, made={train: feature_file, test: feature_file}, seeds=1)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    train, test = labeled_pair(options.train, options.test)
    rows: dict[str, list[tuple[float, float]]] = {}
    for seed in range(options.seeds):
        for name, accuracy, likelihood in ceilings(train, test, seed):
            rows.setdefault(name, []).append((accuracy, likelihood))
    print(f"{'':42}{'ACC':>6}{'likelihood':>12}")
    for name, values in rows.items():
        accuracy, likelihood = np.mean(values, 0)
        print(f"{name:42}{accuracy:6.1f}" + ("" if np.isnan(likelihood) else f"{likelihood:12.3f}"))


def ceilings(train: Features, test: Features, seed: int) -> Iterator[tuple[str, float, float]]:
    """Name, ACC on `test` and likelihood (NaN without one) of each row of the table."""
    assert train.labels is not None
    n_classes = int(train.labels.max()) + 1
    default = fit("consensus", train, n_classes, seed)
    yield "k-means", accuracy(fit("kmeans", train, n_classes, seed).model.assign(test).clusters, test), np.nan
    heads = default.model.assign(test)
    likelihood = -float(np.mean(default.history[-2]["loss"]))
    yield "the default", accuracy(heads.clusters, test), likelihood
    yield "its best head, by labels of TEST", max(accuracy(clusters, test) for clusters in heads.by_head), np.nan
    for method, times in OVER:
        over = fit(method, train, times * n_classes, seed)
        classes = named_after(over.assignments, train.labels, over.model.assign(test).clusters)
        yield f"{times} clusters per class, {method}, named", 100 * float(np.mean(classes == test.labels)), np.nan
    untrained, trained, likelihood = from_classes(default.model, train, seed)
    yield "discriminant of the classes", accuracy(untrained.assign(test).clusters, test), np.nan
    yield "the same, trained with pairs", accuracy(trained.assign(test).clusters, test), likelihood
    for name, probe in PROBES.items():
        yield f"{name} (raw features)", 100 * probe(train, test), np.nan


def fit(method: str, train: Features, n_clusters: int, seed: int) -> FitResult:
    """A fit without labels."""
    recipe = Recipe.of(method).changed({"n_clusters": n_clusters})
    return recipe.fit([replace(train, labels=None, class_names=())], seed)


def from_classes(model: ClusterModel, train: Features, seed: int) -> tuple[ClusterModel, ClusterModel, float]:
    """A discriminant of the true classes, the same trained as a head of the default, and its likelihood at the end."""
    assert train.labels is not None
    first, refinement = PRESETS["consensus"]["ours"]
    (transform,) = model.transforms
    rows = transform.rows(train)
    labels, n_classes = torch.from_numpy(train.labels)[None].long(), int(train.labels.max()) + 1
    start = LinearHeads.discriminant(rows, labels, n_classes, shrinkage=first.shrinkage).requires_grad_(False).eval()
    k = neighbors_within_cluster(refinement.n_neighbors, len(rows), n_classes)
    neighbors = shared_neighbors(rows, k, current()).indices
    temper_(start, rows, neighbors[:, 0])
    versions = torch.stack([rows, *(transform.rows(train, view=view) for view in range(train.n_views))])
    source = Samples((rows,), neighbors, (versions,) if train.n_views else ())
    stage = limited(refinement, first.passes, len(rows))
    trained = train_stage(stage, source, seed=seed, start=start, position=1, group=current())
    untrained = replace(model, heads=start, used_heads=(0,), exponent=1.0)
    likelihood = -float(np.mean(trained.history[-1]["loss"]))
    return untrained, replace(untrained, heads=trained.heads), likelihood


def named_after(fitted: NDArray[np.int64], labels: NDArray[np.int64], clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most frequent class among the fitted samples of each sample's cluster, (n_samples,); -1 if it has none."""
    class_of = np.full(max(fitted.max(), clusters.max()) + 1, -1)
    for cluster in np.unique(fitted):
        class_of[cluster] = np.bincount(labels[fitted == cluster]).argmax()
    return class_of[clusters]


def accuracy(clusters: NDArray[np.integer], test: Features) -> float:
    """ACC in percent."""
    return 100 * metrics.score(clusters, test.labels)["accuracy"]


if __name__ == "__main__":
    sys.exit(main())
