"""Scores of novelty: how well each separates images of held-out classes from images of fitted classes.

Command:  python benchmarks/novelty.py FEATURES_FOLDER --model efficientnet_lite0 --json
Setting:  FEATURES_FOLDER/DATA-{train,test}/MODEL.h5 of cifar10, fashion-mnist and digits. The default is fitted to at
          most 3,000 training images of 7 of the 10 classes, in --draws random draws; at most 3,000 test images of all
          10 are scored. Then it is fitted to all classes of CIFAR-10, and the new images are those of another data set.
          Labels choose the classes and are used to measure; no score depends on them.
Figure:   `auroc`, of the score against "held out": 0.5 is chance. `false`: share of test images of the fitted classes
          whose score is above the 99 % quantile of the fitted images. `detected`: the same share of held-out images.
Expected: the best mean `auroc` of the scores that are compared, and `false` at 0.01 to 0.02, about the level.
Result:   see docs/novelty.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from script import answer
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from tiny import feature_folder
from torch import Tensor

from headclust.features import Features, load_features
from headclust.methods import Recipe
from headclust.runs.novelty import keep, measure
from headclust.runs.scored_fit import ScoredFit, fit_and_score

DATA = ("cifar10", "fashion-mnist", "digits")
_ROWS, _HELD_OUT, _CLASSES = 3_000, 3, 10
Scores = tuple[NDArray[np.floating], NDArray[np.floating]]  # of the new images, of the fitted images
Row = dict[str, tuple[float, float, float]]  # (auroc, false, detected) by score


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = parser.add_argument("features", type=Path)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--method", default="default")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one line of JSON per data set and score")
    return answer("novelty", parser, run, arguments, made={folder: feature_folder}, method="kmeans", draws=1)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    files = {
        (data, split): load_features(options.features / f"{data}-{split}" / f"{options.model}.h5")
        for data in DATA
        for split in ("train", "test")
    }
    for data in DATA:
        rows = [held_out(files[data, "train"], files[data, "test"], options.method, n) for n in range(options.draws)]
        show(f"{data}, classes held out", rows, as_json=options.json)
    fitted = part(files["cifar10", "train"], range(_CLASSES), 0)
    for data in DATA[1:]:
        row = across(fitted, files["cifar10", "test"], files[data, "test"], options.method)
        show(f"cifar10, then {data}", [row], as_json=options.json)


def held_out(train: Features, test: Features, method: str, draw: int) -> Row:
    """Figures of one draw of held-out classes."""
    held = np.random.default_rng(draw).choice(_CLASSES, _HELD_OUT, replace=False)
    fitted = part(train, [label for label in range(_CLASSES) if label not in held], draw)
    scored = part(test, range(_CLASSES), draw)
    return compare(fitted, scored, np.isin(labels_of(scored), held), method, _CLASSES - _HELD_OUT)


def across(fitted: Features, same: Features, new: Features, method: str) -> Row:
    """Figures of images of another data set, against test images of the same one."""
    parts = [part(features, range(_CLASSES), 0) for features in (same, new)]
    scored = Features.from_array(np.vstack([features.all().numpy() for features in parts]))
    is_new = np.repeat([False, True], [features.n_samples for features in parts])
    return compare(fitted, scored, is_new, method, _CLASSES)


def part(features: Features, classes: range | list[int], seed: int) -> Features:
    """At most 3,000 rows of some classes, drawn at random."""
    labels = labels_of(features)
    candidates = np.flatnonzero(np.isin(labels, list(classes)))
    rows = np.sort(np.random.default_rng(seed).permutation(candidates)[:_ROWS])
    return Features.from_array(features.rows(rows).numpy(), labels=labels[rows])


def labels_of(features: Features) -> NDArray[np.int64]:
    """The labels, which all these files have."""
    assert features.labels is not None
    return features.labels


def compare(fitted: Features, scored: Features, is_new: NDArray[np.bool_], method: str, n_clusters: int) -> Row:
    """Figures of every score."""
    recipe = Recipe.of(method).changed({"n_clusters": n_clusters})
    fit = fit_and_score([fitted], recipe, 0, tests=[scored])
    row = {}
    for name, (new, own) in scores(fitted, scored, fit):
        above = new > np.quantile(own, 0.99)
        row[name] = (float(roc_auc_score(is_new, new)), float(above[~is_new].mean()), float(above[is_new].mean()))
    return row


def scores(fitted: Features, scored: Features, fit: ScoredFit) -> Iterator[tuple[str, Scores]]:
    """The scores by name; every score is higher for images that are less like the fitted ones."""
    seen = keep([fitted], 0)
    yield "novelty", (measure(seen, [scored]), measure(seen, [fitted], fitted=True))
    assert fit.test is not None
    yield "1 - confidence", (-fit.test.confidence, -fit.result.confidence)
    rows, new = F.normalize(fitted.all()), F.normalize(scored.all())
    backbone = nearest(rows, new)
    yield "3 nearest, backbone features", backbone
    transform = fit.result.model.transforms[0]
    transformed = nearest(*(F.normalize(transform(features.all())) for features in (fitted, scored)))
    yield "3 nearest, transformed features", transformed
    yield "sum of the two above", add(backbone, transformed)
    factor = LocalOutlierFactor(n_neighbors=10, novelty=True).fit(rows.numpy())
    yield "local outlier factor, 10 neighbors", (-factor.score_samples(new.numpy()), -factor.negative_outlier_factor_)
    yield "Mahalanobis to the nearest cluster", both(mahalanobis(rows, fit.result.assignments), new, rows)
    for n_components in (32, 128):
        yield f"residual outside {n_components} principal components", both(residual(rows, n_components), new, rows)


def both(score: Callable[[Tensor], Tensor], new: Tensor, fitted: Tensor) -> Scores:
    """A score of the new rows, and of the fitted rows that it was made from."""
    return score(new).numpy(), score(fitted).numpy()


def nearest(rows: Tensor, new: Tensor) -> Scores:
    """Mean distance to the 3 nearest fitted rows, of unit length, without the row itself."""
    own = torch.cdist(rows, rows).fill_diagonal_(torch.inf)
    distances = (torch.cdist(new, rows), own)
    return tuple(block.topk(3, 1, largest=False).values.mean(1).numpy() for block in distances)  # type: ignore[return-value]


def add(first: Scores, second: Scores) -> Scores:
    """The sum of two scores, each divided by its mean over the fitted images."""
    return tuple(a / first[1].mean() + b / second[1].mean() for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


def mahalanobis(rows: Tensor, clusters: NDArray[np.int64]) -> Callable[[Tensor], Tensor]:
    """Distance to the nearest cluster mean under a covariance shared by the clusters, with Ledoit-Wolf shrinkage."""
    names, numbers = np.unique(clusters, return_inverse=True)
    # Cluster means, (clusters, dim), and the covariance of rows less their cluster's mean, (dim, dim).
    means = torch.stack([rows[torch.from_numpy(clusters == name)].mean(0) for name in names])
    covariance, _ = ledoit_wolf((rows - means[numbers]).double().numpy(), assume_centered=True)
    # With S^-1 = L L', the Mahalanobis distance of x and y is |x L - y L|.
    root = torch.linalg.cholesky(torch.linalg.inv(torch.from_numpy(covariance))).float()
    return lambda points: torch.cdist(points @ root, means @ root).min(1).values


def residual(rows: Tensor, n_components: int) -> Callable[[Tensor], Tensor]:
    """Length of the part of a row outside the leading principal components."""
    mean = rows.mean(0)
    # Principal directions, (n_components, dim); the projection x V' V is taken out of the centered row.
    leading = torch.linalg.svd(rows - mean, full_matrices=False).Vh[:n_components]
    return lambda points: ((points - mean) - (points - mean) @ leading.T @ leading).norm(dim=1)


def show(name: str, rows: list[Row], *, as_json: bool) -> None:
    """Print the means over draws, and the standard deviation of the AUROC if there are several draws."""
    for score in rows[0]:
        values = np.array([row[score] for row in rows])
        mean, spread = values.mean(0), values[:, 0].std(ddof=1) if len(rows) > 1 else None
        line = {
            "data": name,
            "score": score,
            "auroc": round(float(mean[0]), 3),
            "sd": None if spread is None else round(float(spread), 3),
            "false": round(float(mean[1]), 3),
            "detected": round(float(mean[2]), 3),
        }
        print(json.dumps(line) if as_json else "  ".join(map(str, line.values())), flush=True)


if __name__ == "__main__":
    sys.exit(main())
