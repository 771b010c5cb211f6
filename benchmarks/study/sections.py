"""A summary in words and rounded numbers: the tables for readers, in any format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from headclust.scoring.statistics import Gain
from study.published import SCORES, TRUST, Published
from study.summary import PROBES, UNIT, Summary

TITLES = {"accuracy": "ACC", "nmi": "NMI", "ami": "AMI", "ari": "ARI"}
NONE = "-"
_OPTIONAL = (">steps", ">oracle ACC", "published ACC")
_SCORE_TITLES = tuple(f">{TITLES[name]}" for name in SCORES)
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
_AVERAGES = (
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
    """A table with its title and notes.

    Attributes:
        title: Heading.
        columns: Titles; those that start with ">" are of columns of numbers.
        rows: Cells as text.
        notes: Sentences below the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def sections(summary: Summary) -> list[Section]:
    """The tables of a summary, without empty ones."""
    tables = [_results(name, _records(rows)) for name, rows in summary.rows.groupby("dataset")]
    # Notes on all of these tables are printed below the last.
    notes = list(dict.fromkeys(note for table in tables for note in table.notes))
    tables = [table._replace(notes=notes if table is tables[-1] else ()) for table in tables]
    tables = [_features(summary), *tables, _averages(summary), _points(summary), _published(summary)]
    tables.append(Section("Cells that failed", ("cell", "error"), summary.failures))
    tables.append(Section("Made with", ("versions, device and threads",), [(text,) for text in summary.made_with]))
    return [table for table in tables if table.rows]


def recipe(contender: Mapping[str, Any]) -> str:
    """A contender's preset and changed settings, in words."""
    changes = json.loads(contender["settings"] or "{}").items()
    texts = (f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in changes)
    return ", ".join(text for text in (contender["preset"], *texts) if text)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.to_dict("records")


def _features(summary: Summary) -> Section:
    columns = ("data set", "backbone", "fitted on", "scored on", "feature point", ">px", "text")
    # One row per unit, of a fit that ended if there is one: others may know nothing of the features.
    rows = summary.rows.sort_values("seeds", key=lambda seeds: seeds.map(len) == 0, kind="stable")
    units = rows.drop_duplicates(UNIT).sort_values(UNIT)
    return Section(
        "Features",
        (*columns, "labels of the classes", ">kNN", ">linear", ">purity"),
        [_feature_cells(row) for row in _records(units)],
        (_PROBES, _CLASSES),
    )


def _feature_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["dataset"],
        ", ".join(name for name in (row["backbone"], row["preprocessing"]) if name),
        *(_split(row[f"{split}_split"], row[f"{split}_samples"]) for split in ("fit", "eval")),
        str(row["feature_point"] or NONE),
        str(row["resolution"] or NONE),
        {None: NONE, True: "yes", False: "no"}[row["text_supervised"]],
        row["trained_on_classes"],
        *(percent_text(row[name]) for name in PROBES),
    )


def _split(name: str, samples: int | None) -> str:
    return name or NONE if samples is None else f"{name or NONE}, {samples:,}"


def _results(dataset: str, rows: Sequence[Mapping[str, Any]]) -> Section:
    cells: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "backbone": lambda row: row["backbone"],
        "method": lambda row: row["method"],
        "preset": recipe,
        ">seeds": _seeds,
        **{f">{TITLES[name]}": lambda row, name=name: spread_text(row[name], row[name + "_sd"]) for name in SCORES},  # type: ignore[misc]
        ">over k-means": lambda row: gain_text(row["accuracy_gain"]),
        ">95 %": lambda row: interval_text(row["accuracy_gain_low"], row["accuracy_gain_high"]),
        ">clusters": _clusters,
        ">seconds": lambda row: number_text(row["seconds"]),
        ">steps": _steps,
        "head": lambda row: row["head_choice"] or NONE,
        ">oracle ACC": lambda row: spread_text(row["oracle_accuracy"], row["oracle_accuracy_sd"]),
        "published ACC": _published_cell,
    }
    texts = {column: [cell(row) for row in rows] for column, cell in cells.items()}
    columns = [column for column in texts if column not in _OPTIONAL or set(texts[column]) != {NONE}]
    weaker = sorted({row["baseline"] for row in rows} - {"", "kmeans ours"})
    notes = [
        _SCORING,
        _GAIN,
        *(f"Some gains are over {name}: k-means ours has no such seed." for name in weaker),
        _SECONDS,
    ]
    notes += [_STALE] if any(row["stale"] for row in rows) else []
    notes += [_ORACLE] if ">oracle ACC" in columns else []
    return Section(dataset, columns, list(zip(*(texts[column] for column in columns), strict=True)), notes)


def _seeds(row: Mapping[str, Any]) -> str:
    ended, missing = len(row["seeds"]), row["failed"] + row["stale"]
    return f"{ended} of {ended + missing}" if missing else str(ended)


def _clusters(row: Mapping[str, Any]) -> str:
    used = number_text(row["clusters_used"], ".4g")
    return f"{used} of {row['n_clusters']}" if used != NONE and row["n_clusters"] else used


def _steps(row: Mapping[str, Any]) -> str:
    reached, planned = row["steps_reached"], row["steps_planned"]
    is_short = reached is not None and planned and (row["capped"] or reached < planned)
    return f"{reached:,.0f} of {planned:,.0f}" if is_short else number_text(reached, ",.0f")


def _published_cell(row: Mapping[str, Any]) -> str:
    printed = [f"{one.scores['accuracy']:g} [{one.trust}]" for one in row["published"] if "accuracy" in one.scores]
    return ", ".join(printed) or NONE


def _score_cells(row: Mapping[str, Any]) -> list[str]:
    return [spread_text(row[name], row[f"{name}_sd"]) for name in SCORES]


def _averages(summary: Summary) -> Section:
    columns = ("average over", "method", "preset", ">pairs", *_SCORE_TITLES, ">over k-means", ">95 %", ">ahead")
    rows = [
        (
            *(row["scope"], row["method"], recipe(row), str(row["pairs"]), *_score_cells(row)),
            gain_text(row["accuracy_gain"]),
            interval_text(row["accuracy_gain_low"], row["accuracy_gain_high"]),
            f"{row['ahead']} of {row['paired']}" if row["paired"] else NONE,
        )
        for row in _records(summary.averages)
    ]
    return Section("Averages over data sets and backbones", columns, rows, (_AVERAGES,))


def _points(summary: Summary) -> Section:
    columns = ("data set", "backbone", "method", "preset", "setting", ">value", ">seeds", *_SCORE_TITLES)
    rows = [
        (
            *(row["dataset"], row["backbone"], row["method"], recipe(row), row["setting"]),
            *(f"{row['value']:g}", str(row["n_seeds"]), *_score_cells(row)),
        )
        for row in _records(summary.points)
    ]
    return Section("Ablations", columns, rows)


def _published(summary: Summary) -> Section:
    columns = ("data set", "method", "network", *_SCORE_TITLES, "what", "source", "trust")
    rows = [
        (
            *(one.dataset, one.method, one.network, *(_printed(one, name) for name in SCORES)),
            *(one.note or NONE, one.source, one.trust),
        )
        for one in summary.published
    ]
    marks = "; ".join(f"{mark}: {meaning}" for mark, meaning in TRUST.items())
    note = f"None of these is ours, nor made on these features. In percent, as printed. Trust: {marks}."
    return Section("Published by others", columns, sorted(rows), (note,))


def _printed(result: Published, name: str) -> str:
    numbers = (part[name] for part in (result.scores, result.spreads) if name in part)
    return " ± ".join(f"{number:g}" for number in numbers) or NONE


def number_text(value: float | None, form: str = ".1f") -> str:
    """A number as text; a dash for None."""
    return NONE if value is None else format(value, form)


def percent_text(share: float | None) -> str:
    """A share in percent."""
    return NONE if share is None else f"{100 * share:.1f}"


def spread_text(mean: float | None, sd: float | None) -> str:
    """A mean in percent, ± its standard deviation if there is one."""
    return " ± ".join(percent_text(share) for share in (mean, sd) if share is not None) or NONE


def gain_text(difference: float | None) -> str:
    """A difference in points, with its sign."""
    return NONE if difference is None else f"{100 * difference:+.1f}"


def interval_text(low: float | None, high: float | None) -> str:
    """An interval of differences in points."""
    return NONE if low is None or high is None else f"{gain_text(low)} to {gain_text(high)}"


def gain_cells(*gains: Gain | None) -> list[str]:
    """Two cells per gain: its mean and its interval."""
    cells = [(gain_text(part.mean), interval_text(part.low, part.high)) if part else (NONE, NONE) for part in gains]
    return [text for pair in cells for text in pair]
