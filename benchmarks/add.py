"""Images that come later: accuracy of assigning them with the model of the fit, and of fitting again with all.

Command:  python benchmarks/add.py FEATURES --json
Setting:  FEATURES, labeled; the default, as many clusters as there are classes. Of --classes random classes, --fitted
          images are fitted. Then images are added: of the same classes, --share times as many as were fitted; or half
          of them of --new-classes classes that were not fitted. Both ways are scored on the added images: `assigned`
          with the fitted model, `refitted` with a fit to all images, with a cluster more per new class. Mean of
          --draws draws.
Figure:   ACC (Hungarian) on the added images, in percent; `drift`: share of them with a novelty of 0.99 or more;
          `shift` and `by_chance`, as headclust add prints them; `advised`: draws in which it advises a refit.
Expected: added images of the same classes: a drift of 1 to 2 %, a shift near that by chance, and a gain of a refit
          below two points until as many are added as were fitted. Of new classes: a gain of ten points and more,
          advised mostly.
Result:   see docs/how-to/add.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from script import answer
from tiny import feature_file

from headclust.features import Features, load_features
from headclust.methods import Recipe
from headclust.runs.drift import measure_drift
from headclust.runs.novelty import keep, measure
from headclust.runs.scored_fit import ScoredFit, assign, fit_and_score
from headclust.scoring.metrics import accuracy

Labels = NDArray[np.int64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    file = parser.add_argument("features", type=Path)
    parser.add_argument("--method", default="default")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--new-classes", type=int, default=3)
    parser.add_argument("--fitted", type=int, default=1_000)
    parser.add_argument("--share", type=float, nargs="+", default=[0.1, 0.5, 1.0])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one line of JSON per setting")
    tiny = {"method": "kmeans", "classes": 6, "new_classes": 2, "fitted": 40, "share": [0.5], "draws": 1}
    return answer("add", parser, run, arguments, made={file: feature_file}, **tiny)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    features = load_features(options.features)
    for share in options.share:
        for n_new in (0, options.new_classes):
            rows = [one(features, options, round(share * options.fitted), n_new, draw) for draw in range(options.draws)]
            means = {name: round(float(np.mean([row[name] for row in rows])), 1) for name in rows[0]}
            shown = {"share": share, "new_classes": n_new, **means}
            print(json.dumps(shown) if options.json else "  ".join(f"{name} {value}" for name, value in shown.items()))


def one(features: Features, options: argparse.Namespace, n_added: int, n_new: int, draw: int) -> dict[str, float]:
    """Figures of one draw, in percent."""
    generator = np.random.default_rng(draw)
    assert features.labels is not None
    classes = generator.permutation(np.unique(features.labels))
    old, new = classes[: options.classes], classes[options.classes : options.classes + n_new]
    order = generator.permutation(len(features.labels))
    of_old = order[np.isin(features.labels[order], old)]
    of_new = order[np.isin(features.labels[order], new)][: n_added // 2 if n_new else 0]
    fitted = of_old[: options.fitted]
    added = np.concatenate([of_old[options.fitted : options.fitted + n_added - len(of_new)], of_new])
    before, later = features.select(fitted), features.select(added)
    fit = fitted_to(before, options.method, options.classes)
    assigned = assign(fit.result.model, [later])
    scores = measure(keep([before], 0), [later])
    drift = measure_drift(fit.result.assignments, assigned.clusters, scores, options.classes)
    both = fitted_to(features.select(np.concatenate([fitted, added])), options.method, options.classes + n_new)
    labels = features.labels[added]
    return {
        "assigned": 100 * accuracy(assigned.clusters, labels),
        "refitted": 100 * accuracy(both.result.assignments[len(fitted) :], labels),
        "drift": 100 * drift.unlike_share,
        "shift": 100 * drift.shift,
        "by_chance": 100 * drift.shift_by_chance,
        "advised": 100 * bool(drift.refit_reason),
    }


def fitted_to(features: Features, method: str, n_clusters: int) -> ScoredFit:
    """A fit of a method to features without labels."""
    recipe = Recipe.of(method).changed({"n_clusters": n_clusters})
    return fit_and_score([replace(features, labels=None, class_names=())], recipe, 0)


if __name__ == "__main__":
    raise SystemExit(main())
