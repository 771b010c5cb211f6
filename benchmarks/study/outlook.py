"""What a plan would take: which data and weights, how long, how much disk. Nothing is written or downloaded."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from headclust.backbones import list_backbones
from headclust.device import resolve_device
from headclust.errors import HeadclustError
from headclust.features import Features, load_features
from study.cells import Pair, key_of, recipe_of
from study.costs import Cost, cell_cost, embedding_cost
from study.places import Places, check_made
from study.plan import Cell, Wanted
from study.results import has_assignments, hides, read_lines


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
        SettingError: There is no such device.
    """
    where = resolve_device(device)
    lines = read_lines(places.results)
    files = list(dict.fromkeys(wanted for cell in cells for wanted in (cell.fit, cell.evaluation)))
    features = [_expected_file(wanted, places) for wanted in files]
    state_of = {wanted: expected.state for wanted, expected in zip(files, features, strict=True)}
    made = {wanted for wanted, state in state_of.items() if state == "done"}
    states = _states(cells, places, state_of, lines, where)
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
    cells: Sequence[Cell],
    places: Places,
    state_of: Mapping[Wanted, str],
    lines: Sequence[Mapping[str, Any]],
    device: torch.device,
) -> dict[str, str]:
    """What is known of each cell."""
    newest: dict[str, Mapping[str, Any]] = {}
    for line in lines:
        if not hides(line, newest.get(line["id"])):
            newest[line["id"]] = line
    done = {line["key"] for line in lines if line["status"] == "done" and has_assignments(line, places.root)}
    opened: dict[Wanted, Features] = {}
    states = {}
    for cell in cells:
        states[cell.id] = "to do"
        of_files = {state_of[cell.fit], state_of[cell.evaluation]} - {"done"}
        if of_files:
            states[cell.id] = next((state for state in sorted(of_files) if state != "to do"), "to do")
            continue
        for one in (cell.fit, cell.evaluation):
            if one not in opened:
                opened[one] = load_features(places.features(one))
        fit, evaluation = opened[cell.fit], opened[cell.evaluation]
        try:
            recipe = recipe_of(cell, fit) if cell.kind == "fit" else ()
            key = key_of(cell, Pair(fit, evaluation, device), recipe)
        except HeadclustError as error:
            states[cell.id] = str(error)
            continue
        line = newest.get(cell.id, {})
        if key in done:
            states[cell.id] = "done"
        elif line.get("key") == key and line["status"] == "failed":
            states[cell.id] = f"failed: {line.get('error')}"
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
    counted = cell_cost(cell)
    return Expected(cell.id, state, needs, _measured(cell, lines, counted) or counted)


def _measured(cell: Cell, lines: Sequence[Mapping[str, Any]], counted: Cost) -> Cost | None:
    """The median of what such cells took here before; an accelerator's part stays counted."""
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
        sum(seconds for seconds in (line.get("seconds") or {}).values() if seconds)
        for line in lines
        if line["status"] == "done" and all(line.get(name) == wanted[name] for name in names)
    ]
    if not taken:
        return None
    median = statistics.median(taken)
    beside = median if counted.beside or counted.source == "unknown" else 0.0
    return Cost(cpu=median, gpu=counted.gpu, beside=beside, source="measured")
