"""Exact cosine neighbors by the blocked torch search of headclust and by faiss's flat index: seconds.

Command:  python benchmarks/neighbors.py --json
Setting:  20,000 x 1,280 float32 random features, k = 50, same threads, interleaved, median of --repeats.
Figure:   `faiss_over_torch`, seconds of faiss divided by those of headclust; their similarities are equal within 1e-5.
Expected: above 1. It is about 1; torch is used because the same code runs on an accelerator.
Result:   see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence

import faiss
import numpy as np
import torch
from script import answer

from headclust.graph.neighbors import nearest_neighbors


def faiss_neighbors(features: torch.Tensor, k: int) -> np.ndarray:
    """Similarities to the k nearest neighbors by faiss, (n_samples, k), without the sample itself, its best match."""
    unit = torch.nn.functional.normalize(features, dim=1).numpy()
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    similarities, _ = index.search(unit, k + 1)
    return similarities[:, 1:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the JSON object in one line")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    return answer("neighbors", parser, run, arguments, samples=300, repeats=1)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    features = torch.randn(options.samples, 1280, generator=torch.Generator().manual_seed(0))
    torch_seconds, faiss_seconds, ratios = [], [], []
    for _ in range(options.repeats):
        start = time.perf_counter()
        graph = nearest_neighbors(features, 50)
        middle = time.perf_counter()
        similarities = faiss_neighbors(features, 50)
        end = time.perf_counter()
        np.testing.assert_allclose(graph.similarities.numpy(), similarities, atol=1e-5)
        torch_seconds.append(middle - start)
        faiss_seconds.append(end - middle)
        ratios.append(faiss_seconds[-1] / torch_seconds[-1])
    result = {
        "faiss_over_torch": statistics.median(ratios),
        "range": [min(ratios), max(ratios)],
        "torch_seconds": statistics.median(torch_seconds),
        "faiss_seconds": statistics.median(faiss_seconds),
        "samples": options.samples,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result, indent=None if options.json else 2))


if __name__ == "__main__":
    sys.exit(main())
