"""The top of the page: numbers, warnings, and how sure the model is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from headclust.report.data import ReportData
from headclust.report.images import Source, Thumbnails
from headclust.report.near_duplicates import NearDuplicates
from headclust.scoring.metrics import LARGE

_BINS = 20
_MANY = 0.2  # share of unsure images that is worth a warning
_LISTED = 30  # clusters that a warning names


class Tile(NamedTuple):
    """A number, and what it means."""

    name: str
    value: str
    means: str


@dataclass(frozen=True)
class Remark:
    """Something worth a look: `kind` is "warn", or "info" for what only explains the page."""

    kind: str
    what: str
    text: str
    clusters: tuple[int, ...] = ()
    more: bool = False
    href: str = ""


class Bin(NamedTuple):
    """A column of the histogram: its height, 0 to 10, and what it says."""

    height: float
    title: str


def tiles(data: ReportData) -> list[Tile]:
    """What can be said of the clustering without labels."""
    metrics = data.metrics
    agreement = metrics.get("agreement")
    return [
        Tile("Images", f"{len(data.sample_ids):,}", "with a row of features"),
        Tile("Clusters", f"{metrics['clusters_used']} of {metrics['n_clusters']}", "hold at least one image"),
        Tile("Largest", percent(metrics["largest_share"]), f"even would be {percent(1 / metrics['n_clusters'])}"),
        Tile("Evenness", f"{metrics['entropy']:.2f}", "entropy of the sizes: 1 is even, 0 is one cluster"),
        Tile("Confidence", f"{data.confidence.mean(dtype=float):.2f}", "mean over all images"),
        Tile(
            "Agreement",
            "-" if agreement is None else percent(agreement),
            "there is one head only" if agreement is None else "of the heads with the final clusters",
        ),
    ]


def score_tiles(metrics: Mapping[str, Any]) -> list[Tile]:
    """The scores against labels."""
    named = {
        "accuracy": ("Accuracy", "under the best one-to-one matching"),
        "accuracy_majority": ("By majority", "accuracy with spare clusters counted as their majority class"),
        "nmi": ("NMI", "normalized mutual information"),
        "ami": ("AMI", "the same, adjusted for chance"),
        "ari": ("ARI", "pairs that agree, adjusted for chance"),
    }
    return [Tile(name, percent(metrics[key]), means) for key, (name, means) in named.items() if key in metrics]


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f} %"


def threshold(n_clusters: int) -> float:
    """The confidence below which an image counts as unsure: halfway between chance and certainty."""
    return (1 + 1 / n_clusters) / 2


def histogram(data: ReportData) -> list[Bin]:
    """Images by confidence."""
    counts, edges = np.histogram(data.confidence, bins=_BINS, range=(0, 1))
    largest = max(1, int(counts.max()))
    return [
        Bin(10 * count / largest, f"{low:.2f} to {low + 1 / _BINS:.2f}: {count:,} images")
        for count, low in zip(counts.tolist(), edges.tolist(), strict=False)
    ]


def warnings(data: ReportData, source: Source, thumbnails: Thumbnails, twins: NearDuplicates | None) -> list[Remark]:
    """What is worth a look, the most important first."""
    found = [*_of_sizes(data), *_of_confidence(data)]
    if twins and twins.pairs:
        text = f"({len(twins.pairs)} by cosine similarity of the features)."
        found.append(Remark("warn", "Pairs of images are nearly the same", text, href="#twins"))
    skipped = len(data.spaces[0].skipped) if data.spaces else 0
    if skipped:
        what = f"{skipped:,} {'image' if skipped == 1 else 'images'} could not be read"
        found.append(Remark("warn", what, "when the features were made; they are in no cluster.", href="#skipped"))
    if data.missing:
        found.append(Remark("info", "No map, no borders, no near-duplicates:", data.missing))
    if not data.own:
        text = "they were assigned by its model, from other feature files."
        found.append(Remark("info", "These are not the images that the run was fitted on:", text))
    return [*found, *_of_images(source, thumbnails)]


def _of_sizes(data: ReportData) -> list[Remark]:
    n_clusters, n_samples = data.n_clusters, len(data.clusters)
    sizes = np.bincount(data.clusters, minlength=n_clusters)
    found = []
    unused = int((sizes == 0).sum())
    if unused:
        found.append(
            Remark(
                "warn", f"{unused} of {n_clusters} clusters hold no image:", "fewer groups were found than asked for."
            )
        )
    large = np.flatnonzero(sizes > LARGE * n_samples / n_clusters).tolist()
    if large:
        what = "A cluster is" if len(large) == 1 else f"{len(large)} clusters are"
        text = f"more than {LARGE} times as large as an even share:"
        found.append(Remark("warn", what, text, tuple(large[:_LISTED]), len(large) > _LISTED))
    return found


def _of_confidence(data: ReportData) -> list[Remark]:
    if data.n_clusters == 1:
        return []
    low = data.confidence < threshold(data.n_clusters)
    if low.mean() <= _MANY:
        return []
    sizes = np.bincount(data.clusters, minlength=data.n_clusters)
    unsure = np.bincount(data.clusters[low], minlength=data.n_clusters)
    mostly = np.flatnonzero(unsure * 2 > sizes)
    worst = tuple(mostly[np.argsort(-unsure[mostly], kind="stable")][:_LISTED].tolist())
    text = f"confidence below {threshold(data.n_clusters):.2f}" + (", most of all in clusters" if worst else ".")
    return [
        Remark("warn", f"{percent(float(low.mean()))} of the images are unsure:", text, worst, len(mostly) > _LISTED)
    ]


def _of_images(source: Source, thumbnails: Thumbnails) -> list[Remark]:
    found = []
    if source.images is None:
        found.append(Remark("info", "No thumbnails:", source.problem))
    elif source.problem:
        found.append(Remark("info", "The source is not what it was:", source.problem))
    if thumbnails.failed:
        reason = next(iter(thumbnails.failed.values()))
        count = len(thumbnails.failed)
        what = f"{count} {'image' if count == 1 else 'images'} can no longer be read,"
        found.append(Remark("info", what, f"and so have no thumbnail; the first: {reason}."))
    if thumbnails.problem:
        found.append(Remark("info", "Thumbnails are missing:", thumbnails.problem))
    return found
