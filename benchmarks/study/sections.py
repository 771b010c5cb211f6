"""A summary in words and rounded numbers: the tables a person reads, whatever they are written in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headclust.scoring.statistics import Gain, Spread
from study.published import SCORES, TRUST, Published
from study.tables import Average, Contender, Point, Row, Summary, Unit

TITLES = {"accuracy": "ACC", "nmi": "NMI", "ami": "AMI", "ari": "ARI"}
NONE = "-"
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


@dataclass(frozen=True)
class Section:
    """A table with its title and what has to be said below it.

    Attributes:
        title: Heading.
        columns: Titles; one that starts with ">" is a column of numbers.
        rows: Cells, a text each.
        notes: Sentences.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def sections(summary: Summary) -> list[Section]:
    """The tables of a summary; those with nothing in them are left out."""
    datasets = dict.fromkeys(row.unit.dataset for row in summary.rows)
    tables = [_results(name, [row for row in summary.rows if row.unit.dataset == name]) for name in datasets]
    # What holds for all of these tables is said below the last.
    notes = tuple(dict.fromkeys(note for table in tables for note in table.notes))
    tables = [replace(table, notes=notes if table is tables[-1] else ()) for table in tables]
    found = [_features(summary.rows), *tables]
    found += [_averages(summary.averages), _points(summary.points), _published(summary.published)]
    failures = tuple((name, error) for name, error in summary.failures)
    found.append(Section("Cells that failed", ("cell", "error"), failures))
    found.append(Section("Made with", ("versions, device and threads",), tuple((one,) for one in summary.made_with)))
    return [section for section in found if section.rows]


def changes(contender: Contender) -> str:
    """The settings that differ from the preset's, in words; empty without any."""
    if not contender.settings:
        return ""
    return ", ".join(f"{name} {_plain(value)}" for name, value in json.loads(contender.settings).items())


def recipe(contender: Contender) -> str:
    """A contender's preset and changed settings, in words."""
    return ", ".join(part for part in (contender.preset, changes(contender)) if part)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _features(rows: Sequence[Row]) -> Section:
    columns = (
        "data set",
        "backbone",
        "fitted on",
        "scored on",
        "feature point",
        ">px",
        "text",
        "labels of the classes",
    )
    units: dict[Unit, Row] = {}
    for row in sorted(rows, key=lambda row: not row.seeds):  # a failed fit may know nothing of the features
        units.setdefault(row.unit, row)
    return Section(
        "Features",
        (*columns, ">kNN", ">linear", ">purity"),
        tuple(_feature_cells(units[unit]) for unit in sorted(units)),
        (_PROBES, _CLASSES),
    )


def _feature_cells(row: Row) -> tuple[str, ...]:
    unit, facts = row.unit, row.facts
    text = facts.get("text_supervised")
    backbone = f"{unit.backbone}, {unit.preprocessing}" if unit.preprocessing else unit.backbone
    return (
        unit.dataset,
        backbone,
        _split(unit.fit_split, facts.get("fit_samples")),
        _split(unit.eval_split, facts.get("eval_samples")),
        str(facts.get("feature_point") or NONE),
        str(facts.get("resolution") or NONE),
        NONE if text is None else "yes" if text else "no",
        str(facts.get("trained_on_classes") or NONE),
        *(percent_text(facts.get(name)) for name in ("knn_accuracy", "linear_accuracy", "neighbor_purity")),
    )


def _split(name: str, samples: Any) -> str:
    return f"{name or NONE}, {samples:,}" if isinstance(samples, int) else name or NONE


def _results(dataset: str, rows: Sequence[Row]) -> Section:
    cells: dict[str, Callable[[Row], str]] = {
        "backbone": lambda row: row.unit.backbone,
        "method": lambda row: row.contender.method,
        "preset": lambda row: recipe(row.contender),
        ">seeds": _seeds,
        **{f">{TITLES[name]}": lambda row, name=name: spread_text(row.scores.get(name)) for name in SCORES},  # type: ignore[misc]
        ">over k-means": lambda row: gain_text(row.gains.get("accuracy")),
        ">95 %": lambda row: interval_text(row.gains.get("accuracy")),
        ">clusters": _clusters,
        ">seconds": lambda row: f"{row.details['seconds'].mean:.1f}" if "seconds" in row.details else NONE,
        ">steps": _steps,
        "head": lambda row: row.head_choice or NONE,
        ">oracle ACC": lambda row: spread_text(row.details.get("oracle_accuracy")),
        "published ACC": lambda row: _published_cell(row.published),
    }
    columns = [name for name, cell in cells.items() if name not in _OPTIONAL or any(cell(row) != NONE for row in rows)]
    weak = sorted({row.baseline for row in rows if row.baseline and row.baseline != "kmeans ours"})
    notes = [
        _SCORING,
        _GAIN,
        *(f"Some gains are over {name}: k-means ours has no such seed." for name in weak),
        _SECONDS,
    ]
    if any(row.stale for row in rows):
        notes.append(_STALE)
    if ">oracle ACC" in columns:
        notes.append(_ORACLE)
    return Section(
        dataset, tuple(columns), tuple(tuple(cells[name](row) for name in columns) for row in rows), tuple(notes)
    )


def _seeds(row: Row) -> str:
    missing = row.failed + row.stale
    return f"{len(row.seeds)} of {len(row.seeds) + missing}" if missing else str(len(row.seeds))


_OPTIONAL = (">steps", ">oracle ACC", "published ACC")


def _clusters(row: Row) -> str:
    used = row.details.get("clusters_used")
    if used is None:
        return NONE
    return f"{used.mean:.4g} of {row.n_clusters}" if row.n_clusters else f"{used.mean:.4g}"


def _steps(row: Row) -> str:
    reached, planned = row.details.get("steps_reached"), row.details.get("steps_planned")
    if reached is None:
        return NONE
    capped = planned is not None and (row.capped or reached.mean < planned.mean)
    return f"{reached.mean:,.0f} of {planned.mean:,.0f}" if capped and planned else f"{reached.mean:,.0f}"


def _published_cell(published: Iterable[Published]) -> str:
    told = [f"{one.scores['accuracy']:g} [{one.trust}]" for one in published if "accuracy" in one.scores]
    return ", ".join(told) or NONE


def _averages(averages: Sequence[Average]) -> Section:
    scores = tuple(f">{TITLES[name]}" for name in SCORES)
    rows = [
        (
            one.scope,
            one.contender.method,
            recipe(one.contender),
            str(one.n),
            *(spread_text(one.scores.get(name)) for name in SCORES),
            gain_text(one.gains.get("accuracy")),
            interval_text(one.gains.get("accuracy")),
            f"{one.ahead} of {one.paired}" if one.paired else NONE,
        )
        for one in averages
    ]
    columns = ("average over", "method", "preset", ">pairs", *scores, ">over k-means", ">95 %", ">ahead")
    return Section("Averages over data sets and backbones", columns, tuple(rows), (_AVERAGES,))


def _points(points: Sequence[Point]) -> Section:
    rows = [
        (
            point.unit.dataset,
            point.unit.backbone,
            point.contender.method,
            recipe(point.contender),
            point.curve,
            f"{point.value:g}",
            str(max((one.n for one in point.scores.values()), default=0)),
            *(spread_text(point.scores.get(name)) for name in SCORES),
        )
        for point in points
    ]
    columns = ("data set", "backbone", "method", "preset", "setting", ">value", ">seeds")
    return Section("Ablations", (*columns, *(f">{TITLES[name]}" for name in SCORES)), tuple(rows))


def _published(published: Sequence[Published]) -> Section:
    rows = [
        (
            one.dataset,
            one.method,
            one.network,
            *(_printed(one, name) for name in SCORES),
            one.note or NONE,
            one.source,
            one.trust,
        )
        for one in published
    ]
    marks = "; ".join(f"{mark}: {meaning}" for mark, meaning in TRUST.items())
    return Section(
        "Published by others",
        ("data set", "method", "network", *(f">{TITLES[name]}" for name in SCORES), "what", "source", "trust"),
        tuple(sorted(rows)),
        (f"None of these is ours, nor made on these features. In percent, as printed. Trust: {marks}.",),
    )


def _printed(one: Published, name: str) -> str:
    if name not in one.scores:
        return NONE
    return f"{one.scores[name]:g} ± {one.spreads[name]:g}" if name in one.spreads else f"{one.scores[name]:g}"


def spread_text(found: Spread | None) -> str:
    """A mean in percent, ± its standard deviation where there is one."""
    if found is None:
        return NONE
    return percent_text(found.mean) if found.sd is None else f"{percent_text(found.mean)} ± {percent_text(found.sd)}"


def gain_text(found: Gain | None) -> str:
    """A mean difference in points, with its sign."""
    return NONE if found is None else f"{_points_of(found.mean)}"


def interval_text(found: Gain | None) -> str:
    """Its interval; nothing for a single pair."""
    if found is None or found.low is None or found.high is None:
        return NONE
    return f"{_points_of(found.low)} to {_points_of(found.high)}"


def _points_of(share: float) -> str:
    return f"{100 * share:+.1f}"


def percent_text(share: float | None) -> str:
    """A share in percent."""
    return NONE if share is None else f"{100 * share:.1f}"
