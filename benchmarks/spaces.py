"""Features of several backbones together: the default and k-means on each feature file alone and on all at once.

Command:  python benchmarks/spaces.py FEATURES_FOLDER --json
Setting:  FEATURES_FOLDER/DATA-{train,test}/MODEL.h5 of cifar10, fashion-mnist and digits, and of --models; fitted on
          train with seeds 0 to --seeds less 1, scored on test. The figures of TURTLE are on its own page.
Figure:   ACC in percent, mean and standard deviation over seeds, and the median of the seconds per fit.
Expected: on average all together are above the best one alone, for the default by a few points: backbones make
          different errors, and two backbones were better than one for TURTLE on all three data sets.
Result:   see docs/default.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, stdev

from script import answer, names
from tiny import feature_folder

from headclust.device import resolve_device
from headclust.features import Features, load_features
from headclust.methods import Recipe
from headclust.runs.scored_fit import fit_and_score

DATA = ("cifar10", "digits", "fashion-mnist")
MODELS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
METHODS = ("default", "kmeans")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = parser.add_argument("features", type=Path)
    parser.add_argument("--models", type=names, default=MODELS)
    parser.add_argument("--datasets", type=names, default=DATA)
    parser.add_argument("--methods", type=names, default=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one line of JSON per method and set of files")
    tiny = {"models": MODELS[:2], "datasets": DATA[:1], "methods": ("kmeans",), "seeds": 2}
    return answer("spaces", parser, run, arguments, made={folder: feature_folder}, **tiny)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    for data in options.datasets:
        files = {
            model: [load_features(options.features / f"{data}-{split}" / f"{model}.h5") for split in ("train", "test")]
            for model in options.models
        }
        for chosen in (*((model,) for model in files), tuple(files)):
            for method in options.methods:
                scores = measure([files[model] for model in chosen], method, options.seeds)
                line = {"data": data, "models": " + ".join(chosen), "method": method, **scores}
                print(json.dumps(line) if options.json else "  ".join(map(str, line.values())), flush=True)


def measure(files: list[list[Features]], method: str, seeds: int) -> dict[str, float | None]:
    """ACC on test over seeds, and the seconds per fit."""
    recipe = Recipe.of(method)
    fitted, tests = [pair[0] for pair in files], [pair[1] for pair in files]
    reports = [
        fit_and_score(fitted, recipe, seed, device=resolve_device(), tests=tests).report for seed in range(seeds)
    ]
    scores = [100 * report["eval"]["accuracy"] for report in reports]
    return {
        "accuracy": round(mean(scores), 1),
        "sd": round(stdev(scores), 1) if seeds > 1 else None,
        "seconds": round(median(report["seconds"] for report in reports), 1),
    }


if __name__ == "__main__":
    sys.exit(main())
