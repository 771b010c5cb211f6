"""k-means of headclust (faiss, started by k-means++) and of scikit-learn: seconds and inertia.

Command:  python benchmarks/kmeans.py FEATURES.h5 --json
Setting:  L2-normalized features, --clusters, 10 restarts, at most 300 iterations, the same threads, interleaved, median
          of --repeats with one seed each.
Figure:   `sklearn_over_ours`, seconds of scikit-learn divided by those of headclust, and `inertia_ratio`, the lowest
          inertia of headclust divided by that of scikit-learn.
Expected: above 1, and an inertia within half a percent. headclust is slower by a quarter, and the inertia is equal.
Result:   see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

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
    parser.add_argument("--repeats", type=int, default=3)
    return answer("kmeans", parser, run, arguments, made={features: feature_file}, repeats=1)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    features = replace(load_features(options.features), labels=None)
    points = torch.nn.functional.normalize(features.all(), dim=1).numpy()
    recipe = Recipe.of("kmeans").changed({"n_clusters": options.clusters})
    ratios, inertias, seconds = [], [], []
    for seed in range(options.repeats):
        start = time.perf_counter()
        result = recipe.fit((features,), seed)
        middle = time.perf_counter()
        sklearn_result = KMeans(options.clusters, n_init=10, random_state=seed, tol=1e-4).fit(points)
        end = time.perf_counter()
        ratios.append((end - middle) / (middle - start))
        inertias.append(min(result.losses) / sklearn_result.inertia_)
        seconds.append(middle - start)
    report = {
        "sklearn_over_ours": statistics.median(ratios),
        "range": [min(ratios), max(ratios)],
        "inertia_ratio": float(np.median(inertias)),
        "inertia_range": [float(min(inertias)), float(max(inertias))],
        "seconds": statistics.median(seconds),
        "n_samples": len(points),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(report, indent=None if options.json else 2))


if __name__ == "__main__":
    sys.exit(main())
