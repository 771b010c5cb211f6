"""The cards of the page: one per cluster, and one per group of copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headclust.duplicates import Duplicates
from headclust.progress import percent, printable
from headclust.report.data import ReportData
from headclust.report.geometry import ClusterImages, Geometry, nearest_clusters, select_images
from headclust.report.images import Thumbnail, Thumbnails
from headclust.report.palette import css_classes
from headclust.report.scores import Scores

_MAX_COPIES, _MAX_OF_GROUP = 12, 6  # groups of copies that are shown, and images of each
_ENDING = 44  # characters of a name that is shown in place of its image
_MAX_EACH = 6  # images per kind and cluster
_FOR_CLUSTERS = 1_500  # thumbnails of all clusters together, about


@dataclass(frozen=True)
class Picture:
    """An image in the page. Its pixels are `embedded` in one picture; the others of the same image refer to that."""

    row: int
    name: str
    note: str
    alt: str
    thumb: Thumbnail | None
    embedded: bool = True

    @property
    def ending(self) -> str:
        """The end of the name, which tells images apart, if it is too long to be shown."""
        name = printable(self.name)
        return name if len(name) <= _ENDING else f"…{name[1 - _ENDING :]}"


class Strip(NamedTuple):
    """Pictures of a cluster under a heading."""

    kind: str
    heading: str
    pictures: list[Picture]


class NearCluster(NamedTuple):
    """A cluster near another one: similarity of the centers, row of a thumbnail (or None), name or majority class."""

    number: int
    css: str
    similarity: float
    face: int | None
    who: str


@dataclass(frozen=True)
class Card:
    """A cluster that has images; `order` is its rank by size, `face` the row of a thumbnail, or None.

    `who` is its name, or without one its majority class.
    """

    number: int
    name: str
    who: str
    css: str
    size: int
    count: str
    order: int
    percent: str
    width: float
    confidence: float
    confidence_percent: str
    majority: str
    purity: float
    purity_percent: str
    face: int | None
    strips: list[Strip]
    nearest: list[NearCluster]


@dataclass(frozen=True)
class Copies:
    """Images that are copies of one another, the best first; `apart` if they are in different clusters."""

    pictures: list[Picture]
    text: str
    similarity: str
    apart: bool


def choose_images(data: ReportData, geometry: Geometry | None) -> dict[int, ClusterImages]:
    """The images to show per cluster that has any; fewer of each kind if there are many clusters."""
    sizes = np.bincount(data.clusters, minlength=data.n_ids)
    used = np.flatnonzero(sizes).tolist()
    n_each = int(np.clip(_FOR_CLUSTERS // (4 * max(1, len(used))), 1, _MAX_EACH))
    by_cluster = np.split(np.argsort(data.clusters, kind="stable"), np.cumsum(sizes)[:-1])
    return {cluster: select_images(by_cluster[cluster], data.confidence, geometry, n_each) for cluster in used}


def first_rows(chosen: dict[int, ClusterImages], duplicates: Duplicates | None) -> list[int]:
    """The first rows to make thumbnails of: copies, then the first of every cluster, the second, ..."""
    groups = duplicates.groups[:_MAX_COPIES] if duplicates else ()
    rows = [row for group in groups for row in group.rows[:_MAX_OF_GROUP]]
    for place in range(max((len(images.rows) for images in chosen.values()), default=0)):
        rows += [images.rows[place] for images in chosen.values() if place < len(images.rows)]
    return list(dict.fromkeys(rows))


def make_cards(
    data: ReportData,
    chosen: dict[int, ClusterImages],
    geometry: Geometry | None,
    thumbnails: Thumbnails,
    scores: Scores | None,
) -> list[Card]:
    """One card per cluster that has images, ascending."""
    sizes = np.bincount(data.clusters, minlength=data.n_ids)
    confidence_sums = np.bincount(data.clusters, data.confidence.astype(float), minlength=data.n_ids)
    names = data.groups.names
    by_size = sorted(chosen, key=lambda cluster: (-sizes[cluster], cluster))
    orders = {cluster: place for place, cluster in enumerate(by_size)}
    faces = {
        cluster: next((row for row in images.rows if row in thumbnails.made), None)
        for cluster, images in chosen.items()
    }
    majorities = {cluster: scores.majority(cluster) if scores else None for cluster in chosen}
    cards = []
    for cluster, images in chosen.items():
        majority, purity = majorities[cluster] or ("", 0.0)
        near = nearest_clusters(cluster, geometry) if geometry else []
        cards.append(
            Card(
                number=cluster,
                name=names.get(cluster, ""),
                who=names.get(cluster, majority),
                css=css_classes(cluster),
                size=int(sizes[cluster]),
                count=f"{sizes[cluster]:,}",
                order=orders[cluster],
                percent=percent(sizes[cluster] / len(data.clusters)),
                width=float(sizes[cluster] / sizes.max()),
                confidence=float(confidence_sums[cluster] / sizes[cluster]),
                confidence_percent=percent(confidence_sums[cluster] / sizes[cluster]),
                majority=majority,
                purity=purity,
                purity_percent=percent(purity),
                face=faces[cluster],
                strips=_strips(data, cluster, images, geometry, thumbnails),
                nearest=[
                    NearCluster(
                        other,
                        css_classes(other),
                        similarity,
                        faces[other],
                        names.get(other) or (majorities[other] or ("",))[0],
                    )
                    for other, similarity in near
                ],
            )
        )
    return cards


def _strips(
    data: ReportData, cluster: int, images: ClusterImages, geometry: Geometry | None, thumbnails: Thumbnails
) -> list[Strip]:
    def pictures(rows: Sequence[int], kind: str) -> list[Picture]:
        made = []
        for row in rows:
            confidence = percent(float(data.confidence[row]))
            note = f"near {geometry.neighbor[row]}" if geometry and kind == "borderline" else confidence
            name = data.sample_ids[row]
            alt = f"{name}: {kind} of group {cluster}, confidence {confidence}"
            made.append(Picture(row, name, note, alt, thumbnails.made.get(row)))
        return made

    return [
        Strip("typical", "Typical", pictures(images.typical, "typical")),
        Strip("borderline", "Between two groups", pictures(images.borderline, "borderline")),
        Strip("unsure", "Least sure", pictures(images.unsure, "among the least sure")),
    ]


def make_copies(
    data: ReportData, duplicates: Duplicates, chosen: dict[int, ClusterImages], thumbnails: Thumbnails
) -> list[Copies]:
    """The first groups of copies; they embed the images that no cluster and no earlier group shows."""
    shown = {row for images in chosen.values() for row in images.rows}
    made = []
    for group in duplicates.groups[:_MAX_COPIES]:
        clusters = sorted({int(data.clusters[row]) for row in group.rows})
        place = f"group {clusters[0]}"
        if len(clusters) > 1:
            place = f"groups {', '.join(map(str, clusters[:-1]))} and {clusters[-1]}"
        pictures = []
        for row in group.rows[:_MAX_OF_GROUP]:
            name = data.sample_ids[row]
            note = "best" if row == group.best else ""
            pictures.append(Picture(row, name, note, name, thumbnails.made.get(row), embedded=row not in shown))
            shown.add(row)
        names = ", ".join(data.sample_ids[row] for row in group.copies[: _MAX_OF_GROUP - 1])
        if (hidden := len(group.rows) - len(pictures)) > 0:
            names += f" and {hidden:,} more"
        text = f"{place}: best is {data.sample_ids[group.best]}, {group.reason}; copies: {names}"
        alike = f"Cosine similarity of the features: {group.similarity:.3f}"
        made.append(Copies(pictures, text, alike, len(clusters) > 1))
    return made
