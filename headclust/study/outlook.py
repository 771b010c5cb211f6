"""What a plan would take: which data and weights, how long, how much disk. Nothing is written or downloaded."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from headclust.backbones import list_backbones
from headclust.cache import Features, load_features
from headclust.device import resolve_device
from headclust.errors import HeadclustError
from headclust.study.cells import Pair, key_of, recipe_of
from headclust.study.costs import Cost, cell_cost, embedding_cost
from headclust.study.places import Places, check_made
from headclust.study.plan import Cell, Wanted
from headclust.study.results import read_lines


@dataclass(frozen=True)
class Expected:
    """A cell or a feature file, what it needs and what it takes.

    Attributes:
        name: The cell's id, or the feature file's path below the root.
        state: "done", "failed", "to do", or why it cannot be done.
        needs: What is needed and whether it is at hand.
        cost: What it takes; nothing where it is done.
    """

    name: str
    state: str
    needs: str
    cost: Cost


def expect(
    cells: Sequence[Cell], places: Places, *, device: str | None = None
) -> tuple[list[Expected], list[Expected]]:
    """What the feature files and the cells of a plan need and take.

    A fit's time is the median of those measured before, of the same recipe on the same data set, in the results file;
    else what `costs` counts.

    Args:
        cells: The plan.
        places: Where everything is.
        device: Where fits would run.

    Returns:
        Feature files in the order in which they are made, then cells.

    Raises:
        FileFormatError: The results file cannot be read.
    """
    lines = read_lines(places.results)
    files = list(dict.fromkeys(wanted for cell in cells for wanted in (cell.fit, cell.evaluation)))
    features = [_expected_file(wanted, places) for wanted in files]
    made = {wanted for wanted, expected in zip(files, features, strict=True) if expected.state == "done"}
    states = _states(cells, places, made, lines, device)
    return features, [_expected_cell(cell, states[cell.id], made, lines, places) for cell in cells]


def total(expected: Sequence[Expected]) -> Cost:
    """All of it together."""
    return sum((one.cost for one in expected), Cost())


def _expected_file(wanted: Wanted, places: Places) -> Expected:
    path = places.features(wanted)
    if path.is_file():
        try:
            check_made(load_features(path), wanted)
        except HeadclustError as error:
            return Expected(wanted.file, str(error), "", Cost(source="done"))
        return Expected(wanted.file, "done", "", Cost(source="done"))
    return Expected(wanted.file, "to do", _needs(wanted, places), embedding_cost(wanted))


def _needs(wanted: Wanted, places: Places) -> str:
    """Data and weights, and whether they are at hand."""
    known = _weights().get(wanted.backbone)
    missing = places.missing(wanted.dataset)
    data = "; ".join(f"data: NOT at hand ({path})" for path in missing) or f"data: {wanted.dataset.name} at hand"
    if known is None:
        return f"{data}; weights: {wanted.backbone}, from its library's own source"
    weights = "at hand" if known["weights_at_hand"] else f"NOT at hand ({known['source']})"
    return f"{data}; weights: {weights}"


@cache
def _weights() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in list_backbones()}


def _states(
    cells: Sequence[Cell], places: Places, made: set[Wanted], lines: Sequence[Mapping[str, Any]], device: str | None
) -> dict[str, str]:
    """What is known of each cell."""
    newest = {line["id"]: line for line in lines}
    done = {line["key"] for line in lines if line["status"] == "done"}
    opened: dict[Wanted, Features] = {}
    states = {}
    for cell in cells:
        states[cell.id] = "to do"
        if not {cell.fit, cell.evaluation} <= made:
            continue
        for one in (cell.fit, cell.evaluation):
            if one not in opened:
                opened[one] = load_features(places.features(one))
        fit, evaluation = opened[cell.fit], opened[cell.evaluation]
        try:
            recipe = recipe_of(cell, fit) if cell.kind == "fit" else ()
            key = key_of(cell, Pair(fit, evaluation, resolve_device(device)), recipe)
        except HeadclustError as error:
            states[cell.id] = str(error)
            continue
        line = newest.get(cell.id, {})
        if key in done:
            states[cell.id] = "done"
        elif line.get("key") == key:
            states[cell.id] = f"failed: {line['error']}"
        elif line:
            states[cell.id] = "to do again"
    return states


def _expected_cell(
    cell: Cell, state: str, made: set[Wanted], lines: Sequence[Mapping[str, Any]], places: Places
) -> Expected:
    lacking = [wanted for wanted in (cell.fit, cell.evaluation) if wanted not in made]
    needs = "features made" if not lacking else f"features to be made ({_needs(lacking[0], places)})"
    if not state.startswith("to do"):
        return Expected(cell.id, state, needs, Cost(source="done"))
    return Expected(cell.id, state, needs, _measured(cell, lines) or cell_cost(cell))


def _measured(cell: Cell, lines: Sequence[Mapping[str, Any]]) -> Cost | None:
    """The median of what such cells took here before."""
    names = ("kind", "dataset", *(("method", "preset", "settings", "fit_samples") if cell.kind == "fit" else ()))
    wanted = {
        "kind": cell.kind,
        "dataset": cell.fit.dataset.name,
        "method": cell.method,
        "preset": cell.preset,
        "settings": dict(cell.settings),
        "fit_samples": cell.fit.n_samples,
    }
    taken = [
        sum(seconds for seconds in line["seconds"].values() if seconds)
        for line in lines
        if line["status"] == "done" and all(line.get(name) == wanted[name] for name in names)
    ]
    return Cost(cpu=statistics.median(taken), source="measured") if taken else None
