"""One clustering and its confidence, against several labelings of the same images.

Command:  python benchmarks/labelings.py TRAIN TEST [--clusters 20]
Setting:  TRAIN and TEST are feature files of CIFAR-100 with one backbone. TRAIN is fitted without labels with so many
          clusters; TEST is scored against labelings with as many labels: the superclasses, the classes merged by Ward
          linkage of their means in TRAIN, and the classes merged at random, five each.
Figure:   mean confidence and ACC in percent, for each labeling.
Expected: the confidence is one number, and accuracies differ by more than ten points: then no rule that sees no labels
          is within five points of all of them.
Result:   see docs/default.md, "Confidence".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from script import answer, labeled_pair
from sklearn.cluster import AgglomerativeClustering
from tiny import feature_file

from headclust.features.rows import unit_length
from headclust.images.datasets.cifar import superclass_numbers
from headclust.methods import Recipe
from headclust.scoring import metrics


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    train = parser.add_argument("train", metavar="TRAIN", type=Path, help="feature file with labels")
    test = parser.add_argument("test", metavar="TEST", type=Path, help="another, of the same classes")
    parser.add_argument("--clusters", type=int, default=20)
    return answer("labelings", parser, run, arguments, made={train: feature_file, test: feature_file}, clusters=3)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    train, test = labeled_pair(options.train, options.test)
    assert train.labels is not None
    n_clusters, n_classes = options.clusters, int(train.labels.max()) + 1
    model = Recipe.of().changed({"n_clusters": n_clusters}).fit([replace(train, labels=None, class_names=())], 0).model
    assigned = model.assign(test)
    rows = unit_length(train.all()).numpy()
    means = np.stack([rows[train.labels == number].mean(0) for number in range(n_classes)])
    # The label of each class, (n_classes,).
    labelings = {
        "alike": AgglomerativeClustering(n_clusters).fit_predict(means),
        "random": np.random.default_rng(0).permutation(np.arange(n_classes) % n_clusters),
    }
    if len(train.class_names) == 100 and n_clusters == 20:
        labelings["superclasses"] = superclass_numbers(train.class_names)
    confidence = 100 * float(assigned.confidence.mean())
    for name, labels in labelings.items():
        accuracy = 100 * metrics.score(assigned.clusters, labels[test.labels])["accuracy"]
        print(f"{name:14}confidence {confidence:5.1f}  ACC {accuracy:5.1f}")


if __name__ == "__main__":
    sys.exit(main())
