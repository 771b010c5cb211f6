"""Leading eigenvectors of the neighbor graph by headclust's Chebyshev filter and by ARPACK (SciPy): seconds.

Command:  python benchmarks/eigenvectors.py FEATURES.h5 --vectors 220 --json
Setting:  The normalized graph of 10 neighbors of the unit rows, --vectors eigenvectors, the same threads, interleaved,
          median of --repeats with one seed each; ARPACK with twice as many Lanczos vectors, to an accuracy of 1e-6.
Figure:   `arpack_over_ours`, CPU seconds of ARPACK divided by those of headclust; `value_error`, the largest difference
          of their eigenvalues; `least_cosine`, the smallest cosine between their subspaces.
Expected: above 4 for 200 vectors of 20,000 rows, errors below 1e-4. The last vectors of both may differ, as the
          eigenvalues after them are close.
Result:   see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.sparse.linalg import eigsh
from script import answer
from tiny import feature_file

from headclust.features import load_features
from headclust.graph.eigenvectors import leading_eigenvectors
from headclust.graph.matrix import affinity, normalized
from headclust.graph.neighbors import nearest_neighbors


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    features = parser.add_argument("features", type=Path)
    parser.add_argument("--json", action="store_true", help="print the JSON object in one line")
    parser.add_argument("--vectors", type=int, default=220)
    parser.add_argument("--repeats", type=int, default=3)
    return answer("eigenvectors", parser, run, arguments, made={features: feature_file}, vectors=5, repeats=1)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    matrix = normalized(affinity(nearest_neighbors(load_features(options.features).all(), 10), temperature=0.1))
    n, count = matrix.shape[0], options.vectors
    ours, arpack = [], []
    for seed in range(options.repeats):
        start = time.process_time()
        values, vectors = leading_eigenvectors(matrix, count, seed=seed)
        middle = time.process_time()
        first = np.random.default_rng(seed).uniform(-1, 1, n)
        expected, basis = eigsh(matrix, count, which="LA", v0=first, ncv=min(n, 2 * count + 1), tol=1e-6)
        end = time.process_time()
        ours.append(middle - start)
        arpack.append(end - middle)
    ratios = [other / own for other, own in zip(arpack, ours, strict=True)]
    # Cosines of the angles between the two subspaces, (count,).
    cosines = np.linalg.svd(vectors.double().numpy().T @ basis, compute_uv=False)
    report = {
        "arpack_over_ours": statistics.median(ratios),
        "range": [min(ratios), max(ratios)],
        "seconds": statistics.median(ours),
        "arpack_seconds": statistics.median(arpack),
        "value_error": float(np.abs(values.numpy() - np.sort(expected)[::-1]).max()),
        "least_cosine": float(cosines.min()),
        "n_samples": n,
        "vectors": count,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(report, indent=None if options.json else 2))


if __name__ == "__main__":
    sys.exit(main())
