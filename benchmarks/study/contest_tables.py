"""The contest of the default in words and rounded numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headclust.scoring.statistics import Gain, gain, spread
from study.contest import ENTRANTS, Contest, Place
from study.sections import NONE, Section, gain_text, interval_text, percent_text, spread_text

_TITLES = {"kmeans": "k-means", "own-kmeans": "k-means, own space"}
_MEAN = "mean"
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
    """The tables of a contest; those with nothing in them are left out."""
    found = [_scores(contest), _duels(contest), _averages(contest), _ablations(contest), _seconds(contest)]
    found.append(Section("Fits that failed", ("cell", "error"), tuple(contest.failures)))
    return [section for section in found if section.rows]


def _shown(contest: Contest) -> list[str]:
    """Entrants with results, without ablations."""
    here = {key for results in contest.results.values() for key in results}
    return [key for key, entrant in ENTRANTS.items() if key in here and entrant.part != "ablation"]


def _scores(contest: Contest) -> Section:
    keys = _shown(contest)
    rows = [
        (
            *place,
            *(spread_text(here[key].scores["accuracy"]) if key in here else NONE for key in keys),
            spread_text(here["default"].details.get("oracle_head_accuracy")) if "default" in here else NONE,
        )
        for place, here in contest.results.items()
        if set(keys) & set(here)
    ]
    means = [_mean(contest, lambda place, key=key: _accuracy(contest, place, key)) for key in keys]  # type: ignore[misc]
    means.append(_mean(contest, lambda place: _oracle(contest, place)))
    if len(rows) > 1:
        rows.append((_MEAN, f"{len(rows)} pairs", *means))
    columns = ("data set", "backbone", *(f">{_TITLES.get(key, key)}" for key in keys), ">oracle")
    return Section("ACC", columns, tuple(rows), (_SCORES, _seeds(contest, keys), _OWN))


def _accuracy(contest: Contest, place: Place, key: str) -> float | None:
    result = contest.results[place].get(key)
    return result.accuracy if result else None


def _oracle(contest: Contest, place: Place) -> float | None:
    result = contest.results[place].get("default")
    found = result.details.get("oracle_head_accuracy") if result else None
    return found.mean if found else None


def _mean(contest: Contest, value: Callable[[Place], float | None]) -> str:
    """The mean over all places; nothing where one is missing."""
    values = [value(place) for place in contest.results]
    known = [one for one in values if one is not None]
    found = spread(known)
    return percent_text(found.mean) if found and len(known) == len(values) else NONE


def _seeds(contest: Contest, keys: Sequence[str]) -> str:
    told = []
    for key in keys:
        numbers = [here[key].scores["accuracy"].n for here in contest.results.values() if key in here]
        few, many = min(numbers), max(numbers)
        told.append(f"{_TITLES.get(key, key)} {few if few == many else f'{few} to {many}'}")
    return f"Seeds: {', '.join(told)}."


def _duels(contest: Contest) -> Section:
    places = [place for place, here in contest.results.items() if "default" in here]
    rows: list[tuple[str, ...]] = []
    for place in places:
        said, mine = contest.verdict(place), contest.results[place]["default"]
        used, seconds = mine.details.get("clusters_used"), mine.details.get("seconds")
        deviation = mine.scores["accuracy"].sd
        rows.append(
            (
                *place,
                *_both(contest.over(place, "kmeans")),
                *_both(contest.over(place, "own-kmeans")),
                *_both(said.gain),
                f"{_TITLES.get(said.peer, said.peer)} (of {said.peers})" if said.peer else NONE,
                *_both(said.over_peer),
                NONE if said.holds is None else "yes" if said.holds else "no",
                percent_text(deviation),
                f"{used.mean:.4g}" if used else NONE,
                f"{seconds.mean:.0f}" if seconds else NONE,
            )
        )
    if len(places) > 1:
        verdicts = [contest.verdict(place) for place in places]
        kept = [one.holds for one in verdicts if one.holds is not None]
        averages = [
            _over_places([contest.over(place, "kmeans") for place in places]),
            _over_places([contest.over(place, "own-kmeans") for place in places]),
            _over_places([one.gain for one in verdicts]),
        ]
        over_peer = _both(_over_places([one.over_peer for one in verdicts]))
        gains = [text for one in averages for text in _both(one)]
        counted = f"{sum(kept)} of {len(kept)}" if kept else NONE
        rows.append((_MEAN, f"{len(places)} pairs", *gains, NONE, *over_peer, counted, NONE, NONE, NONE))
    columns = ("data set", "backbone", ">over k-means", ">95 %", ">over own space", ">95 %", ">over the stronger")
    more = (">95 %", "best peer", ">over it", ">95 %", "holds", ">sd", ">clusters", ">seconds")
    return Section("The default, pair by pair", (*columns, *more), tuple(rows), (_PAIRED, _HOLDS))


def _over_places(gains: Sequence[Gain | None]) -> Gain | None:
    known = [one.mean for one in gains if one]
    return gain(known) if len(known) == len(gains) else None


def _both(found: Gain | None) -> tuple[str, str]:
    return gain_text(found), interval_text(found)


def _averages(contest: Contest) -> Section:
    averages = contest.averages()
    n_places = sum("default" in here for here in contest.results.values())
    rows = [
        (
            _TITLES.get(one.key, one.key),
            percent_text(one.accuracy),
            *_both(one.gain),
            f"{one.ahead} of {n_places}" if one.gain else NONE,
        )
        for one in averages
    ]
    columns = ("method", ">mean ACC", ">default over it", ">95 %", ">default ahead")
    return Section(f"On average over {n_places} pairs", columns, tuple(rows if n_places > 1 else ()))


def _ablations(contest: Contest) -> Section:
    keys = [key for key, entrant in ENTRANTS.items() if entrant.part in ("default", "ablation")]
    places = [
        place
        for place, here in contest.results.items()
        if any(key in here and ENTRANTS[key].part == "ablation" for key in keys)
    ]
    rows = []
    for key in keys:
        if not any(key in contest.results[place] for place in places):
            continue
        cells: list[str] = []
        for place in places:
            result = contest.results[place].get(key)
            cells.append(spread_text(result.scores["accuracy"]) if result else NONE)
            if key == "default":
                cells += [NONE]
                continue
            over = contest.over(place, "default", whose=key)
            cells.append(f"{gain_text(over)} ({interval_text(over)})" if over else NONE)
        mean = _over_places([contest.over(place, "default", whose=key) for place in places])
        taken = [one for place in places if key in contest.results[place] for one in [_taken(contest, place, key)]]
        seconds = spread([one for one in taken if one is not None])
        rows.append(
            (key, *cells, gain_text(mean) if key != "default" else NONE, f"{seconds.mean:.0f}" if seconds else NONE)
        )
    columns = [column for dataset, backbone in places for column in (f">{dataset}, {backbone}", ">change (95 %)")]
    note = "Change: ACC minus that of the default with the same seed, in points. One setting is changed at a time."
    return Section("Ablations", ("setting", *columns, ">mean change", ">seconds"), tuple(rows), (note,))


def _taken(contest: Contest, place: Place, key: str) -> float | None:
    seconds = contest.results[place][key].details.get("seconds")
    return seconds.mean if seconds else None


def _seconds(contest: Contest) -> Section:
    keys = _shown(contest)
    rows = []
    for place, here in contest.results.items():
        taken = [_taken(contest, place, key) if key in here else None for key in keys]
        if any(taken):
            rows.append((*place, *(NONE if one is None else f"{one:.1f}" for one in taken)))
    columns = ("data set", "backbone", *(f">{_TITLES.get(key, key)}" for key in keys))
    return Section("Seconds", columns, tuple(rows), (_SECONDS,))
