"""The contest of the default in words and rounded numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headclust.scoring.statistics import Gain, Spread, gain, spread
from study.contest import ENTRANTS, Contest, by_place
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


def contest_sections(results: Contest) -> list[Section]:
    """The tables of a contest, without empty ones."""
    failures = [(record["id"], record["error"]) for record in results.failures]
    tables = [_scores(results), _duels(results), _averages(results), _ablations(results), _seconds(results)]
    return [table for table in (*tables, Section("Fits that failed", ("cell", "error"), failures)) if table.rows]


def _shown(results: Contest) -> list[str]:
    """Entrants with results, without ablations."""
    keys = {row["entrant"] for row in results.rows if row["part"] != "ablation"}
    return [key for key in ENTRANTS if key in keys]


def _mean(parts: Iterable[Spread | Gain | None]) -> float | None:
    """The mean of means; None if any is missing."""
    parts = list(parts)
    over_all = spread([part.mean for part in parts if part])
    return over_all.mean if over_all and None not in parts else None


def _scores(results: Contest) -> Section:
    keys = _shown(results)
    columns = [*((key, "accuracy") for key in keys), ("default", "oracle_head_accuracy")]
    parts = {place: [rows.get(key, {}).get(name) for key, name in columns] for place, rows in by_place(results).items()}
    rows = [(*place, *map(spread_text, spreads)) for place, spreads in parts.items() if any(spreads)]
    if len(rows) > 1:
        means = [percent_text(_mean(spreads)) for spreads in zip(*parts.values(), strict=True)]
        rows.append(("mean", f"{len(rows)} pairs", *means))
    titles = ("data set", "backbone", *(f">{_TITLES[key]}" for key in keys), ">oracle")
    seeds = {key: [row["accuracy"].n for row in results.rows if row["entrant"] == key] for key in keys}
    ranges = (f"{_TITLES[key]} {' to '.join(map(str, sorted({min(n), max(n)})))}" for key, n in seeds.items())
    return Section("ACC", titles, rows, (_SCORES, f"Seeds: {', '.join(ranges)}.", _OWN))


def _duels(results: Contest) -> Section:
    places = [
        (verdict, rows)
        for verdict, rows in zip(results.verdicts, by_place(results).values(), strict=True)
        if "default" in rows
    ]
    texts: list[Sequence[str]] = []
    gains = []
    for verdict, rows in places:
        over = [rows.get(key, {}).get("default_over_it") for key in ("kmeans", "own-kmeans")]
        gains.append([*over, verdict["gain"], verdict["over_peer"]])
        used, seconds = (_mean([rows["default"].get(name)]) for name in ("clusters_used", "seconds"))
        texts.append(
            (
                *(verdict["dataset"], verdict["backbone"], *gain_cells(*gains[-1][:3])),
                f"{_TITLES[verdict['peer']]} (of {verdict['peers']})" if verdict["peer"] else NONE,
                *(*gain_cells(verdict["over_peer"]), {None: NONE, True: "yes", False: "no"}[verdict["holds"]]),
                *(percent_text(rows["default"]["accuracy"].sd), number_text(used, ".4g"), number_text(seconds, ".0f")),
            )
        )
    if len(places) > 1:
        *baselines, over_peer = map(_over_places, zip(*gains, strict=True))
        holds = [verdict["holds"] for verdict, _ in places if verdict["holds"] is not None]
        count = f"{sum(holds)} of {len(holds)}" if holds else NONE
        cells = (*gain_cells(*baselines), NONE, *gain_cells(over_peer), count, NONE, NONE, NONE)
        texts.append(("mean", f"{len(places)} pairs", *cells))
    columns = ("data set", "backbone", ">over k-means", ">95 %", ">over own space", ">95 %", ">over the stronger")
    more = (">95 %", "best peer", ">over it", ">95 %", "holds", ">sd", ">clusters", ">seconds")
    return Section("The default, pair by pair", (*columns, *more), texts, (_PAIRED, _HOLDS))


def _over_places(gains: Sequence[Gain | None]) -> Gain | None:
    """The mean over places with its interval; None if any place lacks a gain."""
    return None if None in gains else gain([part.mean for part in gains if part])


def _averages(results: Contest) -> Section:
    n_places = sum(row["entrant"] == "default" for row in results.rows)
    rows = [
        (
            *(_TITLES.get(row["key"], row["key"]), percent_text(row["accuracy"]), *gain_cells(row["gain"])),
            f"{row['ahead']} of {n_places}" if row["gain"] else NONE,
        )
        for row in results.averages
    ]
    columns = ("method", ">mean ACC", ">default over it", ">95 %", ">default ahead")
    return Section(f"On average over {n_places} pairs", columns, rows if n_places > 1 else ())


def _ablations(results: Contest) -> Section:
    ablations = [key for key, entrant in ENTRANTS.items() if entrant.part == "ablation"]
    places = {place: rows for place, rows in by_place(results).items() if set(ablations) & set(rows)}
    texts = []
    for key in ("default", *ablations):
        rows = [place.get(key, {}) for place in places.values()]
        if not any(rows):
            continue
        changes = [_reverse(row.get("default_over_it")) for row in rows]
        cells = [
            text
            for row, change, (mean, interval) in zip(rows, changes, map(gain_cells, changes), strict=True)
            for text in (spread_text(row.get("accuracy")), f"{mean} ({interval})" if change else NONE)
        ]
        seconds = _mean(row["seconds"] for row in rows if row.get("seconds"))
        texts.append((key, *cells, gain_cells(_over_places(changes))[0], number_text(seconds, ".0f")))
    columns = [column for dataset, backbone in places for column in (f">{dataset}, {backbone}", ">change (95 %)")]
    note = "Change: ACC minus that of the default with the same seed, in points. One setting is changed at a time."
    return Section("Ablations", ("setting", *columns, ">mean change", ">seconds"), texts, (note,))


def _reverse(over: Gain | None) -> Gain | None:
    """The gain of an entrant over the default; None for the default itself."""
    return over and Gain(0 - over.mean, over.high and 0 - over.high, over.low and 0 - over.low, over.n)


def _seconds(results: Contest) -> Section:
    keys = _shown(results)
    rows = []
    for place, entrants in by_place(results).items():
        seconds = [_mean([entrants.get(key, {}).get("seconds")]) for key in keys]
        if any(seconds):
            rows.append((*place, *map(number_text, seconds)))
    return Section("Seconds", ("data set", "backbone", *(f">{_TITLES[key]}" for key in keys)), rows, (_SECONDS,))
