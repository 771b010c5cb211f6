"""The top of the page: numbers, remarks, and the histogram of confidences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from headclust.duplicates import Duplicates
from headclust.progress import percent
from headclust.report.data import ReportData
from headclust.report.images import Source, Thumbnails
from headclust.scoring.metrics import LARGE

_BINS = 20
_UNSURE_SHARE = 0.2  # of the images, above which a remark warns
_MAX_NAMED = 30  # clusters per remark

_CONFIDENCE = (
    "How sure the model is of the group of an image: the probability that it gives to that group. It is not the "
    "probability that the group is right, and it is not calibrated: compare it within this page only."
)
_EVENNESS = (
    "The entropy of the group sizes, divided by its largest possible value: 100 % if all groups are of the same size, "
    "0 % if one group has all images. A low value is right for images of which some kinds are rare."
)
_AGREEMENT = (
    "headclust groups the images several times, by models called heads, and combines the results. Agreement is the "
    "share of images that a head puts into the same group as the result, averaged over the heads. A low value means "
    "that the images can be grouped in many ways, so that these groups are one of them."
)


class Tile(NamedTuple):
    """A number with its name, a short explanation, and a longer one that is shown on demand (empty if none)."""

    name: str
    value: str
    description: str
    details: str = ""


@dataclass(frozen=True)
class Remark:
    """A remark under "Worth a look": `kind` is "warn", or "info" if it only explains the page.

    `clusters` are linked after the text; `truncated` if there are more of them.
    """

    kind: str
    title: str
    text: str
    clusters: tuple[int, ...] = ()
    truncated: bool = False
    href: str = ""


class Bin(NamedTuple):
    """A bar of the histogram: its height, 0 to 10, and its text."""

    height: float
    title: str


def tiles(data: ReportData) -> list[Tile]:
    """The metrics that need no labels."""
    metrics = data.metrics
    agreement, used, n_clusters = metrics.get("agreement"), metrics["clusters_used"], metrics["n_clusters"]
    # After fixes or at a level it is unknown.
    alone = "there was only one attempt" if "agreement" in metrics else "known of the groups as fitted"
    agreed = Tile(
        "Agreement",
        "-" if agreement is None else percent(agreement),
        "of several attempts to group" if agreement is not None else alone,
        _AGREEMENT,
    )
    return [
        Tile("Images", f"{len(data.sample_ids):,}", "on this page"),
        Tile(
            "Groups",
            f"{used:,}",
            "each with at least one image" if used == n_clusters else f"of {n_clusters:,} asked for",
        ),
        Tile("Largest group", percent(metrics["largest_share"]), f"{percent(1 / n_clusters)} would be even"),
        Tile("Confidence", percent(data.confidence.mean(dtype=float)), "mean over all images", _CONFIDENCE),
        Tile("Evenness", percent(metrics["entropy"]), "100 % if all groups have the same size", _EVENNESS),
        agreed,
    ]


def score_tiles(metrics: Mapping[str, Any]) -> list[Tile]:
    """The scores against labels."""
    explained = {
        "accuracy": ("Accuracy", "under the best one-to-one matching"),
        "accuracy_majority": ("By majority", "accuracy with unmatched clusters counted as their majority class"),
        "nmi": ("NMI", "normalized mutual information"),
        "ami": ("AMI", "NMI adjusted for chance"),
        "ari": ("ARI", "share of pairs that agree, adjusted for chance"),
    }
    return [
        Tile(name, percent(metrics[key]), description)
        for key, (name, description) in explained.items()
        if key in metrics
    ]


def threshold(n_clusters: int) -> float:
    """The confidence below which an image counts as unsure: halfway between chance and certainty."""
    return (1 + 1 / n_clusters) / 2


def histogram(data: ReportData) -> list[Bin]:
    """Numbers of images by confidence, in bins of equal width."""
    counts, edges = np.histogram(data.confidence, bins=_BINS, range=(0, 1))
    largest = max(1, int(counts.max()))
    return [
        Bin(10 * count / largest, f"{100 * low:.0f} to {100 * (low + 1 / _BINS):.0f} %: {count:,} images")
        for count, low in zip(counts.tolist(), edges.tolist(), strict=False)
    ]


def remarks(
    data: ReportData,
    source: Source,
    thumbnails: Thumbnails,
    duplicates: Duplicates | None,
    *,
    labels: bool = False,
) -> list[Remark]:
    """The remarks under "Worth a look", the most important first; `labels` if a comparison with labels was asked."""
    made = [*_of_sizes(data), *_of_confidence(data)]
    if duplicates and duplicates.groups:
        n_copies = len(duplicates.copies)
        title = "1 image is a copy" if n_copies == 1 else f"{n_copies:,} images are copies"
        made.append(Remark("warn", title, "of others.", href="#near-duplicates"))
    skipped = len(data.spaces[0].skipped) if data.spaces else 0
    if skipped:
        title = f"{skipped:,} {'image' if skipped == 1 else 'images'} could not be read"
        made.append(Remark("warn", title, "and belong to no group.", href="#skipped"))
    if data.problem:
        title = "No map, no images between two groups, no nearest images, no images that look the same:"
        made.append(Remark("info", title, data.problem))
    if labels and data.labels is None:
        text = "the feature file has none." if data.spaces else "the feature file is not available."
        made.append(Remark("info", "No comparison with labels:", text))
    if not data.is_fitted:
        text = "the run's model assigned them, from other feature files."
        made.append(Remark("info", "These are not the images that the run was fitted on:", text))
    return [*made, *_of_images(source, thumbnails)]


def _of_sizes(data: ReportData) -> list[Remark]:
    n_clusters, n_samples = data.n_clusters, len(data.clusters)
    sizes = np.bincount(data.clusters, minlength=data.n_ids)
    made = []
    n_empty = len(data.empty)
    if n_empty:
        title = f"{n_empty} of {n_clusters} groups have no image:"
        made.append(Remark("warn", title, "fewer groups were found than requested."))
    large = np.flatnonzero(sizes > LARGE * n_samples / n_clusters).tolist()
    if large:
        title = "A group is" if len(large) == 1 else f"{len(large)} groups are"
        text = f"more than {LARGE} times as large as if all were even:"
        made.append(Remark("warn", title, text, tuple(large[:_MAX_NAMED]), len(large) > _MAX_NAMED))
    return made


def _of_confidence(data: ReportData) -> list[Remark]:
    if data.model.n_clusters == 1:
        return []
    limit = threshold(data.model.n_clusters)
    low = data.confidence < limit
    if low.mean() <= _UNSURE_SHARE:
        return []
    sizes = np.bincount(data.clusters, minlength=data.n_ids)
    unsure = np.bincount(data.clusters[low], minlength=data.n_ids)
    mostly = np.flatnonzero(unsure * 2 > sizes)  # clusters of which more than half are unsure
    worst = tuple(mostly[np.argsort(-unsure[mostly], kind="stable")][:_MAX_NAMED].tolist())
    title = f"{percent(float(low.mean()))} of the images are unsure:"
    text = f"confidence below {percent(limit)}" + (", mostly in groups" if worst else ".")
    return [Remark("warn", title, text, worst, len(mostly) > _MAX_NAMED)]


def _of_images(source: Source, thumbnails: Thumbnails) -> list[Remark]:
    made = []
    if source.images is None:
        made.append(Remark("info", "No thumbnails:", source.problem))
    elif source.problem:
        made.append(Remark("info", "The images have changed:", source.problem))
    if thumbnails.failed:
        reason = next(iter(thumbnails.failed.values()))
        count = len(thumbnails.failed)
        title = f"{count} {'image' if count == 1 else 'images'} can no longer be read"
        made.append(
            Remark("info", title, f"and therefore {'has' if count == 1 else 'have'} no thumbnail; the first: {reason}.")
        )
    n_images = int((source.rows >= 0).sum()) if source.images else 0
    if (n_small := len(thumbnails.made)) + len(thumbnails.failed) < n_images and not thumbnails.problem:
        title = f"Small copies of {n_small:,} of {n_images:,} images are in this page:"
        made.append(Remark("info", title, "the others are shown from their files, where these can be reached."))
    if thumbnails.problem:
        made.append(Remark("info", "Thumbnails are missing:", thumbnails.problem))
    return made
