"""From the lines of a results file to the rows of a table: means over seeds, paired gains over k-means, averages.

Nothing depends on the order of the lines, except that of two lines with one id the later is the cell, and that the
newest line of a row says which features and number of clusters the row is about.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headclust.scoring.statistics import Gain, Spread, gain, paired, spread
from study.published import SCORES, published_for
from study.tables import Average, Contender, Point, Row, Summary, Unit

PROBES = ("knn_accuracy", "linear_accuracy", "neighbor_purity")
BASELINE = "kmeans"
Line = Mapping[str, Any]

# ImageNet's labels name kinds of what these data sets show (dogs, trucks, sandals), though not their own classes.
_KIN = ("cifar10", "cifar20", "cifar100", "stl10", "fashion-mnist")
_APART = ("digits", "mnist")
_FACTS = ("feature_point", "resolution", "feature_dim", "fit_samples", "eval_samples", "n_classes", "text_supervised")


def summarize(lines: Iterable[Line]) -> Summary:
    """The summary of the lines of a results file; fields a line lacks count as unknown.

    The gain is over k-means of the preset ours, whatever the contender's own preset, and over the authors' weaker one
    only where there is no other. Seeds are paired: same features, same number of clusters, same seed.
    """
    newest: dict[str, Line] = {}
    for line in lines:
        newest.pop(str(line.get("id")), None)  # the newest is the last
        newest[str(line.get("id"))] = line
    cells = list(newest.values())
    fits = [line for line in cells if line.get("kind") == "fit"]
    table: dict[tuple[Unit, Contender], list[Line]] = defaultdict(list)
    curves: dict[tuple[Unit, Contender, str, float], list[Line]] = defaultdict(list)
    for line in fits:
        if line.get("role") == "ablation":
            point = (str(line.get("curve")), float(line.get("value") or 0))
            if line.get("status") == "done":
                curves[(_unit(line), contender_of(line, without=point[0]), *point)].append(line)
        else:
            table[_unit(line), contender_of(line)].append(line)
    probes = {_unit(line): line for line in cells if line.get("kind") == "probes" and line.get("scores")}
    rows = [_row(unit, contender, table, probes.get(unit, {})) for unit, contender in sorted(table, key=_order)]
    points = [
        Point(*who, scores=spreads_of(current(found)))
        for who, found in sorted(curves.items(), key=lambda item: _order(item[0]))
    ]
    failures = [(str(line.get("id")), str(line.get("error"))) for line in cells if line.get("status") == "failed"]
    return Summary(
        rows=tuple(rows),
        averages=tuple(averages(rows)),
        points=tuple(points),
        published=tuple(published_for((row.contender.method, row.unit.dataset) for row in rows)),
        failures=tuple(sorted(failures)),
        made_with=tuple(sorted({told_versions(line) for line in cells if line.get("versions")})),
    )


def averages(rows: Sequence[Row]) -> list[Average]:
    """Averages of every contender over all units, over the backbones of a data set, over the data sets of a backbone.

    What a contender did on a single unit is no average, and is left out; so is a scope that holds all there is.
    """
    rows = [row for row in rows if row.scores]
    scopes = {"all": list(rows)}
    for row in rows:
        scopes.setdefault(f"data set {row.unit.dataset}", []).append(row)
        scopes.setdefault(f"backbone {row.unit.backbone}", []).append(row)
    found = []
    for scope in sorted(scopes, key=lambda name: (name != "all", not name.startswith("data set"), name)):
        inside = scopes[scope]
        if scope != "all" and len(inside) == len(rows):
            continue
        for who in sorted({row.contender for row in inside}, key=_rank):
            theirs = [row for row in inside if row.contender == who]
            if len(theirs) > 1:
                found.append(_average(scope, who, theirs))
    return found


def trained_on_classes(dataset: str, imagenet_labels: bool | None, text_supervised: bool | None) -> str:
    """Whether the backbone was trained on labels of the classes it is evaluated on: yes, partly, no or unknown.

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


def _unit(line: Line) -> Unit:
    return Unit(*(str(line.get(name) or "") for name in Unit._fields))


def contender_of(line: Line, without: str = "") -> Contender:
    """Whose line it is; `without` leaves one changed setting out."""
    changed = {name: value for name, value in (line.get("settings") or {}).items() if name != without}
    settings = json.dumps(changed, sort_keys=True) if changed else ""
    return Contender(str(line.get("method") or ""), str(line.get("preset") or ""), settings)


def _rank(contender: Contender) -> tuple[Any, ...]:
    return contender.preset != "ours", contender.preset, contender.method != BASELINE, *contender


def _order(who: tuple[Any, ...]) -> tuple[Any, ...]:
    unit, contender, *rest = who
    return unit, _rank(contender), *rest


def _row(unit: Unit, contender: Contender, table: Mapping[tuple[Unit, Contender], list[Line]], probed: Line) -> Row:
    lines = table[unit, contender]
    failures = sorted((line for line in lines if line.get("status") != "done"), key=lambda line: str(line.get("id")))
    ended = [line for line in lines if line.get("status") == "done"]
    done = sorted(current(ended), key=lambda line: (line.get("seed") or 0, str(line.get("id"))))
    newest: Line = {name: value for line in [*failures, *done] for name, value in line.items() if value is not None}
    # Probes of other features say nothing of these.
    probes = (probed.get("scores") or {}) if not done or _hashes(probed) == _hashes(done[0]) else {}
    facts = {name: newest.get(name) for name in _FACTS}
    labels, text = newest.get("imagenet_labels"), newest.get("text_supervised")
    facts["trained_on_classes"] = trained_on_classes(unit.dataset, labels, text)
    facts |= {name: _number(probes.get(name)) for name in PROBES}
    over, gains = _gains(done, contender, _baselines(unit, table))
    known = published_for([(contender.method, unit.dataset)])
    return Row(
        unit=unit,
        contender=contender,
        facts=facts,
        seeds=tuple(int(line.get("seed") or 0) for line in done),
        failed=len(failures),
        stale=len(ended) - len(done),
        scores=spreads_of(done),
        gains=gains,
        baseline=over,
        details=details_of(done),
        n_clusters=newest.get("n_clusters"),
        capped=any(bool((line.get("steps") or {}).get("capped")) for line in done),
        head_choice=str(newest.get("head_choice") or ""),
        published=tuple(one for one in known if one.backbone and one.backbone == unit.backbone),
    )


def current(done: Sequence[Line]) -> list[Line]:
    """The lines about the same features and number of clusters as the newest one, which is the last."""
    return [line for line in done if _about(line) == _about(done[-1])]


def _about(line: Line) -> tuple[Any, ...]:
    return line.get("n_clusters"), *_hashes(line)


def _hashes(line: Line) -> tuple[Any, ...]:
    files = line.get("features") or {}
    return tuple((files.get(name) or {}).get("sha256") for name in ("fit", "eval"))


def _baselines(unit: Unit, table: Mapping[tuple[Unit, Contender], list[Line]]) -> dict[Contender, list[Line]]:
    """k-means on this unit, the first choice first."""
    found = [who for place, who in table if place == unit and who.method == BASELINE]
    return {who: table[unit, who] for who in sorted(found, key=_rank)}


def _gains(
    done: Sequence[Line], contender: Contender, baselines: Mapping[Contender, Sequence[Line]]
) -> tuple[str, dict[str, Gain]]:
    """The first baseline that shares a seed with these cells, and the gains over it."""
    for base, lines in baselines.items():
        if base == contender:
            break  # it is not compared with itself, nor with a weaker one
        gains = {name: gain(paired(by_seed(done, name), by_seed(lines, name))) for name in SCORES}
        if known := {name: found for name, found in gains.items() if found}:
            return f"{base.method} {base.preset}".strip(), known
    return "", {}


def by_seed(lines: Iterable[Line], metric: str) -> dict[tuple[Any, ...], float]:
    """A metric of each cell, by everything that has to be the same for cells to be a pair."""
    found = {}
    for line in lines:
        value = _number((line.get("scores") or {}).get(metric))
        if value is not None:
            found[line.get("seed"), *_about(line)] = value
    return found


def spreads_of(lines: Sequence[Line]) -> dict[str, Spread]:
    """Mean and spread of each metric over lines."""
    return _over_seeds([{name: (line.get("scores") or {}).get(name) for name in SCORES} for line in lines])


def details_of(lines: Sequence[Line]) -> dict[str, Spread]:
    """Mean and spread of everything else that is counted: see `Row.details`."""
    records = []
    for line in lines:
        seconds, steps, oracle, heads = (line.get(name) or {} for name in ("seconds", "steps", "oracle", "oracle_head"))
        record = {"clusters_used": (line.get("scores") or {}).get("clusters_used")}
        record |= {"seconds": seconds.get("fit"), "neighbor_seconds": seconds.get("neighbors")}
        record |= {"steps_reached": steps.get("reached"), "steps_planned": steps.get("planned")}
        record |= {f"oracle_{name}": (oracle.get(name) or {}).get("score") for name in SCORES}
        record |= {f"oracle_head_{name}": (heads.get(name) or {}).get("score") for name in SCORES}
        records.append(record)
    return _over_seeds(records)


def _over_seeds(records: Sequence[Mapping[str, Any]]) -> dict[str, Spread]:
    names = dict.fromkeys(name for record in records for name in record)
    values = {name: [_number(record.get(name)) for record in records] for name in names}
    found = {name: spread([value for value in values[name] if value is not None]) for name in names}
    return {name: one for name, one in found.items() if one}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _average(scope: str, who: Contender, rows: Sequence[Row]) -> Average:
    scores = {name: spread([row.scores[name].mean for row in rows if name in row.scores]) for name in SCORES}
    # A gain over a weaker k-means is another quantity.
    known = [row.gains for row in rows if row.baseline == f"{BASELINE} ours"]
    gains = {name: gain([one[name].mean for one in known if name in one]) for name in SCORES}
    ahead = [one["accuracy"].mean > 0 for one in known if "accuracy" in one]
    return Average(
        scope=scope,
        contender=who,
        n=len(rows),
        ahead=sum(ahead),
        paired=len(ahead),
        scores={name: one for name, one in scores.items() if one},
        gains={name: one for name, one in gains.items() if one},
    )


def told_versions(line: Line) -> str:
    """Versions, device and threads of a line, in words."""
    told = [f"{name} {version}" for name, version in sorted(line["versions"].items())]
    return ", ".join([*told, f"device {line.get('device')}", f"threads {line.get('threads')}"])
