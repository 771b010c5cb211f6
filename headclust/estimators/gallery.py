"""Images by cluster for a notebook: thumbnails in the page, of limited number."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from headclust.estimators.summary import STYLE
from headclust.estimators.validation import InputError
from headclust.images.datasets import ImageSet
from headclust.images.image_file import decode
from headclust.progress import printable

_MOST = 1_000  # images per page, of about 3 kB each
_NAME = 80  # characters of a name


@dataclass(frozen=True, eq=False)
class Gallery:
    """Images to show, by cluster: `_repr_html_` for a notebook, `str` for a console.

    Attributes:
        clusters: (cluster, its size, the paths to show), the largest first.
        n_clusters: Clusters that have images, shown or not.
    """

    clusters: tuple[tuple[int, int, tuple[str, ...]], ...] = field(repr=False)
    n_clusters: int

    def __str__(self) -> str:
        lines = [f"cluster {cluster}, {size:,} images: {', '.join(paths)}" for cluster, size, paths in self.clusters]
        return "\n".join(map(printable, lines))

    def _repr_html_(self) -> str:
        return self._html

    @cached_property
    def _html(self) -> str:
        paths = [path for _, _, shown in self.clusters for path in shown]
        figures = iter(_figures(paths))
        parts = [
            f"<h4>Cluster {cluster}, {size:,} images</h4>{''.join(next(figures) for _ in shown)}"
            for cluster, size, shown in self.clusters
        ]
        rest = self.n_clusters - len(self.clusters)
        if rest:
            parts.append(f"<p>{rest} smaller clusters are not shown.</p>")
        return f"{STYLE}<div class='headclust'>{''.join(parts)}</div>"


def gallery(
    paths: Sequence[str | os.PathLike[str]],
    labels: Any,
    confidence: Any = None,
    *,
    n_images: int = 8,
    n_clusters: int = 20,
) -> Gallery:
    """The first images of each cluster, or the most confident ones; thumbnails are made when a notebook shows them.

    Args:
        paths: The images, one per label.
        labels: Their clusters, whole numbers; images with a negative one belong to none.
        confidence: Confidence per image; the most confident of a cluster are shown first.
        n_images: Largest number of images per cluster.
        n_clusters: Largest number of clusters, the largest first; n_images * n_clusters is at most 1,000.

    Raises:
        ValueError: The lengths differ, or a number is not possible.
    """
    names = [os.fsdecode(path) for path in paths]
    clusters = np.asarray(labels)
    confidences = np.zeros(len(names)) if confidence is None else np.asarray(confidence, dtype=float)
    if clusters.shape != (len(names),) or clusters.dtype.kind not in "iu" or confidences.shape != clusters.shape:
        shapes = f"labels {clusters.dtype} of shape {clusters.shape}, confidence of shape {confidences.shape}"
        raise InputError(
            f"{len(names)} paths, {shapes}: expected a whole number, and where given a confidence, for each path."
        )
    if n_images < 1 or n_clusters < 1 or n_images * n_clusters > _MOST:
        raise InputError(f"{n_clusters} clusters of {n_images} images: expected 1 to {_MOST} images in all.")
    ids, sizes = np.unique(clusters[clusters >= 0], return_counts=True)
    shown = []
    for position in np.argsort(-sizes, kind="stable")[:n_clusters].tolist():
        rows = np.flatnonzero(clusters == ids[position])
        best = rows[np.argsort(-confidences[rows], kind="stable")[:n_images]]
        shown.append((int(ids[position]), int(sizes[position]), tuple(names[row] for row in best.tolist())))
    return Gallery(tuple(shown), len(ids))


def _figures(paths: Sequence[str]) -> list[str]:
    """HTML per path: the image with its name below it, or the reason why it cannot be read."""
    from headclust.report.images import Source, make_thumbnails  # loads the libraries of the report

    images = ImageSet(
        "gallery", "all", "", tuple(paths), None, (), ((0, 0),) * len(paths), lambda row: decode(paths[row])
    )
    made = make_thumbnails(Source(images, np.arange(len(paths))), range(len(paths)))
    figures = []
    for row, path in enumerate(paths):
        name = html.escape(printable(path.rpartition("/")[2])[:_NAME], quote=True)
        if row in made.made:
            image = made.made[row]
            shown = f"<img alt='{name}' title='{name}' width='{image.width}' height='{image.height}' src='{image.uri}'>"
            figures.append(f"<figure>{shown}<figcaption>{name}</figcaption></figure>")
        else:
            reason = html.escape(printable(made.failed.get(row, made.problem or "too large for this page")))
            figures.append(f"<figure><figcaption>{name}: {reason}</figcaption></figure>")
    return figures
