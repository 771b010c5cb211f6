"""Groups of a fine fit joined to a coarse level, against a fit of as many groups.

Command:  python benchmarks/levels.py FEATURES.h5 --classes cifar20 --clusters 100 [--seeds 3] [--joins] [-o FOLDER]
Setting:  the default fitted with --clusters groups, cut by its levels.json to the number of coarse classes; the default
          and k-means fitted with that number. --classes tells the coarse classes: those of the file (same), the 20
          superclasses of CIFAR-100 (cifar20), or animals and vehicles of CIFAR-10 (animals). Labels only score.
          --joins adds other ways to join the same clusters: average linkage of their centers, of what heads confuse
          (Bhattacharyya distance of the clusters that heads give to the images of each), and of the product of both.
Figure:   mean and standard deviation over seeds of ACC (Hungarian), NMI and ARI. Fits are made in -o and reused.
Expected: the cut below the direct fit of the default by at most 3 points of ACC, and above k-means; joins by what heads
          confuse worse than by centers, as most pairs of clusters are never confused, and the product best.
Result:   see docs/how-to/levels.md. Ward's linkage of centers was chosen on the digits (20, 30 and 50 groups to 10) and
          3,000 images of CIFAR-10 (20 and 40 groups to 10, 10 to 2), and measured once on CIFAR-100.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from script import answer
from tiny import feature_file

from headclust import runs, verbs
from headclust.features import Features, load_features
from headclust.images.datasets.cifar import CIFAR20_CLASSES
from headclust.model import ensemble, transformed_rows
from headclust.scoring import metrics

ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
CLASSES = ("same", "cifar20", "animals")
_GROUPS = {name: number for number, group in enumerate(CIFAR20_CLASSES.values()) for name in group}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    features = parser.add_argument("features", type=Path)
    parser.add_argument("--classes", choices=CLASSES, default="same", help="the coarse classes [those of the file]")
    parser.add_argument("--clusters", type=int, default=100, help="groups of the fine fit")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--joins", action="store_true", help="add other ways to join clusters")
    folder = parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/levels"))
    parser.add_argument("--json", action="store_true", help="print one line of JSON per row")
    made = {features: feature_file, folder: lambda path: path}
    return answer("levels", parser, run, arguments, made=made, clusters=12, seeds=1, joins=True)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    features = load_features(options.features)
    labels = coarse_labels(features, options.classes)
    n_coarse = len(np.unique(labels))
    scores: dict[str, list[Mapping[str, float]]] = {}
    for seed in range(options.seeds):
        for name, groups in _groupings(features, options, n_coarse, seed):
            scores.setdefault(name, []).append(metrics.score(groups, labels))
    for name, rows in scores.items():
        figures = {key: [100 * row[key] for row in rows] for key in ("accuracy", "nmi", "ari")}
        means = {key: (statistics.fmean(values), _deviation(values)) for key, values in figures.items()}
        if options.json:
            print(json.dumps({"features": options.features.stem, "groups": name, **figures}), flush=True)
        else:
            text = "  ".join(f"{key} {mean:5.1f} ± {deviation:.1f}" for key, (mean, deviation) in means.items())
            print(f"{name:42} {text}", flush=True)


def coarse_labels(features: Features, classes: str) -> NDArray[np.int64]:
    """The coarse class of each sample, int64 (n_samples,)."""
    assert features.labels is not None
    if classes == "same":
        return features.labels
    table = [name in ANIMALS if classes == "animals" else _GROUPS[name] for name in features.class_names]
    return np.array(table, np.int64)[features.labels]


def _groupings(
    features: Features, options: argparse.Namespace, n_coarse: int, seed: int
) -> list[tuple[str, NDArray[np.int64]]]:
    """The groups to compare, by name."""

    def fitted(method: str, n_clusters: int) -> runs.Record:
        path = options.output / f"{options.features.stem}-{method}-{n_clusters}-{seed}"
        if not runs.is_run(path):
            verbs.fit([options.features], method=method, clusters=n_clusters, seed=seed, output=path)
        return runs.read_record(path)

    fine = fitted("default", options.clusters)
    cut = f"{options.clusters} groups, cut to {n_coarse}"
    others = _other_joins(fine, features, n_coarse) if options.joins else {}
    return [
        (cut, runs.read_groups(fine, level=n_coarse).clusters),
        *((f"{cut}: {name}", groups) for name, groups in others.items()),
        (f"{n_coarse} groups", runs.read_assigned(fitted("default", n_coarse)).clusters),
        (f"{n_coarse} groups by k-means", runs.read_assigned(fitted("kmeans", n_coarse)).clusters),
    ]


def _other_joins(record: runs.Record, features: Features, n_groups: int) -> dict[str, NDArray[np.int64]]:
    """The clusters of a run joined in other ways, by the name of the distance."""
    import torch

    model = runs.read_run(record.path).model
    clusters = runs.read_assigned(record).clusters
    n_clusters, (used, places) = model.n_clusters, np.unique(clusters, return_inverse=True)
    # Cosine distance of the centers, (n_used, n_used).
    sums = torch.zeros(n_clusters, 0)
    for start in range(0, features.n_samples, 8_192):
        block = slice(start, start + 8_192)
        rows = transformed_rows(model, (features,), block)
        sums = sums if sums.shape[1] else torch.zeros(n_clusters, rows.shape[1])
        sums.index_add_(0, torch.from_numpy(clusters[block]), rows)
    centers = torch.nn.functional.normalize(sums[used], dim=1).double().numpy()
    apart = 1 - centers @ centers.T
    # The share of each cluster's images that heads put into each cluster, (n_used, n_clusters).
    by_head = model.assign(features).by_head
    counts = sum(
        np.bincount(clusters * n_clusters + ensemble.align(head, clusters, n_clusters), minlength=n_clusters**2)
        for head in by_head
    )
    shares: NDArray[np.float64] = np.asarray(counts, float).reshape(n_clusters, n_clusters)[used]
    roots = np.sqrt(shares / shares.sum(1, keepdims=True))
    confused = 1 - roots @ roots.T
    ways: dict[str, NDArray[np.float64]] = {"centers": apart, "confusion": confused, "product": apart * confused}
    return {name: _average(distances, n_groups)[places] for name, distances in ways.items()}


def _average(distances: NDArray[Any], n_groups: int) -> NDArray[np.int64]:
    """Groups of clusters by average linkage, int64 (n_clusters,)."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    condensed = squareform((distances + distances.T).clip(0) / 2, checks=False)
    return fcluster(linkage(condensed, "average"), n_groups, "maxclust").astype(np.int64)


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    sys.exit(main())
