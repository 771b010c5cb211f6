"""What a table says, before anyone has decided how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from headclust.scoring.statistics import Gain, Spread
from study.published import Published


class Unit(NamedTuple):
    """What methods are compared on: one data set seen by one backbone."""

    dataset: str
    backbone: str
    preprocessing: str
    fit_split: str
    eval_split: str


class Contender(NamedTuple):
    """What is compared: a method in one of its presets, with `settings` changed (JSON, empty without changes)."""

    method: str
    preset: str
    settings: str


@dataclass(frozen=True)
class Row:
    """One contender on one unit, over its seeds.

    Attributes:
        unit: The data set and backbone.
        contender: The method.
        facts: What is known of the features, by name; None where it is not.
        seeds: Those that came to an end.
        failed: How many did not.
        stale: How many are left out, as the newest fit of the row is of other features or numbers of clusters.
        scores: By metric, on the evaluation split.
        gains: By metric, over `baseline`, paired by seed; an interval needs two seeds. Empty for the baseline itself.
        baseline: Which k-means it is; empty where there is none to compare with.
        details: `clusters_used`, `seconds` (of the fit, without the neighbor search), `neighbor_seconds`,
            `steps_reached`, `steps_planned`, and where recorded `oracle_METRIC`, the best checkpoint by test labels,
            and `oracle_head_METRIC`, the best head by them.
        n_clusters: Clusters asked for.
        capped: Whether a limit of time ended a fit before its planned steps.
        head_choice: How the head that speaks was chosen, in words.
        published: Numbers others published for this method, data set and backbone.
    """

    unit: Unit
    contender: Contender
    facts: Mapping[str, Any]
    seeds: tuple[int, ...]
    failed: int
    stale: int
    scores: Mapping[str, Spread]
    gains: Mapping[str, Gain]
    baseline: str
    details: Mapping[str, Spread]
    n_clusters: int | None
    capped: bool
    head_choice: str
    published: tuple[Published, ...]


@dataclass(frozen=True)
class Average:
    """One contender over several units; every unit counts once, by the mean over its seeds.

    Attributes:
        scope: What the average runs over: "all", "data set NAME" or "backbone NAME".
        contender: The method.
        n: Units it has scores on.
        ahead: Units on which its accuracy is above that of k-means of the preset ours.
        paired: Units that have a gain over that k-means.
        scores: By metric.
        gains: By metric, over that k-means alone, paired by unit; an interval needs two units.
    """

    scope: str
    contender: Contender
    n: int
    ahead: int
    paired: int
    scores: Mapping[str, Spread]
    gains: Mapping[str, Gain]


@dataclass(frozen=True)
class Point:
    """One value of a setting on an ablation's curve."""

    unit: Unit
    contender: Contender
    curve: str
    value: float
    scores: Mapping[str, Spread]


@dataclass(frozen=True)
class Summary:
    """All a table says.

    Attributes:
        rows: In the order of the table.
        averages: Over several units.
        points: Of the ablations' curves.
        published: Whatever was published of these methods on these data sets, on whatever network.
        failures: Id and error of the cells that failed.
        made_with: Versions, device and threads of the cells, each combination once.
    """

    rows: tuple[Row, ...]
    averages: tuple[Average, ...]
    points: tuple[Point, ...]
    published: tuple[Published, ...]
    failures: tuple[tuple[str, str], ...]
    made_with: tuple[str, ...]
