"""The contest of the default in words and rounded numbers."""

from __future__ import annotations

from collections.abc import Sequence

from headclust.scoring.statistics import Gain, gain, spread
from study.contest import ENTRANTS, Contest
from study.sections import NONE, Section, gain_cells, number_text, percent_text, spread_text

_TITLES = {key: key for key in ENTRANTS} | {"kmeans": "k-means", "own-kmeans": "k-means, own space"}
_SCORES = (
    "ACC in percent on the test split, mean ± standard deviation over seeds; fitted on the train split. Labels score; "
    "they choose nothing, except in the column oracle: the best head of the default by test labels, which nobody has "
    "when it counts."
)
_OWN = (
    "k-means: unit rows, 10 restarts, the lowest inertia. Own space: the same where the default works, after its "
    "transform; at most 100 iterations, and what it finds is said by a linear head (discriminant) instead of by the "
    "nearest centroid, as the default's own heads are made."
)
_PAIRED = (
    "Differences are the default's ACC minus the other's in points, on the same features with the same seed; 95 %: "
    "Student's t over seeds, and in a row of means over the pairs of data set and backbone, which it takes for "
    "independent though backbones on one data set are not. One seed gives no interval."
)
_HOLDS = (
    "Best peer: of k-means, spectral, TEMI and TURTLE, our presets. Holds: the default is at worst one point below it, "
    "or the 95 % interval of the difference holds zero."
)
_SECONDS = (
    "Seconds of a fit. Methods that share the graph of raw neighbors kept beside the features (spectral, temi, scan, "
    "clc) do not count its search; the default searches in its own space, and counts it."
)


def contest_sections(contest: Contest) -> list[Section]:
    """The tables of a contest, without empty ones."""
    tables = [_scores(contest), _duels(contest), _averages(contest), _ablations(contest), _seconds(contest)]
    tables.append(Section("Fits that failed", ("cell", "error"), contest.failures))
    return [table for table in tables if table.rows]


def _shown(contest: Contest) -> list[str]:
    """Entrants with results, without ablations."""
    keys = {key for entrants in contest.results.values() for key in entrants}
    return [key for key, entrant in ENTRANTS.items() if key in keys and entrant.part != "ablation"]


def _scores(contest: Contest) -> Section:
    keys = _shown(contest)
    values = [*((key, "accuracy") for key in keys), ("default", "oracle_head_accuracy")]
    places = [place for place, entrants in contest.results.items() if set(keys) & set(entrants)]
    rows = [(*place, *(spread_text(contest.spread(place, *value)) for value in values)) for place in places]
    if len(rows) > 1:
        means = [percent_text(_mean([contest.mean(place, *value) for place in contest.results])) for value in values]
        rows.append(("mean", f"{len(rows)} pairs", *means))
    columns = ("data set", "backbone", *(f">{_TITLES[key]}" for key in keys), ">oracle")
    return Section("ACC", columns, rows, (_SCORES, _seeds(contest, keys), _OWN))


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean over places; None if any place lacks a value."""
    part = spread([value for value in values if value is not None])
    return part.mean if part and None not in values else None


def _seeds(contest: Contest, keys: Sequence[str]) -> str:
    texts = []
    for key in keys:
        numbers = [part.n for place in contest.results if (part := contest.spread(place, key))]
        texts.append(f"{_TITLES[key]} {' to '.join(map(str, sorted({min(numbers), max(numbers)})))}")
    return f"Seeds: {', '.join(texts)}."


def _duels(contest: Contest) -> Section:
    places = [place for place, entrants in contest.results.items() if "default" in entrants]
    verdicts = [contest.verdict(place) for place in places]
    gains = [
        (contest.over(place, "kmeans"), contest.over(place, "own-kmeans"), verdict.gain, verdict.over_peer)
        for place, verdict in zip(places, verdicts, strict=True)
    ]
    rows: list[Sequence[str]] = []
    for place, verdict, (*baselines, over_peer) in zip(places, verdicts, gains, strict=True):
        part = contest.spread(place, "default")
        rows.append(
            (
                *(*place, *gain_cells(*baselines)),
                f"{_TITLES[verdict.peer]} (of {verdict.peers})" if verdict.peer else NONE,
                *gain_cells(over_peer),
                {None: NONE, True: "yes", False: "no"}[verdict.holds],
                percent_text(part.sd if part else None),
                number_text(contest.mean(place, "default", "clusters_used"), ".4g"),
                number_text(contest.mean(place, "default", "seconds"), ".0f"),
            )
        )
    if len(places) > 1:
        *baselines, over_peer = map(_over_places, zip(*gains, strict=True))
        holds = [verdict.holds for verdict in verdicts if verdict.holds is not None]
        count = f"{sum(holds)} of {len(holds)}" if holds else NONE
        cells = (*gain_cells(*baselines), NONE, *gain_cells(over_peer), count, NONE, NONE, NONE)
        rows.append(("mean", f"{len(places)} pairs", *cells))
    columns = ("data set", "backbone", ">over k-means", ">95 %", ">over own space", ">95 %", ">over the stronger")
    more = (">95 %", "best peer", ">over it", ">95 %", "holds", ">sd", ">clusters", ">seconds")
    return Section("The default, pair by pair", (*columns, *more), rows, (_PAIRED, _HOLDS))


def _over_places(gains: Sequence[Gain | None]) -> Gain | None:
    """The mean over places; None if any place lacks a gain."""
    return None if None in gains else gain([part.mean for part in gains if part])


def _averages(contest: Contest) -> Section:
    n_places = sum("default" in entrants for entrants in contest.results.values())
    rows = [
        (
            *(_TITLES.get(row.key, row.key), percent_text(row.accuracy), *gain_cells(row.gain)),
            f"{row.ahead} of {n_places}" if row.gain else NONE,
        )
        for row in contest.averages()
    ]
    columns = ("method", ">mean ACC", ">default over it", ">95 %", ">default ahead")
    return Section(f"On average over {n_places} pairs", columns, rows if n_places > 1 else ())


def _ablations(contest: Contest) -> Section:
    ablations = {key for key, entrant in ENTRANTS.items() if entrant.part == "ablation"}
    places = [place for place, entrants in contest.results.items() if ablations & set(entrants)]
    rows = []
    for key in ("default", *(key for key in ENTRANTS if key in ablations)):
        if not any(key in contest.results[place] for place in places):
            continue
        # The default is not compared with itself.
        changes = [None if key == "default" else contest.over(place, "default", minuend=key) for place in places]
        cells = []
        for place, change in zip(places, changes, strict=True):
            mean, interval = gain_cells(change)
            cells += [spread_text(contest.spread(place, key)), f"{mean} ({interval})" if change else NONE]
        means = [contest.mean(place, key, "seconds") for place in places]
        seconds = _mean([value for value in means if value is not None])
        rows.append((key, *cells, gain_cells(_over_places(changes))[0], number_text(seconds, ".0f")))
    columns = [column for dataset, backbone in places for column in (f">{dataset}, {backbone}", ">change (95 %)")]
    note = "Change: ACC minus that of the default with the same seed, in points. One setting is changed at a time."
    return Section("Ablations", ("setting", *columns, ">mean change", ">seconds"), rows, (note,))


def _seconds(contest: Contest) -> Section:
    keys = _shown(contest)
    seconds = {place: [contest.mean(place, key, "seconds") for key in keys] for place in contest.results}
    rows = [(*place, *map(number_text, values)) for place, values in seconds.items() if any(values)]
    return Section("Seconds", ("data set", "backbone", *(f">{_TITLES[key]}" for key in keys)), rows, (_SECONDS,))
