"""From the lines of a results file to the rows of a table: means over seeds, paired gains over k-means, averages.

Nothing depends on the order of the lines, with two exceptions: the last of several lines with one id counts, and the
last fit of a row decides which features and number of clusters the row is about.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import pandas as pd

from headclust.scoring.statistics import Spread, gain, paired, spread
from study.published import SCORES, Published, published_for

# Names may hold what is no UTF-8 (surrogates), which strings of pyarrow refuse.
pd.set_option("mode.string_storage", "python")
Line = Mapping[str, Any]
BASELINE = "kmeans"
PROBES = ("knn_accuracy", "linear_accuracy", "neighbor_purity")
# Methods are compared on one unit: a data set seen by one backbone.
UNIT = ["dataset", "backbone", "preprocessing", "fit_split", "eval_split"]
# A contender is a method in one of its presets; `settings` are its changes as JSON, empty without changes.
CONTENDER = ["method", "preset", "settings"]
_FACTS = ("feature_point", "resolution", "feature_dim", "fit_samples", "eval_samples", "n_classes", "text_supervised")
_DETAILS = ("clusters_used", "seconds", "neighbor_seconds", "steps_reached", "steps_planned")
_ORACLES = tuple(f"oracle_{name}" for name in SCORES)
_SPREADS = tuple(f"{name}{end}" for name in SCORES for end in ("", "_sd"))
_GAINS = tuple(f"{name}_gain{end}" for name in SCORES for end in ("", "_low", "_high"))
COLUMNS = (
    *(*UNIT, *CONTENDER, *_FACTS, "trained_on_classes", "n_clusters", "head_choice", "seeds", "failed", "stale"),
    *(*_SPREADS, "baseline", *_GAINS, *_DETAILS, "capped", *_ORACLES, *PROBES, "published"),
)
# ImageNet's labels name kinds of what these data sets show (dogs, trucks, sandals), though not their own classes.
_KIN = ("cifar10", "cifar20", "cifar100", "stl10", "fashion-mnist")
_APART = ("digits", "mnist")


class Summary(NamedTuple):
    """The content of a table in full precision: shares from 0 to 1, seconds, None for unknown values.

    Attributes:
        rows: One row per unit and contender, in the order of the table, with the columns COLUMNS. `seeds`: those that
            ended. `failed`: number of fits that did not. `stale`: number of fits left out, as the newest fit of the row
            is on other features or another number of clusters. METRIC, METRIC_sd: over seeds. `baseline`: the k-means
            that METRIC_gain and its 95 % interval METRIC_gain_low, METRIC_gain_high are over, paired by seed; an
            interval needs two seeds. `seconds`: of the fit, without the neighbor search. `capped`: True if a limit of
            time ended a fit. `oracle_METRIC`: the best checkpoint by test labels. `published`: results published for
            this method, data set and backbone.
        averages: One row per scope ("all", "data set NAME" or "backbone NAME") and contender with several units, each
            of which counts once, by its mean over seeds. Gains are over k-means of the preset ours alone. `pairs`:
            number of units. `paired`: those with a gain. `ahead`: those with a positive gain in accuracy.
        points: One row per value of an ablation's setting; `seeds` is no part of the JSON.
        published: Results published for these methods on these data sets, on any network.
        failures: Id and error of the cells that failed.
        made_with: Versions, device and threads of the cells, each combination once.
    """

    rows: pd.DataFrame
    averages: pd.DataFrame
    points: pd.DataFrame
    published: list[Published]
    failures: list[tuple[str, str]]
    made_with: list[str]


def summarize(lines: Iterable[Line]) -> Summary:
    """The summary of the lines of a results file; fields missing from a line count as unknown.

    The gain is over k-means of the preset ours, whatever the contender's own preset, and over the authors' weaker one
    only if there is no other. Seeds are paired: same features, same number of clusters, same seed.
    """
    cells = frame(lines)
    rows = _table(_rows(cells), (*COLUMNS, "oracle_accuracy_sd"))
    failed = cells[cells["status"] == "failed"]
    return Summary(
        rows=rows,
        averages=averages(rows),
        points=_table(_points(cells), (*UNIT, *CONTENDER, "setting", "value", *_SPREADS, "seeds")),
        published=published_for(zip(rows["method"], rows["dataset"], strict=True)),
        failures=sorted(zip(failed["id"], failed["error"], strict=True)),
        made_with=sorted(cells["made_with"].dropna().unique()),
    )


def frame(lines: Iterable[Line]) -> pd.DataFrame:
    """One row per cell, from its newest line and in the order of these; None for unknown values."""
    return _table(map(_flat, lines), tuple(_flat({}))).drop_duplicates("id", keep="last")


def _table(records: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame(list(records), columns=list(columns), dtype=object)  # in which integers stay integers
    return table.where(table.notna(), None)


def _flat(line: Line) -> dict[str, Any]:
    scores, seconds, steps, files = (line.get(name) or {} for name in ("scores", "seconds", "steps", "features"))
    hashes = [(files.get(split) or {}).get("sha256") for split in ("fit", "eval")]
    settings = line.get("settings") or {}
    if line.get("role") == "ablation":  # the setting of the curve is no part of the contender
        settings = {name: value for name, value in settings.items() if name != line.get("curve")}
    numbers = {name: scores.get(name) for name in (*SCORES, *PROBES, "clusters_used")}
    numbers |= {"seconds": seconds.get("fit"), "neighbor_seconds": seconds.get("neighbors")}
    numbers |= {f"steps_{name}": steps.get(name) for name in ("reached", "planned")}
    for oracle in ("oracle", "oracle_head"):
        best = line.get(oracle) or {}
        numbers |= {f"{oracle}_{name}": (best.get(name) or {}).get("score") for name in SCORES}
    return {
        **{name: str(line.get(name) or "") for name in (*UNIT, "method", "preset")},
        **{name: str(line.get(name)) for name in ("id", "error", "curve")},
        **{name: line.get(name) for name in (*_FACTS, "kind", "role", "status", "n_clusters", "head_choice")},
        **{name: _number(value) for name, value in numbers.items()},
        "imagenet_labels": line.get("imagenet_labels"),
        "settings": settings_text(settings),
        "value": float(line.get("value") or 0),
        "seed": int(line.get("seed") or 0),
        "capped": bool(steps.get("capped")),
        "hashes": json.dumps(hashes),
        "about": json.dumps([line.get("n_clusters"), *hashes]),  # equal for fits that may be compared
        "made_with": _made_with(line) if line.get("versions") else None,
    }


def settings_text(settings: Mapping[str, Any]) -> str:
    """Changed settings as JSON; empty without any."""
    return json.dumps(dict(settings), sort_keys=True) if settings else ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _made_with(line: Line) -> str:
    parts = [f"{name} {version}" for name, version in sorted(line["versions"].items())]
    return ", ".join([*parts, f"device {line.get('device')}", f"threads {line.get('threads')}"])


def current(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells on the same features and number of clusters as the newest, which is the last."""
    return cells[cells["about"].isin(cells["about"].iloc[-1:])]


def spread_of(table: pd.DataFrame, name: str) -> Spread | None:
    """Mean and standard deviation of the known values of a column."""
    return spread(table[name].dropna().tolist())


def by_seed(cells: pd.DataFrame, metric: str) -> dict[tuple[int, str], float]:
    """The metric of each cell, by all that has to be equal for cells to be a pair."""
    scored = cells[cells[metric].notna()]
    return dict(zip(zip(scored["seed"], scored["about"], strict=True), scored[metric], strict=True))


def _spreads(table: pd.DataFrame) -> dict[str, float | None]:
    fields: dict[str, float | None] = {}
    for name in SCORES:
        if part := spread_of(table, name):
            fields |= {name: part.mean, f"{name}_sd": part.sd}
    return fields


def _gains(differences: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
    fields: dict[str, float | None] = {}
    for name, values in differences.items():
        if part := gain(values):
            fields |= {f"{name}_gain": part.mean, f"{name}_gain_low": part.low, f"{name}_gain_high": part.high}
    return fields


def _order(table: pd.DataFrame) -> list[pd.Series[Any]]:
    """Keys that group contenders in the order of the tables: the preset ours first, k-means first in each preset."""
    preset, method = table["preset"], table["method"]
    return [preset != "ours", preset, method != BASELINE, method, table["settings"]]


def _rows(cells: pd.DataFrame) -> Iterator[dict[str, Any]]:
    done = cells["status"] == "done"
    probes = dict(iter(cells[(cells["kind"] == "probes") & done].groupby(UNIT)))
    fits = cells[(cells["kind"] == "fit") & (cells["role"] != "ablation")]
    for unit, place in fits.groupby(UNIT):
        kmeans = place[place["method"] == BASELINE]
        baselines = list(kmeans.groupby(_order(kmeans)))
        for contender, group in place.groupby(_order(place)):
            # Not compared with itself, nor with a weaker k-means.
            stronger = [base for _, base in takewhile(lambda item: item[0] != contender, baselines)]  # noqa: B023
            yield _row(group, stronger, probes.get(unit, cells.iloc[:0]))


def _row(fits: pd.DataFrame, baselines: Sequence[pd.DataFrame], probes: pd.DataFrame) -> dict[str, Any]:
    failed, ended = fits[fits["status"] != "done"], fits[fits["status"] == "done"]
    done = current(ended).sort_values(["seed", "id"])
    latest = pd.concat([failed, done]).ffill().iloc[-1]  # the last known value of each column
    method, dataset, backbone = latest[["method", "dataset", "backbone"]]
    numbers = {name: spread_of(done, name) for name in (*_DETAILS, *_ORACLES)}
    # Probes of other features are left out.
    matching = probes.iloc[-1:][lambda newest: newest["hashes"].isin(done["hashes"]) | done.empty]
    record = {name: latest[name] for name in (*UNIT, *CONTENDER, *_FACTS, "n_clusters")}
    record |= {name: part.mean for name, part in numbers.items() if part} | _spreads(done)
    record["oracle_accuracy_sd"] = numbers["oracle_accuracy"] and numbers["oracle_accuracy"].sd
    record |= {name: value for name in PROBES for value in matching[name]}
    record |= {
        "trained_on_classes": trained_on_classes(dataset, latest["imagenet_labels"], latest["text_supervised"]),
        "head_choice": latest["head_choice"] or "",
        "seeds": done["seed"].tolist(),
        "failed": len(failed),
        "stale": len(ended) - len(done),
        "baseline": "",
        "capped": bool(done["capped"].any()),
        "published": [result for result in published_for([(method, dataset)]) if result.backbone == backbone != ""],
    }
    for base in baselines:  # the first with seeds in common
        differences = {name: paired(by_seed(done, name), by_seed(base, name)) for name in SCORES}
        if any(differences.values()):
            return record | _gains(differences) | {"baseline": f"{BASELINE} {base['preset'].iloc[0]}".strip()}
    return record


def averages(rows: pd.DataFrame) -> pd.DataFrame:
    """Averages of every contender over all units, the backbones of each data set, the data sets of each backbone.

    A single unit is no average, and is left out; so is a narrower scope that holds all units.
    """
    scored = rows[rows[list(SCORES)].notna().any(axis=1)]
    scopes = {"all": scored}
    for column, title in (("dataset", "data set"), ("backbone", "backbone")):
        scopes |= {f"{title} {name}": part for name, part in scored.groupby(column) if len(part) < len(scored)}
    groups = [(scope, group) for scope, part in scopes.items() for _, group in part.groupby(_order(part))]
    records = [_average(scope, group) for scope, group in groups if len(group) > 1]
    return _table(records, ("scope", *CONTENDER, "pairs", "ahead", "paired", *_SPREADS, *_GAINS))


def _average(scope: str, rows: pd.DataFrame) -> dict[str, Any]:
    over_ours = rows[rows["baseline"] == f"{BASELINE} ours"]  # a gain over a weaker k-means is another quantity
    differences = {name: over_ours[f"{name}_gain"].dropna().tolist() for name in SCORES}
    counts = {"pairs": len(rows), "paired": len(differences["accuracy"])}
    counts["ahead"] = sum(difference > 0 for difference in differences["accuracy"])
    return {"scope": scope, **rows.iloc[0][CONTENDER], **counts, **_spreads(rows), **_gains(differences)}


def _points(cells: pd.DataFrame) -> Iterator[dict[str, Any]]:
    done = cells[(cells["kind"] == "fit") & (cells["role"] == "ablation") & (cells["status"] == "done")]
    for _, group in done.groupby([*UNIT, *_order(done), "curve", "value"]):
        newest = current(group)
        point = newest.iloc[0][[*UNIT, *CONTENDER, "value"]]
        yield {**point, "setting": newest["curve"].iloc[0], **_spreads(newest), "seeds": newest["seed"].tolist()}


def trained_on_classes(dataset: str, imagenet_labels: bool | None, text_supervised: bool | None) -> str:
    """Return yes, partly, no or unknown: was the backbone trained on labels of the classes it is evaluated on?

    `partly` stands for labels of ImageNet that name kinds of the data set's classes, as 120 breeds are kinds of dog.
    Captions may have named anything, and of a backbone that is not in the catalog nothing is known.
    """
    if imagenet_labels is None or (text_supervised and not imagenet_labels):
        return "unknown"
    if not imagenet_labels:
        return "no"
    if "imagenet" in dataset:
        return "yes"
    return "partly" if dataset in _KIN else "no" if dataset in _APART else "unknown"
