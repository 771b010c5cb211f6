"""Clear groups of very unequal size, without views: the default, its parts, and k-means.

Command:  python benchmarks/unequal.py [--draws 6]
Setting:  four groups of 300, 30, 15 and 8 samples with normal noise of deviation 1 in 12 dimensions, whose centers
          are normal with deviation 6 or 2; six draws. Labels only score.
Figure:   ACC of the fitted samples in percent, per draw.
Expected: 100 with deviation 6.
Result:   see docs/default.md, "What each part is worth".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from script import answer

from headclust.features import Features
from headclust.methods.registry import METHODS, PRESETS
from headclust.methods.settings import change_settings
from headclust.scoring import metrics

SIZES, DIM, DEVIATIONS = (300, 30, 15, 8), 12, (6.0, 2.0)
FITS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("consensus", {}),
    "passes": ("consensus", {"passes": 1000.0}),
    "and noise=0": ("consensus", {"passes": 1000.0, "pairs.noise": 0.0}),
    "whiten=false": ("consensus", {"whiten": False}),
    "spectral": ("spectral", {}),
    "kmeans": ("kmeans", {}),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=6)
    return answer("unequal", parser, run, arguments, draws=1)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    labels = np.repeat(np.arange(len(SIZES)), SIZES)
    for name, (method, changed) in FITS.items():
        settings = change_settings(PRESETS[method]["ours"], {"n_clusters": len(SIZES), **changed})
        for deviation in DEVIATIONS:
            scores = []
            for draw in range(options.draws):
                generator = np.random.default_rng(100 + draw)
                centers = deviation * generator.normal(size=(len(SIZES), DIM))
                rows = (centers[labels] + generator.normal(size=(len(labels), DIM))).astype(np.float32)
                result = METHODS[method]((Features.from_array(rows),), settings, 0)
                scores.append(100 * metrics.score(result.assignments, labels)["accuracy"])
            print(f"{name:14} deviation {deviation:.0f}" + "".join(f"{score:7.1f}" for score in scores))


if __name__ == "__main__":
    sys.exit(main())
