"""Images by cluster, to look at in a notebook: thumbnails in the page, and never more than it can bear."""

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

_MOST = 1_000  # images in one page, of about 3 kB each
_NAME = 80  # characters of a name


@dataclass(frozen=True, eq=False)
class Gallery:
    """Images to show, by cluster; `_repr_html_` is what a notebook shows, `str` what a console does.

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
    """The first images of each cluster, or the surest ones; thumbnails are made when a notebook shows it.

    Args:
        paths: The images, one a label.
        labels: Their clusters, whole numbers; images with a negative one belong to none.
        confidence: How sure each is; the surest of a cluster are shown first.
        n_images: Images a cluster, at most.
        n_clusters: Clusters, the largest first, at most. Together at most a thousand images.

    Raises:
        ValueError: The lengths differ, or a number is not possible.
    """
    names = [os.fsdecode(path) for path in paths]
    found = np.asarray(labels)
    sure = np.zeros(len(names)) if confidence is None else np.asarray(confidence, dtype=float)
    if found.shape != (len(names),) or found.dtype.kind not in "iu" or sure.shape != found.shape:
        told = f"{len(names)} paths, labels {found.dtype} of shape {found.shape}, confidence of shape {sure.shape}"
        raise InputError(f"{told}: expected a whole number, and where given a confidence, for each path.")
    if n_images < 1 or n_clusters < 1 or n_images * n_clusters > _MOST:
        raise InputError(f"{n_clusters} clusters of {n_images} images: expected 1 to {_MOST} images in all.")
    there, sizes = np.unique(found[found >= 0], return_counts=True)
    shown = []
    for at in np.argsort(-sizes, kind="stable")[:n_clusters].tolist():
        rows = np.flatnonzero(found == there[at])
        best = rows[np.argsort(-sure[rows], kind="stable")[:n_images]]
        shown.append((int(there[at]), int(sizes[at]), tuple(names[row] for row in best.tolist())))
    return Gallery(tuple(shown), len(there))


def _figures(paths: Sequence[str]) -> list[str]:
    """An image with its name below it for each path; where it cannot be read, the reason."""
    from headclust.report.images import Source, make_thumbnails  # loads all that makes a page

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
