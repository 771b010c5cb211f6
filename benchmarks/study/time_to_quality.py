"""Time to quality: ACC against the seconds of a fit, for methods with a setting that costs time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headclust.device import description, resolve_device
from headclust.errors import HeadclustError
from headclust.features import load_features
from headclust.methods import DEFAULT_METHOD, Recipe
from headclust.progress import note, printable
from headclust.runs.scored_fit import fit_and_score
from headclust.versions import versions
from study.cells import Pair, failed, identity, key_of, recipe_of
from study.pictures import add_legend, house_style, log_axis, new_figure, save, series_style
from study.places import Places, make_features
from study.plan import Cell
from study.results import append, read_lines
from study.sections import Section, number_text, percent_text
from study.summary import Line

# One curve each: a method, its preset, the setting that costs time, and its values. TEMI's authors train at a constant
# learning rate, so a time limit can be the setting; not so for TURTLE and k-means. Spectral clustering has no such
# setting: its default number of restarts gives one point.
CURVES: tuple[tuple[str, str, str, tuple[Any, ...]], ...] = (
    (DEFAULT_METHOD, "ours", "n_heads", (4, 8, 16, 32)),
    (DEFAULT_METHOD, "ours", "pairs.length", (0, 150, 300, 600, 1200)),
    ("turtle", "ours", "length", (60, 200, 600, 2000)),
    ("kmeans", "ours", "n_heads", (1, 3, 10, 30)),
    ("spectral", "ours", "n_heads", (10,)),
    ("temi", "authors", "max_seconds", (15.0, 45.0, 120.0, 360.0, 1080.0)),  # last, because it takes the longest
)
_BUSY = 0.5  # other running processes from which times are unreliable


def curve_plan(place: Cell) -> tuple[Cell, ...]:
    """The fits of the curves, on the features of a cell, seed 0."""
    return tuple(
        replace(place, kind="fit", method=method, preset=preset, settings={name: value}, seed=0, curve=name)
        for method, preset, name, values in CURVES
        for value in values
    )


def measure(cells: Sequence[Cell], places: Places, target: Path, *, device: str | None = None) -> list[Line]:
    """Run the fits that `target` lacks one after the other, all on the same features; return one line per cell.

    The seconds are of the whole fit with features in memory, including the neighbor search. `target` is a separate
    results file, because its times are measured differently.
    """
    where = resolve_device(device)
    files = [make_features(file, places, device=device) for file in (cells[0].fit, cells[0].evaluation)]
    fit, evaluation = map(load_features, files)
    # Without a path, no graph is cached beside the file, so every fit includes the search.
    pair = Pair(replace(fit, path=None), evaluation, where)
    for view in (None, *range(fit.n_views)):
        pair.fit.rows([0], view=view)  # so that fits do not include reading the file
    done = {line["key"]: line for line in read_lines(target) if line["status"] == "done"}
    lines: list[Line] = []
    for number, cell in enumerate(cells, start=1):
        recipe = recipe_of(cell, pair.fit)
        key = key_of(cell, pair, recipe)
        if key not in done:
            if number == 1 and (load := _load()) is not None and load > _BUSY:
                note(f"the machine is busy (load {load:.1f}): times will be too long.")
            done[key] = _measured(cell, pair, key, recipe)
            append(target, done[key])
            note(f"[{number}/{len(cells)}] {cell.id}: {_outcome(done[key])}")
        # The same fit may be a point of two curves.
        lines.append({**done[key], **identity(cell)})
    return lines


def _measured(cell: Cell, pair: Pair, key: str, recipe: Recipe) -> dict[str, Any]:
    load = _load()
    try:
        trial = fit_and_score((pair.fit,), recipe, cell.seed, device=pair.device, tests=(pair.evaluation,))
    except HeadclustError as error:
        return failed(cell, key, str(error))
    scores = {name: value for name, value in trial.report["eval"].items() if name != "seconds"}
    return {
        **identity(cell),
        "status": "done",
        "key": key,
        "error": None,
        "n_clusters": trial.report["n_clusters"],
        "scores": scores,
        "seconds": {"fit": trial.report["seconds"]},
        "load": None if load is None else round(load, 2),
        "versions": versions(["torch", "numpy", "scipy", "scikit-learn", "faiss-cpu"]),
        **description(pair.device),
    }


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _outcome(line: Line) -> str:
    if line["status"] == "failed":
        return f"failed: {line['error']}"
    return f"ACC {percent_text(line['scores'].get('accuracy'))} in {line['seconds']['fit']:.1f} s"


def curves_of(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Scored lines by the curve's name, the shortest fit first."""
    curves: dict[str, list[Line]] = {}
    for line in lines:
        if line["status"] == "done" and "accuracy" in line["scores"]:
            method = "default" if line["method"] == DEFAULT_METHOD else line["method"]
            name = f"{method} {line['preset']}, {line['curve']}".replace(" ours", "")
            curves.setdefault(name, []).append(line)
    return {name: sorted(points, key=lambda line: float(line["seconds"]["fit"])) for name, points in curves.items()}


def curve_section(lines: Sequence[Line]) -> Section:
    """ACC and seconds of each point."""
    rows = [
        (
            *(name, f"{line['value']:g}", number_text(line["seconds"]["fit"])),
            *(percent_text(line["scores"]["accuracy"]), number_text(line.get("load"))),
        )
        for name, points in curves_of(lines).items()
        for line in points
    ]
    note = (
        "One seed per point, measured one after the other. Seconds of the whole fit with features in memory, including "
        "the neighbor search. Load: processes running at its start, averaged over a minute."
    )
    return Section("Time to quality", ("curve", ">value", ">seconds", ">ACC", ">load"), rows, (note,))


def draw_curves(lines: Sequence[Line], title: str, path: Path) -> Path:
    """Draw ACC against seconds, one line per curve; return the file."""
    with house_style():
        figure, (axes,) = new_figure(1, height=3.3, sharey=False)
        for number, (name, points) in enumerate(curves_of(lines).items()):
            seconds = [line["seconds"]["fit"] for line in points]
            accuracies = [100 * line["scores"]["accuracy"] for line in points]
            axes.plot(seconds, accuracies, label=printable(name), linewidth=1, **series_style(number))
        log_axis(axes)
        axes.set_xlabel("seconds per fit with its neighbor search, logarithmic")
        axes.set_ylabel("ACC (%)")
        add_legend(figure, [axes])
        figure.suptitle(f"Time to quality: {printable(title)}")
        return save(figure, path)
