"""Scores without labels that could choose between the default and SCAN, on equal classes and on long tails.

Command:  python benchmarks/criteria.py FEATURES ... [--kinds all,tail] [--draws 1] [--methods default,scan]
Setting:  each feature file, which holds labels and cached views, is fitted whole (all), or the rows that benchmarks/
          subsets.py draws of it. Draw and fit have the same seed. Labels define the tails and score; no fit and no
          other number uses them.
Figure:   per fit ACC of the fitted rows in percent; mutual information in nats, and agreement in percent, of the
          clusters of an image and of its 10 nearest neighbors by cosine similarity; the same of an image and its views;
          entropy of the cluster sizes, as a share of that of equal ones.
Expected: no score ranks both methods rightly on all sets.
Result:   see docs/default-trials.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from script import answer, names
from subsets import KINDS, take
from tiny import feature_file

from headclust.errors import SettingError, unknown
from headclust.features import load_features
from headclust.graph.neighbors import nearest_neighbors
from headclust.methods import Recipe
from headclust.model import FeatureTransform, side_by_side
from headclust.model.ensemble import neighbor_information
from headclust.scoring import metrics

NEIGHBORS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    files = parser.add_argument(
        "features", metavar="FEATURES", type=Path, nargs="+", help="files with labels and views"
    )
    parser.add_argument("--kinds", type=names, default=("all", "tail"))
    parser.add_argument("--methods", type=names, default=("default", "scan"))
    parser.add_argument("--draws", type=int, default=1)
    tiny = {"kinds": ("all",), "methods": ("default", "kmeans")}
    return answer("criteria", parser, run, arguments, made={files: feature_file}, **tiny)


def run(options: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        SettingError: A kind is unknown, or a file has no labels or views.
    """
    for kind in options.kinds:
        if kind not in ("all", *KINDS):
            raise unknown("kind", kind, ("all", *KINDS))
    print(f"{'data':16}{'backbone':20}{'kind':6}{'draw':5}{'method':9}{'ACC':>6}", end="")
    print(f"{'neighbors':>11}{'agree':>7}{'views':>7}{'agree':>7}{'entropy':>9}")
    for path, kind, draw in product(options.features, options.kinds, range(options.draws)):
        features = load_features(path)
        if features.labels is None or not features.n_views:
            raise SettingError(f"{path} has no labels or no views: embed with --views 2.")
        part = features if kind == "all" else take(features, kind, draw)
        assert part.labels is not None
        blank = replace(part, labels=None, class_names=())
        neighbors = nearest_neighbors(blank, NEIGHBORS).indices.numpy()
        for method in options.methods:
            recipe = Recipe.of(method).changed({"n_clusters": len(np.unique(part.labels))})
            model = recipe.fit([blank], draw).model
            # Clusters of the images and of each view, (1 + n_views, n_samples).
            heads = replace(model, transforms=(FeatureTransform(),))
            versions = [None, *range(part.n_views)]
            inputs = [side_by_side([t.rows(blank, view=view) for t in model.transforms]) for view in versions]
            clusters = np.stack([heads.assign(rows).clusters for rows in inputs])
            shares = np.bincount(clusters[0], minlength=model.n_clusters) / part.n_samples
            entropy = -(shares * np.log(np.maximum(shares, 1e-30))).sum() / np.log(model.n_clusters)
            accuracy = metrics.score(clusters[0], part.labels)["accuracy"]
            pairs = [*scores(clusters[0], neighbors, model.n_clusters), *of_views(clusters, model.n_clusters)]
            place = f"{part.attributes['dataset']:16}{part.attributes['backbone']:20}{kind:6}{draw:<5}{method:9}"
            numbers = "{:6.1f}{:11.3f}{:7.1f}{:7.3f}{:7.1f}{:9.3f}".format(100 * accuracy, *pairs, entropy)
            print(place + numbers, flush=True)


def of_views(clusters: NDArray[np.int64], n_clusters: int) -> tuple[float, float]:
    """`scores` of clusters (versions, n_samples) between all pairs of versions of an image."""
    n_versions, n_samples = clusters.shape
    # The other versions of each image, (versions * n_samples, versions - 1).
    numbers = np.arange(n_versions * n_samples).reshape(n_versions, n_samples)
    others = np.concatenate([np.delete(numbers, version, axis=0).T for version in range(n_versions)]).astype(np.int32)
    return scores(clusters.ravel(), others, n_clusters)


def scores(clusters: NDArray[np.int64], partners: NDArray[np.int32], n_clusters: int) -> tuple[float, float]:
    """Mutual information in nats and agreement in percent of clusters (n,) with those of partners (n, k)."""
    agreement = 100 * float(np.mean(clusters[:, None] == clusters[partners]))
    return neighbor_information(clusters, partners, n_clusters), agreement


if __name__ == "__main__":
    sys.exit(main())
