"""The default with other objectives in its refinement, from the same partitions.

Command:  python benchmarks/refinements.py FEATURES ... [--kinds all,tail] [--draws 2] [--only pairs,temi]
Setting:  each feature file, which holds labels, is fitted whole (all), or the rows that benchmarks/subsets.py draws of
          it; draw and fit have the same seed. Labels define the tails and score. VARIANTS has the objectives: the
          likelihood of pairs as shipped and without noise; TEMI with beta 0.6, the former objective; its pointwise
          mutual information with beta 1, without weights; SCAN with entropy weights 1 and 5; and no refinement. All
          start from the same heads.
Figure:   per fit ACC in percent of the consensus and mean of the heads; the same of the rows of FEATURES' test split,
          if it lies in the folder DATA-test beside DATA-train; CPU seconds.
Expected: pairs two points above TEMI on equal photos, the same on tails and on the digits; SCAN with weight 5
          ahead on equal photos and up to ten points behind on tails.
Result:   see docs/default-trials.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from script import answer, names
from subsets import KINDS, take
from tiny import feature_file

from headclust.errors import SettingError, unknown
from headclust.features import Features, load_features
from headclust.methods.registry import METHODS, PRESETS
from headclust.scoring import metrics

_TEACHER = {"student_temperature": 1.0, "teacher_temperature": 1.0}
# Changes to the stage that refines the heads.
VARIANTS: dict[str, dict[str, Any]] = {
    "pairs": {},
    "noise=0": {"objective_settings": {"noise": 0.0}},
    "temi": {"objective": "temi", "objective_settings": {"beta": 0.6, **_TEACHER}, "teacher_momentum": 0.99},
    "pmi": {"objective": "pmi", "objective_settings": {"beta": 1.0, **_TEACHER}, "teacher_momentum": 0.9},
    "scan=1": {"objective": "scan", "objective_settings": {"entropy_weight": 1.0}},
    "scan=5": {"objective": "scan", "objective_settings": {"entropy_weight": 5.0}},
    "none": {"length": 0},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    files = parser.add_argument("features", metavar="FEATURES", type=Path, nargs="+", help="files with labels")
    parser.add_argument("--kinds", type=names, default=("all", "tail"))
    parser.add_argument("--only", type=names, default=tuple(VARIANTS), help=f"of {', '.join(VARIANTS)} only these")
    parser.add_argument("--draws", type=int, default=2)
    tiny = {"kinds": ("all",), "draws": 1}
    return answer("refinements", parser, run, arguments, made={files: feature_file}, **tiny)


def run(options: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        SettingError: A kind or variant is unknown, or a file has no labels.
    """
    for chosen, choices, name in ((options.kinds, ("all", *KINDS), "kind"), (options.only, VARIANTS, "variant")):
        for each in chosen:
            if each not in choices:
                raise unknown(name, each, choices)
    print(
        f"{'data':16}{'backbone':20}{'kind':6}{'draw':5}{'objective':10}{'ACC':>6}{'heads':>7}{'test':>6}{'CPU s':>7}"
    )
    for path, kind, draw in product(options.features, options.kinds, range(options.draws)):
        features = load_features(path)
        if features.labels is None:
            raise SettingError(f"{path} has no labels: embed labeled images.")
        part = features if kind == "all" else take(features, kind, draw)
        test = path.parent.with_name(path.parent.name.replace("-train", "-test")) / path.name
        unseen = load_features(test) if test != path and test.exists() else None
        for variant in options.only:
            place = f"{part.attributes['dataset']:16}{part.attributes['backbone']:20}{kind:6}{draw:<5}{variant:10}"
            print(place + measure(part, unseen, VARIANTS[variant], draw), flush=True)


def measure(part: Features, unseen: Features | None, changes: dict[str, Any], seed: int) -> str:
    """Columns of a fit of `part` with the refinement changed."""
    assert part.labels is not None
    first, refinement = PRESETS["consensus"]["ours"]
    stages = (replace(first, n_clusters=len(np.unique(part.labels))), replace(refinement, **changes))
    started = time.process_time()
    result = METHODS["consensus"]((replace(part, labels=None, class_names=()),), stages, seed)
    seconds = time.process_time() - started
    heads = np.mean([accuracy(clusters, part.labels) for clusters in result.head_assignments])
    test = "-"
    if unseen is not None and unseen.labels is not None:
        test = f"{accuracy(result.model.mean_probs(unseen).argmax(1).numpy(), unseen.labels):.1f}"
    return f"{accuracy(result.assignments, part.labels):6.1f}{heads:7.1f}{test:>6}{seconds:7.1f}"


def accuracy(clusters: Any, labels: Any) -> float:
    """ACC in percent."""
    return 100 * metrics.score(clusters, labels)["accuracy"]


if __name__ == "__main__":
    sys.exit(main())
