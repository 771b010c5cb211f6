"""The default against everything else: who takes part, and how their results compare. Labels only score."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from headclust.errors import SettingError, unknown
from headclust.methods import DEFAULT_METHOD
from headclust.scoring.statistics import Gain, Spread, gain, paired, spread
from study.plan import Cell, plan
from study.presets import Row, find_study
from study.published import SCORES
from study.summary import Line, by_seed, contender_of, current, details_of, spreads_of
from study.tables import Contender

MARGIN = 0.01  # how far below the best peer the default may be: one point
Place = tuple[str, str]  # data set and backbone


@dataclass(frozen=True)
class Entrant:
    """Who is compared.

    Attributes:
        key: What a user says.
        row: The method, its changed settings and its seeds, on the first backbone and on the others.
        part: In what it takes part. Both k-means are baselines; peers are what the default has to hold against, and
            k-means itself is among them; the others are only shown. An ablation is the default without one of its
            parts, or with another.
    """

    key: str
    row: Row
    part: Literal["default", "baseline", "peer", "other", "ablation"]


# k-means where the default works: unit rows, their nuisance directions whitened. Of 10 restarts the lowest inertia is
# taken; a linear head says its clusters, as the default's own heads do, and nothing refines it.
_OWN_KMEANS = {"n_heads": 1, "tries": 10, "partitions": "kmeans", "temi.length": 0}
_ABLATIONS: tuple[tuple[str, Any], ...] = (
    ("whiten", False),
    ("views", False),
    ("partitions", "kmeans"),
    ("temi.length", 0),
    ("guard", False),
    ("choose_by", "neighbors"),
)


def _default(settings: Mapping[str, Any], *, seeds: int = 5, seeds_elsewhere: int = 5) -> Row:
    return Row(DEFAULT_METHOD, "ours", settings=settings, seeds=seeds, seeds_elsewhere=seeds_elsewhere)


def _ablation(name: str, value: Any) -> Entrant:
    said = f"{value:g}" if isinstance(value, float) else str(value).lower()
    return Entrant(f"{name}={said}", _default({name: value}, seeds=3, seeds_elsewhere=0), "ablation")


_ALL = (
    Entrant("default", _default({}), "default"),
    Entrant("kmeans", Row("kmeans", "ours", seeds=5, seeds_elsewhere=5), "baseline"),
    Entrant("own-kmeans", _default(_OWN_KMEANS), "baseline"),
    *(Entrant(name, Row(name, "ours", seeds=3), "peer") for name in ("spectral", "temi", "turtle")),
    *(Entrant(name, Row(name, "ours", seeds=3), "other") for name in ("scan", "imc-swav", "clc")),
    *(_ablation(name, value) for name, value in _ABLATIONS),
)
ENTRANTS: dict[str, Entrant] = {entrant.key: entrant for entrant in _ALL}
_PEERS = ("kmeans", *(entrant.key for entrant in _ALL if entrant.part == "peer"))
_BASELINES = tuple(entrant.key for entrant in _ALL if entrant.part == "baseline")


def contest_plan(
    *,
    entrants: Sequence[str] = (),
    backbones: Sequence[str] = (),
    datasets: Sequence[str] = (),
    seeds: int | None = None,
) -> tuple[Cell, ...]:
    """The fits of the contest, on the features of the study `offline`, under the names that study's own cells have.

    Args:
        entrants: Only these, keys in ENTRANTS.
        backbones: Only these.
        datasets: Only these.
        seeds: So many for every entrant, instead of each one's own number.

    Raises:
        SettingError: A name is unknown or given twice, or nothing is left.
    """
    for key in entrants:
        if key not in ENTRANTS:
            raise unknown("entrant", key, ENTRANTS)
        if entrants.count(key) > 1:
            raise SettingError(f"{key} is named twice: wanted each name once.")
    rows = tuple(entrant.row for entrant in _ALL if not entrants or entrant.key in entrants)
    study = replace(find_study("offline"), rows=rows, curves={})
    cells = plan(study, backbones=backbones, datasets=datasets, seeds=seeds)
    return tuple(cell for cell in cells if cell.kind == "fit")


@dataclass(frozen=True)
class Result:
    """What an entrant did at a place.

    Attributes:
        scores: By metric, over its seeds.
        details: `clusters_used`, `seconds`, `oracle_head_METRIC` and so on, as in `tables.Row`.
        accuracies: ACC of each fit, by all that has to be the same for two fits to be a pair.
    """

    scores: Mapping[str, Spread]
    details: Mapping[str, Spread]
    accuracies: Mapping[tuple[Any, ...], float]

    @property
    def accuracy(self) -> float:
        """Mean over seeds."""
        return self.scores["accuracy"].mean


@dataclass(frozen=True)
class Verdict:
    """How the default does at a place; fields are None where there is nothing to compare with.

    Attributes:
        stronger: Which of the two k-means has the higher ACC.
        gain: Over that one, paired by seed.
        peer: The best of k-means, spectral, TEMI and TURTLE.
        over_peer: The difference to it, paired by the seeds both have.
        peers: How many of those four there are.
        holds: Whether that difference is at worst one point, or its 95 % interval holds zero.
    """

    stronger: str | None
    gain: Gain | None
    peer: str | None
    over_peer: Gain | None
    peers: int
    holds: bool | None


@dataclass(frozen=True)
class Average:
    """An entrant over all places where the default is; every place counts once, by its mean over seeds.

    Attributes:
        key: The entrant, or "stronger k-means": at each place the better of the two.
        accuracy: Mean over the places.
        gain: Of the default over it, its interval over the places.
        ahead: Places at which the default is ahead.
    """

    key: str
    accuracy: float
    gain: Gain | None
    ahead: int


class Contest:
    """The results of a contest.

    Args:
        lines: Of a results file; fits that are no entrant's are passed over.

    Attributes:
        results: By place, then by entrant's key, in the order of ENTRANTS.
        failures: Id and error of the fits that failed.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        keys = {_contender(entrant.row): entrant.key for entrant in _ALL}
        found: dict[Place, dict[str, list[Line]]] = defaultdict(lambda: defaultdict(list))
        self.failures: list[tuple[str, str]] = []
        for line in lines:
            key = keys.get(contender_of(line)) if line.get("kind") == "fit" else None
            if key and line["status"] == "done" and "accuracy" in (line.get("scores") or {}):
                found[str(line.get("dataset")), str(line.get("backbone"))][key].append(line)
            elif key and line["status"] == "failed":
                self.failures.append((line["id"], str(line.get("error"))))
        self.results = {
            place: {key: _result(found[place][key]) for key in ENTRANTS if key in found[place]}
            for place in sorted(found)
        }

    def over(self, place: Place, key: str, whose: str = "default") -> Gain | None:
        """How much more ACC the default (or `whose`) has than an entrant, paired by seed."""
        here = self.results[place]
        if whose not in here or key not in here:
            return None
        return gain(paired(here[whose].accuracies, here[key].accuracies))

    def verdict(self, place: Place) -> Verdict:
        """How the default does at a place."""
        stronger, peer = self._best(place, _BASELINES), self._best(place, _PEERS)
        over_peer = self.over(place, peer) if peer else None
        return Verdict(
            stronger=stronger,
            gain=self.over(place, stronger) if stronger else None,
            peer=peer,
            over_peer=over_peer,
            peers=sum(key in self.results[place] for key in _PEERS),
            holds=_holds(over_peer) if over_peer else None,
        )

    def averages(self) -> list[Average]:
        """Of the default, the stronger k-means, and every entrant that has a result wherever the default has one."""
        places = [place for place, here in self.results.items() if "default" in here]
        rivals: dict[str, list[str | None]] = {"default": ["default"] * len(places)}
        rivals["stronger k-means"] = [self._best(place, _BASELINES) for place in places]
        rivals |= {entrant.key: [entrant.key] * len(places) for entrant in _ALL[1:] if entrant.part != "ablation"}
        found = []
        for name, keys in rivals.items():
            pairs = [(place, key) for place, key in zip(places, keys, strict=True) if key in self.results[place]]
            if not pairs or len(pairs) < len(places):
                continue
            mean = spread([self.results[place][key].accuracy for place, key in pairs if key])
            gains = [one.mean for place, key in pairs if key and (one := self.over(place, key))]
            assert mean is not None
            over = gain(gains) if name != "default" and len(gains) == len(places) else None
            found.append(Average(name, mean.mean, over, sum(one > 0 for one in gains)))
        return found

    def _best(self, place: Place, keys: Iterable[str]) -> str | None:
        here = self.results[place]
        return max((key for key in keys if key in here), key=lambda key: here[key].accuracy, default=None)


def as_json(contest: Contest) -> dict[str, Any]:
    """All of it in full precision: shares from 0 to 1, seconds."""
    rows = []
    for (dataset, backbone), here in contest.results.items():
        for key, result in here.items():
            row: dict[str, Any] = {"dataset": dataset, "backbone": backbone, "entrant": key}
            row |= {"part": ENTRANTS[key].part, "settings": dict(ENTRANTS[key].row.settings)}
            wanted = ("clusters_used", "seconds", "neighbor_seconds", *(f"oracle_head_{name}" for name in SCORES))
            told = {**result.scores, **{name: result.details[name] for name in wanted if name in result.details}}
            row |= {name: vars(one) for name, one in told.items()}
            over = contest.over((dataset, backbone), key) if key != "default" else None
            rows.append({**row, "default_over_it": vars(over) if over else None})
    verdicts = [
        {"dataset": dataset, "backbone": backbone, **_plain(vars(contest.verdict((dataset, backbone))))}
        for dataset, backbone in contest.results
    ]
    averages = [_plain(vars(one)) for one in contest.averages()]
    failures = [{"id": name, "error": error} for name, error in contest.failures]
    return {"rows": rows, "verdicts": verdicts, "averages": averages, "failures": failures}


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: vars(value) if isinstance(value, Gain) else value for name, value in fields.items()}


def _contender(row: Row) -> Contender:
    return Contender(row.method, row.preset, json.dumps(dict(row.settings), sort_keys=True) if row.settings else "")


def _result(lines: Sequence[Line]) -> Result:
    lines = current(lines)
    return Result(spreads_of(lines), details_of(lines), by_seed(lines, "accuracy"))


def _holds(over: Gain) -> bool:
    apart = over.low is None or over.high is None or not over.low <= 0 <= over.high
    return over.mean >= -MARGIN or not apart
