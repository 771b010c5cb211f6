"""The speed of training TEMI heads, as a share of the speed of matrix products on the same machine.

Command:  python benchmarks/fit_throughput.py --json
Setting:  preset `authors` of temi, 50 heads, 20,000 x 1,280 float32 random features, 10 clusters, batch 1,024.
Figure:   `fraction_of_matmul`: operations per second of a step, divided by that of the best of five 4096^3 float32
          products with the same threads in the same run. The operations follow from the shapes of the layers: student
          forward, weight gradients, the input gradients that are needed (not those of the features), teacher forward.
          Everything else in a step (activations, losses, AdamW, the teacher's update, sampling) takes time, but counts
          no operations. The seconds of a step are the difference of a longer and a shorter training, divided by the
          difference in steps, so that the setup is not counted. Median of --repeats, with the lowest and highest.
Expected: 0.5 or more; matrix products alone would be 1.
Result:   0.79 (0.77 to 0.83), torch 2.14.1; see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from script import answer

from headclust.methods import Recipe
from headclust.training.sampling import Samples
from headclust.training.stages import Stage
from headclust.training.train import train_stage


def operations(stage: Stage, feature_dim: int) -> int:
    """Floating-point operations of the matrix products in one step."""
    rows = 2 * stage.batch_size
    hidden_dim, bottleneck_dim = stage.head_values["hidden_dim"], stage.head_values["bottleneck_dim"]
    first = feature_dim * hidden_dim
    later = hidden_dim * bottleneck_dim + bottleneck_dim * stage.n_clusters
    forward, weight_gradients, teacher = first + later, first + later, first + later
    return 2 * rows * stage.n_heads * (forward + weight_gradients + later + teacher)


def matmul_speed(side: int) -> float:
    """Operations per second of the best of five float32 products of square matrices."""
    a, b = torch.randn(side, side), torch.randn(side, side)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


def step_seconds(stage: Stage, samples: Samples, *, short: int, long: int) -> float:
    """Seconds per training step, without the setup."""
    times = []
    for length in (short, long):
        start = time.perf_counter()
        train_stage(replace(stage, length=length), samples, seed=0)
        times.append(time.perf_counter() - start)
    return (times[1] - times[0]) / (long - short)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the JSON object in one line")
    parser.add_argument("--heads", type=int, default=50)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=4096, help="rows and columns of the matrices that are multiplied")
    parser.add_argument("--repeats", type=int, default=3)
    return answer("fit_throughput", parser, run, arguments, heads=2, samples=300, side=256, repeats=1)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(options.samples, 1280, generator=generator)
    # Random neighbors need no search, and the time of a step does not depend on them.
    neighbors = torch.randint(options.samples, (options.samples, 50), generator=generator, dtype=torch.int32)
    samples = Samples((features,), neighbors)
    changes = {"n_heads": options.heads, "n_clusters": 10, "unit": "steps", "warmup": 0, "freeze_last_layer": 0}
    (stage,) = Recipe.of("temi", "authors", changes).stages

    fractions, seconds, speeds = [], [], []
    for _ in range(options.repeats):
        speeds.append(matmul_speed(options.side))
        seconds.append(step_seconds(stage, samples, short=2, long=8))
        fractions.append(operations(stage, features.shape[1]) / seconds[-1] / speeds[-1])
    result = {
        "fraction_of_matmul": statistics.median(fractions),
        "range": [min(fractions), max(fractions)],
        "seconds_per_step": statistics.median(seconds),
        "matmul_gflops": statistics.median(speeds) / 1e9,
        "operations_per_step": operations(stage, features.shape[1]),
        "heads": options.heads,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=None if options.json else 2))


if __name__ == "__main__":
    sys.exit(main())
