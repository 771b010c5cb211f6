"""k-means of headclust, of faiss and of scikit-learn: seconds and inertia.

Command:  python benchmarks/kmeans.py FEATURES.h5 --clusters 100 --json
Setting:  L2-normalized features, --clusters, --restarts, at most 300 iterations, the same threads, interleaved, median
          of --repeats with one seed each. faiss starts from random points, its only start, with all points.
Figure:   `sklearn_over_ours` and `faiss_over_ours`, seconds divided by those of headclust, and `sklearn_inertia` and
          `faiss_inertia`, the lowest inertia of headclust divided by theirs.
Expected: scikit-learn above 1 at an inertia within half a percent; faiss above 0.77 at an inertia that is not higher.
Result:   see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import torch
from script import answer
from sklearn.cluster import KMeans
from tiny import feature_file

from headclust.features import load_features
from headclust.methods import Recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    features = parser.add_argument("features", type=Path)
    parser.add_argument("--json", action="store_true", help="print the JSON object in one line")
    parser.add_argument("--clusters", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    return answer("kmeans", parser, run, arguments, made={features: feature_file}, repeats=1)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    features = replace(load_features(options.features), labels=None)
    points = torch.nn.functional.normalize(features.all(), dim=1).numpy()
    recipe = Recipe.of("kmeans").changed({"n_clusters": options.clusters, "n_heads": options.restarts})
    seconds, inertias = [], []
    for seed in range(options.repeats):
        start = time.perf_counter()
        ours = min(recipe.fit((features,), seed).losses)
        first = time.perf_counter()
        sklearn = KMeans(options.clusters, n_init=options.restarts, random_state=seed, tol=1e-4).fit(points).inertia_
        second = time.perf_counter()
        faiss_inertia = faiss_kmeans(points, options.clusters, options.restarts, seed)
        seconds.append((first - start, second - first, time.perf_counter() - second))
        inertias.append((ours / sklearn, ours / faiss_inertia))
    ratios = [(sklearn / own, others / own) for own, sklearn, others in seconds]
    report = {
        "sklearn_over_ours": middle_and_range(ratio for ratio, _ in ratios),
        "faiss_over_ours": middle_and_range(ratio for _, ratio in ratios),
        "sklearn_inertia": middle_and_range(ratio for ratio, _ in inertias),
        "faiss_inertia": middle_and_range(ratio for _, ratio in inertias),
        "seconds": statistics.median(own for own, *_ in seconds),
        "n_samples": len(points),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(report, indent=None if options.json else 2))


def faiss_kmeans(points: np.ndarray, n_clusters: int, restarts: int, seed: int) -> float:
    """The lowest inertia of faiss's k-means on all points."""
    kmeans = faiss.Kmeans(
        points.shape[1],
        n_clusters,
        niter=300,
        nredo=restarts,
        seed=seed,
        early_stop_threshold=1e-5,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),
    )
    kmeans.train(points)
    distances, _ = kmeans.index.search(points, 1)
    return float(distances.sum(dtype="float64"))


def middle_and_range(values: Iterable[float]) -> list[float]:
    """The median, the lowest and the highest."""
    numbers = list(values)
    return [statistics.median(numbers), min(numbers), max(numbers)]


if __name__ == "__main__":
    sys.exit(main())
