"""A summary in words and rounded numbers: the tables for readers, in any format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import pandas as pd

from headclust.scoring.statistics import Gain, Spread
from study.published import SCORES, TRUST, Published
from study.summary import UNIT, Summary

NONE = "-"
Row = Mapping[str, Any]
_SCORING = (
    "ACC, NMI, AMI and ARI: percent on the evaluation split, mean ± standard deviation over seeds. Labels score; they "
    "choose nothing, except in a column that says oracle."
)
_GAIN = (
    "Over k-means: mean difference of ACC in points between fits on the same features, with the same number of "
    "clusters and seed. 95 %: its interval by Student's t over the seeds; one seed gives none."
)
_SECONDS = "Seconds: of the fit, without the neighbor search, which is kept beside the features."
_STALE = (
    "Seeds that are counted and not there failed, or are left out: they are of other features, or another number of "
    "clusters, than the newest fit of their row."
)
_ON_AVERAGES = (
    "Every pair of data set and backbone counts once, by its mean over seeds, and ± is over the pairs. Gains are those "
    "over k-means ours alone; a pair that has only another k-means has none here. The interval is "
    "Student's t over the pairs' gains; it takes pairs for independent, which like backbones on one data set are not."
)
_ORACLE = (
    "Oracle ACC: the best of several checkpoints by test labels, which nobody has when it counts. It is there for "
    "comparison with papers that report it, and takes part in nothing else."
)
_CLASSES = (
    "Labels of the classes: whether the backbone was trained on labels of the classes it is scored on. Partly: labels "
    "of ImageNet that name kinds of them. Unknown: captions may have named them, or the backbone is not in the catalog."
)
_PROBES = (
    "kNN and linear: accuracy on the evaluation split of classifiers fitted with labels. Purity: share of a sample's "
    "50 nearest neighbors that have its label. In percent."
)


class Section(NamedTuple):
    """A table of texts with its title, and notes below it."""

    title: str
    columns: Sequence[str]  # those that start with ">" are of numbers
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def number_text(value: float | None, form: str = ".1f") -> str:
    """A number as text; a dash for None."""
    return NONE if value is None else format(value, form)


def percent_text(share: float | None) -> str:
    """A share in percent."""
    return NONE if share is None else f"{100 * share:.1f}"


def spread_text(part: Spread | None) -> str:
    """A mean in percent, ± its standard deviation if there is one."""
    return _joined(part.mean, part.sd) if part else NONE


def gain_cells(*gains: Gain | None) -> list[str]:
    """Two cells per gain, in points: its mean and its interval."""
    parts = [(part.mean, part.low, part.high) if part else (None, None, None) for part in gains]
    return [text for mean, low, high in parts for text in (_points(mean), _interval(low, high))]


def recipe(contender: Row) -> str:
    """A contender's preset and changed settings, in words."""
    changes = json.loads(contender["settings"] or "{}").items()
    texts = (f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in changes)
    return ", ".join(text for text in (contender["preset"], *texts) if text)


def _joined(mean: float | None, sd: float | None) -> str:
    return " ± ".join(percent_text(share) for share in (mean, sd) if share is not None) or NONE


def _points(difference: float | None) -> str:
    return NONE if difference is None else f"{100 * difference:+.1f}"


def _interval(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{_points(low)} to {_points(high)}"


def _split(row: Row, split: str) -> str:
    name, samples = row[f"{split}_split"] or NONE, row[f"{split}_samples"]
    return name if samples is None else f"{name}, {samples:,}"


def _seeds(row: Row) -> str:
    ended, missing = len(row["seeds"]), row.get("failed", 0) + row.get("stale", 0)
    return f"{ended} of {ended + missing}" if missing else str(ended)


def _clusters(row: Row) -> str:
    used = number_text(row["clusters_used"], ".4g")
    return f"{used} of {row['n_clusters']}" if used != NONE and row["n_clusters"] else used


def _steps(row: Row) -> str:
    reached, planned = row["steps_reached"], row["steps_planned"]
    is_short = reached is not None and planned and (row["capped"] or reached < planned)
    return f"{reached:,.0f} of {planned:,.0f}" if is_short else number_text(reached, ",.0f")


def _published_accuracies(row: Row) -> str:
    results = [result for result in row["published"] if "accuracy" in result.scores]
    return ", ".join(f"{result.scores['accuracy']:g} [{result.trust}]" for result in results) or NONE


def _printed(result: Published, name: str) -> str:
    numbers = (part[name] for part in (result.scores, result.spreads) if name in part)
    return " ± ".join(f"{number:g}" for number in numbers) or NONE


_CELLS: dict[str, Callable[[Row], str]] = {
    "data set": itemgetter("dataset"),
    "backbone": itemgetter("backbone"),
    "fitted on": lambda row: _split(row, "fit"),
    "scored on": lambda row: _split(row, "eval"),
    "feature point": lambda row: row["feature_point"] or NONE,
    ">px": lambda row: str(row["resolution"] or NONE),
    "text": lambda row: {None: NONE, True: "yes", False: "no"}[row["text_supervised"]],
    "labels of the classes": itemgetter("trained_on_classes"),
    ">kNN": lambda row: percent_text(row["knn_accuracy"]),
    ">linear": lambda row: percent_text(row["linear_accuracy"]),
    ">purity": lambda row: percent_text(row["neighbor_purity"]),
    "average over": itemgetter("scope"),
    "method": itemgetter("method"),
    "preset": recipe,
    "setting": itemgetter("setting"),
    ">value": lambda row: f"{row['value']:g}",
    ">seeds": _seeds,
    ">pairs": lambda row: str(row["pairs"]),
    ">ACC": lambda row: _joined(row["accuracy"], row["accuracy_sd"]),
    ">NMI": lambda row: _joined(row["nmi"], row["nmi_sd"]),
    ">AMI": lambda row: _joined(row["ami"], row["ami_sd"]),
    ">ARI": lambda row: _joined(row["ari"], row["ari_sd"]),
    ">over k-means": lambda row: _points(row["accuracy_gain"]),
    ">95 %": lambda row: _interval(row["accuracy_gain_low"], row["accuracy_gain_high"]),
    ">ahead": lambda row: f"{row['ahead']} of {row['paired']}" if row["paired"] else NONE,
    ">clusters": _clusters,
    ">seconds": lambda row: number_text(row["seconds"]),
    ">steps": _steps,
    "head": lambda row: row["head_choice"] or NONE,
    ">oracle ACC": lambda row: _joined(row["oracle_accuracy"], row["oracle_accuracy_sd"]),
    "published ACC": _published_accuracies,
}
_METRICS = (">ACC", ">NMI", ">AMI", ">ARI")
_ON_FEATURES = tuple(_CELLS)[:11]
_RESULTS = (
    *("backbone", "method", "preset", ">seeds", *_METRICS, ">over k-means", ">95 %", ">clusters", ">seconds", ">steps"),
    *("head", ">oracle ACC", "published ACC"),
)
_OPTIONAL = (">steps", ">oracle ACC", "published ACC")
_AVERAGES = ("average over", "method", "preset", ">pairs", *_METRICS, ">over k-means", ">95 %", ">ahead")
_POINTS = ("data set", "backbone", "method", "preset", "setting", ">value", ">seeds", *_METRICS)


def sections(summary: Summary) -> list[Section]:
    """The tables of a summary, without empty ones."""
    rows = summary.rows
    results = [_section(str(name), group, _RESULTS) for name, group in rows.groupby("dataset")]
    if results:  # notes on all of these tables are printed below the last
        results[-1] = results[-1]._replace(notes=_notes(rows, results))
    # One row per unit, of a fit that ended if there is one: others may know nothing of the features.
    units = rows.sort_values("seeds", key=lambda seeds: seeds.map(len) == 0, kind="stable").drop_duplicates(UNIT)
    units = units.sort_values(UNIT)
    units["backbone"] = [
        ", ".join(filter(None, names)) for names in zip(units["backbone"], units["preprocessing"], strict=True)
    ]
    tables = [
        _section("Features", units, _ON_FEATURES, (_PROBES, _CLASSES)),
        *results,
        _section("Averages over data sets and backbones", summary.averages, _AVERAGES, (_ON_AVERAGES,)),
        _section("Ablations", summary.points, _POINTS),
        _published(summary.published),
        Section("Cells that failed", ("cell", "error"), summary.failures),
        Section("Made with", ("versions, device and threads",), [(text,) for text in summary.made_with]),
    ]
    return [table for table in tables if table.rows]


def _section(title: str, table: pd.DataFrame, columns: Sequence[str], notes: Sequence[str] = ()) -> Section:
    records: list[Any] = table.to_dict("records")
    texts = {column: [_CELLS[column](row) for row in records] for column in columns}
    texts = {column: text for column, text in texts.items() if column not in _OPTIONAL or set(text) != {NONE}}
    return Section(title, list(texts), list(zip(*texts.values(), strict=True)), notes)


def _notes(rows: pd.DataFrame, results: Sequence[Section]) -> list[str]:
    weaker = sorted(set(rows["baseline"]) - {"", "kmeans ours"})
    notes = [
        _SCORING,
        _GAIN,
        *(f"Some gains are over {name}: k-means ours has no such seed." for name in weaker),
        _SECONDS,
    ]
    notes += [_STALE] if rows["stale"].any() else []
    return notes + ([_ORACLE] if any(">oracle ACC" in table.columns for table in results) else [])


def _published(results: Sequence[Published]) -> Section:
    columns = ("data set", "method", "network", *_METRICS, "what", "source", "trust")
    rows = [
        (
            *(result.dataset, result.method, result.network, *(_printed(result, name) for name in SCORES)),
            *(result.note or NONE, result.source, result.trust),
        )
        for result in results
    ]
    marks = "; ".join(f"{mark}: {meaning}" for mark, meaning in TRUST.items())
    note = f"None of these is ours, nor made on these features. In percent, as printed. Trust: {marks}."
    return Section("Published by others", columns, sorted(rows), (note,))
