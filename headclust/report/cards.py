"""What the page shows of each cluster, and of pairs of near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headclust.report.data import ReportData
from headclust.report.geometry import Geometry, Shown, choose, nearest
from headclust.report.images import Thumbnail, Thumbnails
from headclust.report.near_duplicates import NearDuplicates
from headclust.report.palette import look
from headclust.report.scores import Scores

_PAIRS = 12  # of near-duplicates that are shown
_MOST_EACH, _FOR_CLUSTERS = 6, 1_500  # images a kind in a cluster; about so many thumbnails for all clusters


@dataclass(frozen=True)
class Picture:
    """An image in the page. It is `home` in one place; others refer to it."""

    row: int
    name: str
    note: str
    alt: str
    thumb: Thumbnail | None
    home: bool = True


class Strip(NamedTuple):
    """Some pictures of a cluster under a heading."""

    kind: str
    heading: str
    pictures: list[Picture]


class Near(NamedTuple):
    """A cluster that lies near another one; `face` is the row of the image that stands for it."""

    number: int
    look: str
    alike: float
    face: int | None
    majority: str


@dataclass(frozen=True)
class Card:
    """A used cluster; `order` is its place by size."""

    number: int
    look: str
    size: int
    count: str
    order: int
    percent: str
    width: float
    confidence: float
    majority: str
    purity: float
    purity_percent: str
    face: int | None
    strips: list[Strip]
    nearest: list[Near]


@dataclass(frozen=True)
class Pair:
    """Two images that are nearly the same; `apart` when their clusters differ."""

    first: Picture
    second: Picture
    text: str
    apart: bool


def choose_images(data: ReportData, geometry: Geometry | None) -> dict[int, Shown]:
    """The images to show of every used cluster; fewer of each where there are many clusters."""
    sizes = np.bincount(data.clusters, minlength=data.n_clusters)
    used = np.flatnonzero(sizes).tolist()
    n_each = int(np.clip(_FOR_CLUSTERS // (4 * max(1, len(used))), 1, _MOST_EACH))
    by_cluster = np.split(np.argsort(data.clusters, kind="stable"), np.cumsum(sizes)[:-1])
    return {cluster: choose(by_cluster[cluster], data.confidence, geometry, n_each) for cluster in used}


def wanted_rows(chosen: dict[int, Shown], twins: NearDuplicates | None) -> list[int]:
    """Rows whose thumbnails matter most, none twice: of near-duplicates, then the first of every cluster, and so on."""
    rows = [row for one, two, _ in (twins.pairs[:_PAIRS] if twins else ()) for row in (one, two)]
    for place in range(max((len(shown.rows) for shown in chosen.values()), default=0)):
        rows += [shown.rows[place] for shown in chosen.values() if place < len(shown.rows)]
    return list(dict.fromkeys(rows))


def make_cards(
    data: ReportData,
    chosen: dict[int, Shown],
    geometry: Geometry | None,
    thumbnails: Thumbnails,
    scores: Scores | None,
) -> list[Card]:
    """A card for every used cluster, ascending."""
    sizes = np.bincount(data.clusters, minlength=data.n_clusters)
    sure = np.bincount(data.clusters, data.confidence.astype(float), minlength=data.n_clusters)
    orders = {cluster: place for place, cluster in enumerate(sorted(chosen, key=lambda one: (-sizes[one], one)))}
    faces = {
        cluster: next((row for row in shown.rows if row in thumbnails.made), None) for cluster, shown in chosen.items()
    }
    majorities = {cluster: scores.majority(cluster) if scores else None for cluster in chosen}
    cards = []
    for cluster, shown in chosen.items():
        majority, purity = majorities[cluster] or ("", 0.0)
        near = nearest(cluster, geometry) if geometry else []
        cards.append(
            Card(
                number=cluster,
                look=look(cluster),
                size=int(sizes[cluster]),
                count=f"{sizes[cluster]:,}",
                order=orders[cluster],
                percent=f"{100 * sizes[cluster] / len(data.clusters):.1f} %",
                width=float(sizes[cluster] / sizes.max()),
                confidence=float(sure[cluster] / sizes[cluster]),
                majority=majority,
                purity=purity,
                purity_percent=f"{100 * purity:.0f} %",
                face=faces[cluster],
                strips=_strips(data, cluster, shown, geometry, thumbnails),
                nearest=[
                    Near(other, look(other), alike, faces[other], (majorities[other] or ("",))[0])
                    for other, alike in near
                ],
            )
        )
    return cards


def _strips(
    data: ReportData, cluster: int, shown: Shown, geometry: Geometry | None, thumbnails: Thumbnails
) -> list[Strip]:
    def pictures(rows: Sequence[int], kind: str) -> list[Picture]:
        made = []
        for row in rows:
            sure = f"{data.confidence[row]:.2f}"
            beside = f"near {geometry.neighbor[row]}" if geometry and kind == "borderline" else sure
            name = data.sample_ids[row]
            alt = f"{name}: {kind} of cluster {cluster}, confidence {sure}"
            made.append(Picture(row, name, beside, alt, thumbnails.made.get(row)))
        return made

    return [
        Strip("typical", "Typical", pictures(shown.typical, "typical")),
        Strip("borderline", "Borderline", pictures(shown.borderline, "borderline")),
        Strip("unsure", "Least sure", pictures(shown.unsure, "among the least sure")),
    ]


def make_pairs(data: ReportData, twins: NearDuplicates, chosen: dict[int, Shown], thumbnails: Thumbnails) -> list[Pair]:
    """The first pairs of near-duplicates; their images are at home here unless a cluster shows them."""
    taken = {row for shown in chosen.values() for row in shown.rows}
    pairs = []
    for one, two, alike in twins.pairs[:_PAIRS]:
        clusters = int(data.clusters[one]), int(data.clusters[two])
        apart = clusters[0] != clusters[1]
        where = f"clusters {clusters[0]} and {clusters[1]}" if apart else f"cluster {clusters[0]}"
        both = []
        for row in (one, two):
            name = data.sample_ids[row]
            both.append(Picture(row, name, "", name, thumbnails.made.get(row), home=row not in taken))
            taken.add(row)
        names = f"{data.sample_ids[one]} and {data.sample_ids[two]}"
        pairs.append(Pair(both[0], both[1], f"{where}, {alike:.3f} alike: {names}", apart))
    return pairs
