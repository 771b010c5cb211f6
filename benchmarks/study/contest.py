"""The default against other methods: the entrants, and the comparison of their results. Labels are only for scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import pandas as pd

from headclust.errors import SettingError, unknown
from headclust.methods import DEFAULT_METHOD
from headclust.scoring.statistics import Gain, Spread, gain, paired, spread
from study.plan import Cell, plan
from study.presets import Row, find_study
from study.published import SCORES
from study.summary import CONTENDER, Line, by_seed, current, frame, settings_text, spread_of

MARGIN = 0.01  # how far below the best peer the default may be: one point
Place = tuple[str, str]  # data set and backbone
NUMBERS = (*SCORES, "clusters_used", "seconds", "neighbor_seconds", *(f"oracle_head_{name}" for name in SCORES))


class Entrant(NamedTuple):
    """One method of the comparison."""

    key: str  # its name on the command line
    row: Row  # the method, its changed settings and its seeds, on the first backbone and on the others
    # Both k-means are baselines; peers are the methods that the default must not be worse than, k-means among them;
    # others are only shown. An ablation is the default with one part removed or replaced.
    part: Literal["default", "baseline", "peer", "other", "ablation"]


# k-means in the default's space: unit rows, within-pair whitening. The restart with the lowest inertia of 10 is used; a
# linear head predicts its clusters, like the default's heads, without refinement.
_OWN_KMEANS = {"n_heads": 1, "tries": 10, "partitions": "kmeans", "pairs.length": 0}
_ABLATIONS = (
    "whiten=false",
    "views=false",
    "partitions=graph",
    "partitions=walk",
    "partitions=kmeans",
    "pairs.length=0",
    "pairs.noise=0",
    "choose_by=neighbors",
)
_VALUES = {"false": False, "0": 0}


def _ablation(key: str) -> Entrant:
    name, _, value = key.partition("=")
    settings = {name: _VALUES.get(value, value)}
    return Entrant(key, Row(DEFAULT_METHOD, "ours", settings, seeds=3, seeds_elsewhere=0), "ablation")


_ALL = (
    Entrant("default", Row(DEFAULT_METHOD, "ours", seeds=5, seeds_elsewhere=5), "default"),
    Entrant("kmeans", Row("kmeans", "ours", seeds=5, seeds_elsewhere=5), "baseline"),
    Entrant("own-kmeans", Row(DEFAULT_METHOD, "ours", _OWN_KMEANS, seeds=5, seeds_elsewhere=5), "baseline"),
    *(Entrant(name, Row(name, "ours", seeds=3), "peer") for name in ("spectral", "temi", "turtle")),
    *(Entrant(name, Row(name, "ours", seeds=3), "other") for name in ("scan", "imc-swav", "clc")),
    *map(_ablation, _ABLATIONS),
)
ENTRANTS: dict[str, Entrant] = {entrant.key: entrant for entrant in _ALL}
PEERS = ("kmeans", *(entrant.key for entrant in _ALL if entrant.part == "peer"))
BASELINES = tuple(entrant.key for entrant in _ALL if entrant.part == "baseline")


def contest_plan(
    *,
    entrants: Sequence[str] = (),
    backbones: Sequence[str] = (),
    datasets: Sequence[str] = (),
    seeds: int | None = None,
) -> tuple[Cell, ...]:
    """The fits of the contest, on the features of the study `offline` and with the ids of its cells.

    Args:
        entrants: Only these, keys in ENTRANTS.
        backbones: Only these.
        datasets: Only these.
        seeds: Number of seeds for every entrant, instead of its own.

    Raises:
        SettingError: A name is unknown or given twice, or nothing is left.
    """
    for key in entrants:
        if key not in ENTRANTS:
            raise unknown("entrant", key, ENTRANTS)
        if entrants.count(key) > 1:
            raise SettingError(f"{key} is named twice: expected each name once.")
    rows = tuple(entrant.row for entrant in _ALL if not entrants or entrant.key in entrants)
    study = replace(find_study("offline"), rows=rows, curves={})
    cells = plan(study, backbones=backbones, datasets=datasets, seeds=seeds)
    return tuple(cell for cell in cells if cell.kind == "fit")


class Contest(NamedTuple):
    """The results of a contest in full precision: shares from 0 to 1, seconds.

    Attributes:
        rows: One per place and entrant: Spreads over its seeds by the names NUMBERS, those that are known; and
            `default_over_it`, the Gain of the default over it in ACC, paired by seed.
        verdicts: One per place. `stronger`: the k-means, of the two, with the higher ACC; `gain`: over that one.
            `peer`: the best of k-means, spectral, TEMI and TURTLE; `over_peer`: the difference to it; `peers`: number
            of those four that have a result. `holds`: True if that difference is at worst one point, or its 95 %
            interval contains zero. None without anything to compare with.
        averages: One per entrant with a result at all places of the default, and "stronger k-means", at each place the
            better of the two. Every place counts once, by its mean over seeds. `accuracy`; `gain`: of the default over
            it, the interval over the places; `ahead`: places at which the default is ahead.
        failures: Id and error of the fits that failed.
    """

    rows: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    averages: list[dict[str, Any]]
    failures: list[dict[str, Any]]


def contest(lines: Iterable[Line]) -> Contest:
    """The results of a contest, from the lines of a results file; fits of no entrant are ignored."""
    keys = {(row.method, row.preset, settings_text(row.settings)): key for key, row, _ in _ALL}
    cells = frame(lines)
    contenders = cells[CONTENDER].itertuples(index=False, name=None)
    cells["entrant"] = pd.Series(map(keys.get, contenders), index=cells.index, dtype=object)
    cells = cells[(cells["kind"] == "fit") & (cells["role"] != "ablation") & cells["entrant"].notna()]
    scored = cells[(cells["status"] == "done") & cells["accuracy"].notna()]
    results = Contest([], [], [], cells.loc[cells["status"] == "failed", ["id", "error"]].to_dict("records"))  # type: ignore[arg-type]
    for (dataset, backbone), place in scored.groupby(["dataset", "backbone"]):
        where = {"dataset": dataset, "backbone": backbone}
        fits = {str(key): current(group) for key, group in place.groupby("entrant")}
        accuracies = {key: by_seed(fits[key], "accuracy") for key in ENTRANTS if key in fits}
        rows: dict[str, dict[str, Any]] = {}
        for key, values in accuracies.items():
            row = {**where, "entrant": key, "part": ENTRANTS[key].part, "settings": dict(ENTRANTS[key].row.settings)}
            row |= {name: part for name in NUMBERS if (part := spread_of(fits[key], name))}
            over = gain(paired(accuracies.get("default", {}), values)) if key != "default" else None
            rows[key] = {**row, "default_over_it": over}
        results.rows.extend(rows.values())
        results.verdicts.append(where | _verdict(rows))
    results.averages.extend(_averages(results))
    return results


def by_place(results: Contest) -> dict[Place, dict[str, dict[str, Any]]]:
    """The rows by place and entrant."""
    places: dict[Place, dict[str, dict[str, Any]]] = {}
    for row in results.rows:
        places.setdefault((row["dataset"], row["backbone"]), {})[row["entrant"]] = row
    return places


def _verdict(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    stronger, peer = (
        max((key for key in keys if key in rows), key=lambda key: rows[key]["accuracy"].mean, default=None)
        for keys in (BASELINES, PEERS)
    )
    over_peer = rows[peer]["default_over_it"] if peer else None
    return {
        "stronger": stronger,
        "gain": rows[stronger]["default_over_it"] if stronger else None,
        "peer": peer,
        "over_peer": over_peer,
        "peers": sum(key in rows for key in PEERS),
        "holds": _holds(over_peer) if over_peer else None,
    }


def _holds(over: Gain) -> bool:
    contains_zero = over.low is not None and over.high is not None and over.low <= 0 <= over.high
    return over.mean >= -MARGIN or contains_zero


def _averages(results: Contest) -> Iterator[dict[str, Any]]:
    places: list[dict[str, Any]] = [
        {**rows, "stronger k-means": rows.get(verdict["stronger"])}
        for rows, verdict in zip(by_place(results).values(), results.verdicts, strict=True)
        if "default" in rows
    ]
    for key in ("default", "stronger k-means", *(entrant.key for entrant in _ALL[1:] if entrant.part != "ablation")):
        rows = [row for rows in places if (row := rows.get(key))]
        mean = spread([row["accuracy"].mean for row in rows])
        if mean and len(rows) == len(places):
            gains = [row["default_over_it"].mean for row in rows if row["default_over_it"]]
            over = gain(gains) if len(gains) == len(places) else None
            ahead = sum(difference > 0 for difference in gains)
            yield {"key": key, "accuracy": mean.mean, "gain": over, "ahead": ahead}


def as_json(results: Contest) -> dict[str, list[dict[str, Any]]]:
    """The results with plain objects instead of Spread and Gain."""
    return {
        name: [{k: vars(v) if isinstance(v, Spread | Gain) else v for k, v in record.items()} for record in records]
        for name, records in results._asdict().items()
    }
