"""The default against everything else: the entrants, and the comparison of their results. Labels only score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
_NUMBERS = (*SCORES, "clusters_used", "seconds", "neighbor_seconds", *(f"oracle_head_{name}" for name in SCORES))


class Entrant(NamedTuple):
    """One method of the comparison."""

    key: str  # its name on the command line
    row: Row  # the method, its changed settings and its seeds, on the first backbone and on the others
    # Both k-means are baselines; peers are what the default has to hold against, and k-means itself is among them;
    # others are only shown. An ablation is the default with one part removed or replaced.
    part: Literal["default", "baseline", "peer", "other", "ablation"]


# k-means in the default's space: unit rows, within-pair whitening. Of 10 restarts the lowest inertia is taken; a linear
# head predicts its clusters, as the default's own heads do, and nothing refines it.
_OWN_KMEANS = {"n_heads": 1, "tries": 10, "partitions": "kmeans", "temi.length": 0}
_ABLATIONS = ("whiten=false", "views=false", "partitions=kmeans", "temi.length=0", "guard=false", "choose_by=neighbors")
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
    """The fits of the contest, on the features of the study `offline` and with the ids of that study's own cells.

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


class Verdict(NamedTuple):
    """The default's result at a place; fields are None without anything to compare with."""

    stronger: str | None  # the k-means, of the two, with the higher ACC
    gain: Gain | None  # over that one, paired by seed
    peer: str | None  # the best of k-means, spectral, TEMI and TURTLE
    over_peer: Gain | None  # the difference to it, paired by the seeds both have
    peers: int  # number of those four that have a result
    holds: bool | None  # True if that difference is at worst one point, or its 95 % interval contains zero


class Average(NamedTuple):
    """An entrant over all places of the default; every place counts once, by its mean over seeds."""

    key: str  # the entrant, or "stronger k-means": at each place the better of the two
    accuracy: float
    gain: Gain | None  # of the default over it, its interval over the places
    ahead: int  # places at which the default is ahead


class Contest:
    """The results of a contest.

    Args:
        lines: Lines of a results file; fits of no entrant are ignored.

    Attributes:
        results: Place -> key of an entrant, in the order of ENTRANTS -> its scored fits, rows of `summary.frame`.
        failures: Id and error of the fits that failed.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        keys = {(row.method, row.preset, settings_text(row.settings)): key for key, row, _ in _ALL}
        cells = frame(lines)
        cells = cells[(cells["kind"] == "fit") & (cells["role"] != "ablation")]
        contenders = cells[CONTENDER].itertuples(index=False, name=None)
        cells = cells.assign(entrant=pd.Series(map(keys.get, contenders), index=cells.index, dtype=object))
        failed = cells[cells["entrant"].notna() & (cells["status"] == "failed")]
        self.failures = list(zip(failed["id"], failed["error"], strict=True))
        self.results: dict[Place, dict[str, pd.DataFrame]] = {}
        scored = cells[(cells["status"] == "done") & cells["accuracy"].notna()]
        for (dataset, backbone), fits in scored.groupby(["dataset", "backbone"]):
            by_key = dict(iter(fits.groupby("entrant")))
            if by_key:
                self.results[str(dataset), str(backbone)] = {
                    key: current(by_key[key]) for key in ENTRANTS if key in by_key
                }

    def spread(self, place: Place, key: str, column: str = "accuracy") -> Spread | None:
        """Mean and standard deviation over an entrant's seeds; None without any."""
        fits = self.results[place].get(key)
        return None if fits is None else spread_of(fits, column)

    def mean(self, place: Place, key: str, column: str = "accuracy") -> float | None:
        """Mean over an entrant's seeds; None without any."""
        part = self.spread(place, key, column)
        return part.mean if part else None

    def over(self, place: Place, key: str, minuend: str = "default") -> Gain | None:
        """The ACC of the default (or of `minuend`) minus that of an entrant, paired by seed."""
        entrants = self.results[place]
        if minuend not in entrants or key not in entrants:
            return None
        return gain(paired(*(by_seed(entrants[name], "accuracy") for name in (minuend, key))))

    def verdict(self, place: Place) -> Verdict:
        """The default's result at a place."""
        stronger, peer = self._best(place, BASELINES), self._best(place, PEERS)
        over_peer = self.over(place, peer) if peer else None
        return Verdict(
            stronger=stronger,
            gain=self.over(place, stronger) if stronger else None,
            peer=peer,
            over_peer=over_peer,
            peers=sum(key in self.results[place] for key in PEERS),
            holds=_holds(over_peer) if over_peer else None,
        )

    def averages(self) -> list[Average]:
        """Averages of the default, the stronger k-means and each entrant with a result at all places of the default."""
        places = [place for place, entrants in self.results.items() if "default" in entrants]
        rivals = {entrant.key: [entrant.key] * len(places) for entrant in _ALL if entrant.part != "ablation"}
        strongest = {"stronger k-means": [self._best(place, BASELINES) for place in places]}
        averages = []
        for name, keys in ({"default": rivals.pop("default")} | strongest | rivals).items():
            pairs = [(place, key) for place, key in zip(places, keys, strict=True) if key in self.results[place]]
            mean = spread([value for place, key in pairs if key and (value := self.mean(place, key)) is not None])
            if mean is None or len(pairs) < len(places):
                continue
            gains = [over.mean for place, key in pairs if key and (over := self.over(place, key))]
            over_all = gain(gains) if name != "default" and len(gains) == len(places) else None
            averages.append(Average(name, mean.mean, over_all, sum(difference > 0 for difference in gains)))
        return averages

    def _best(self, place: Place, keys: Iterable[str]) -> str | None:
        means = {key: mean for key in keys if (mean := self.mean(place, key)) is not None}
        return max(means, key=lambda key: means[key], default=None)


def as_json(contest: Contest) -> dict[str, Any]:
    """All results in full precision: shares from 0 to 1, seconds."""
    rows = []
    for (dataset, backbone), entrants in contest.results.items():
        for key, fits in entrants.items():
            row: dict[str, Any] = {"dataset": dataset, "backbone": backbone, "entrant": key}
            row |= {"part": ENTRANTS[key].part, "settings": dict(ENTRANTS[key].row.settings)}
            row |= {name: vars(part) for name in _NUMBERS if (part := spread_of(fits, name))}
            over = contest.over((dataset, backbone), key) if key != "default" else None
            rows.append({**row, "default_over_it": vars(over) if over else None})
    verdicts = [
        {"dataset": place[0], "backbone": place[1], **_plain(contest.verdict(place))} for place in contest.results
    ]
    failures = [{"id": name, "error": error} for name, error in contest.failures]
    return {"rows": rows, "verdicts": verdicts, "averages": list(map(_plain, contest.averages())), "failures": failures}


def _plain(record: Verdict | Average) -> dict[str, Any]:
    return {name: vars(value) if isinstance(value, Gain) else value for name, value in record._asdict().items()}


def _holds(over: Gain) -> bool:
    contains_zero = over.low is not None and over.high is not None and over.low <= 0 <= over.high
    return over.mean >= -MARGIN or contains_zero
