"""How well images of classes that were held out of a fit are told from images of the fitted ones.

Command:  python benchmarks/novelty.py FEATURES_FOLDER --model efficientnet_lite0 --json
Setting:  FEATURES_FOLDER/DATA-{train,test}/MODEL.h5 of cifar10, fashion-mnist and digits. The default is fitted to at
          most 3,000 training images of 7 of the 10 classes, drawn by --draws seeds; at most 3,000 test images of all 10
          are scored. `across`: fitted to all classes of CIFAR-10; the new images are those of the other data sets.
          Labels choose the classes and measure; no score sees one.
Figure:   `auroc`, of the score against "held out": 0.5 is chance. `false`, the share of test images of the fitted
          classes above what 99 % of the fitted images stay below; `found`, the same of held-out ones.
Expected: the best mean `auroc` of what is tried with a `false` of 0.01 to 0.02, as the level promises.
Result:   see docs/novelty.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from headclust.features import Features, load_features
from headclust.methods import configure, find_preset
from headclust.runs.novelty import keep, measure
from headclust.runs.scored_fit import ScoredFit, fit_and_score

DATA = ("cifar10", "fashion-mnist", "digits")
_ROWS, _HELD_OUT, _CLASSES = 3_000, 3, 10
Scores = tuple[NDArray[np.floating], NDArray[np.floating]]  # of the new images, of the fitted ones


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--method", default="default")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print a line of JSON a data set")
    options = parser.parse_args()
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


def held_out(train: Features, test: Features, method: str, draw: int) -> dict[str, tuple[float, float, float]]:
    """One draw of held-out classes: (auroc, false, found) by score."""
    held = np.random.default_rng(draw).choice(_CLASSES, _HELD_OUT, replace=False)
    fitted = part(train, [label for label in range(_CLASSES) if label not in held], draw)
    asked = part(test, range(_CLASSES), draw)
    return compared(fitted, asked, np.isin(labels_of(asked), held), method, _CLASSES - _HELD_OUT)


def across(fitted: Features, known: Features, new: Features, method: str) -> dict[str, tuple[float, float, float]]:
    """Images of another data set: (auroc, false, found) by score."""
    parts = [part(one, range(_CLASSES), 0) for one in (known, new)]
    asked = Features.from_array(np.vstack([one.all().numpy() for one in parts]))
    is_new = np.repeat([False, True], [one.n_samples for one in parts])
    return compared(fitted, asked, is_new, method, _CLASSES)


def part(features: Features, classes: range | list[int], seed: int) -> Features:
    """At most 3,000 rows of some classes, at random."""
    labels = labels_of(features)
    there = np.flatnonzero(np.isin(labels, list(classes)))
    rows = np.sort(np.random.default_rng(seed).permutation(there)[:_ROWS])
    return Features.from_array(features.rows(rows).numpy(), labels=labels[rows])


def labels_of(features: Features) -> NDArray[np.int64]:
    """The labels, which all these files have."""
    assert features.labels is not None
    return features.labels


def compared(
    fitted: Features, asked: Features, is_new: NDArray[np.bool_], method: str, n_clusters: int
) -> dict[str, tuple[float, float, float]]:
    """(auroc, false, found) of every score that is tried."""
    name, recipe = find_preset(method, "ours")
    trial = fit_and_score([fitted], name, configure(recipe, {"n_clusters": n_clusters}), 0, tests=[asked])
    rows = {}
    for score, (new, own) in scores(fitted, asked, trial):
        above = new > np.quantile(own, 0.99)
        rows[score] = (float(roc_auc_score(is_new, new)), float(above[~is_new].mean()), float(above[is_new].mean()))
    return rows


def scores(fitted: Features, asked: Features, trial: ScoredFit) -> Iterator[tuple[str, Scores]]:
    """What is tried, by name; every score is higher the less an image is like the fitted ones."""
    seen = keep([fitted], 0)
    yield "novelty", (measure(seen, [asked]), measure(seen, [fitted], fitted=True))
    assert trial.test is not None
    yield "1 - confidence", (-trial.test.confidence, -trial.result.confidence)
    rows, new = F.normalize(fitted.all()), F.normalize(asked.all())
    yield "3 nearest, as embedded", nearest(rows, new)
    transform = trial.result.model.transforms[0]
    heads = nearest(*(F.normalize(transform(one.all())) for one in (fitted, asked)))
    yield "3 nearest, as heads see it", heads
    yield "the two before, summed", summed(nearest(rows, new), heads)
    factor = LocalOutlierFactor(n_neighbors=10, novelty=True).fit(rows.numpy())
    yield "local outlier factor, 10", (-factor.score_samples(new.numpy()), -factor.negative_outlier_factor_)
    yield "Mahalanobis to the nearest cluster", both(mahalanobis(rows, trial.result.assignments), new, rows)
    for n_components in (32, 128):
        yield f"residual of {n_components} components", both(residual(rows, n_components), new, rows)


def both(score: Callable[[torch.Tensor], torch.Tensor], new: torch.Tensor, fitted: torch.Tensor) -> Scores:
    """A score of the new rows and of the fitted ones it was made from."""
    return score(new).numpy(), score(fitted).numpy()


def nearest(rows: torch.Tensor, new: torch.Tensor) -> Scores:
    """Mean distance to the 3 nearest fitted rows, of unit length, without the row itself."""
    own = torch.cdist(rows, rows).fill_diagonal_(torch.inf)
    found = (torch.cdist(new, rows), own)
    return tuple(one.topk(3, 1, largest=False).values.mean(1).numpy() for one in found)  # type: ignore[return-value]


def summed(one: Scores, other: Scores) -> Scores:
    """Two scores together, each over its mean among the fitted images."""
    return tuple(a / one[1].mean() + b / other[1].mean() for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


def mahalanobis(rows: torch.Tensor, clusters: NDArray[np.int64]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Distance to the nearest cluster's mean under the covariance they share, shrunk by Ledoit and Wolf."""
    names, numbers = np.unique(clusters, return_inverse=True)
    means = torch.stack([rows[torch.from_numpy(clusters == name)].mean(0) for name in names])
    covariance, _ = ledoit_wolf((rows - means[numbers]).double().numpy(), assume_centered=True)
    root = torch.linalg.cholesky(torch.linalg.inv(torch.from_numpy(covariance))).float()
    return lambda some: torch.cdist(some @ root, means @ root).min(1).values


def residual(rows: torch.Tensor, n_components: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Length of what is left outside of the leading principal components."""
    mean = rows.mean(0)
    leading = torch.linalg.svd(rows - mean, full_matrices=False).Vh[:n_components]
    return lambda some: ((some - mean) - (some - mean) @ leading.T @ leading).norm(dim=1)


def show(name: str, rows: list[dict[str, tuple[float, float, float]]], *, as_json: bool) -> None:
    """Means over draws, and the standard deviation of the AUROC where there are several."""
    for score in rows[0]:
        values = np.array([row[score] for row in rows])
        mean, spread = values.mean(0), values[:, 0].std(ddof=1) if len(rows) > 1 else None
        told = {
            "data": name,
            "score": score,
            "auroc": round(float(mean[0]), 3),
            "sd": None if spread is None else round(float(spread), 3),
            "false": round(float(mean[1]), 3),
            "found": round(float(mean[2]), 3),
        }
        print(json.dumps(told) if as_json else "  ".join(map(str, told.values())), flush=True)


if __name__ == "__main__":
    main()
