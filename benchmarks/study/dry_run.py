"""State, needs and expected time of the feature files and cells of a plan. Nothing is written or downloaded."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from headclust.backbones import list_backbones
from headclust.backbones.catalog import find_entry
from headclust.device import resolve_device
from headclust.errors import HeadclustError
from headclust.features import load_features
from study.cells import Pair, key_of, recipe_of
from study.places import Places, check_made
from study.plan import Cell, FeatureSpec
from study.results import Index, Line, read_lines


@dataclass(frozen=True)
class Expected:
    """A feature file or a cell of a plan."""

    name: str  # the path of the file below the root, or the id of the cell
    state: str  # "done", "failed: ...", "to do", "to do again", or the reason why it cannot be made
    needs: str = ""  # data and weights, and whether they are at hand
    amount: float | None = None  # bytes of a file, seconds of a cell; None if unknown
    source: str = "-"  # of the seconds: cells of the "same" recipe, data set and size, or "similar" cells

    @property
    def is_left(self) -> bool:
        """True if it is to do."""
        return self.state.startswith("to do")


def expectation(cells: Sequence[Cell], places: Places, device: str | None) -> str:
    """The text of a dry run: feature files, cells, totals."""
    files, fits = expect(cells, places, device=device)
    left, new = ([row for row in rows if row.is_left] for rows in (fits, files))
    seconds, sizes = ([row.amount for row in rows if row.amount is not None] for rows in (left, new))
    lacking = sum("NOT at hand" in row.needs for row in left)
    lines = [
        f"FEATURES ({len(files)} files)",
        *_table(("name", "state", "GB", "needs"), [(row.name, row.state, _text(row, 1e9), row.needs) for row in files]),
        f"\nCELLS ({len(fits)})",
        *_table(
            ("name", "state", "seconds", "of", "needs"),
            [(row.name, row.state, _text(row), row.source, row.needs) for row in fits],
        ),
        f"\nTOTAL: {len(left)} of {len(fits)} cells to do, {lacking} of them lack data or weights.",
        f"Time: {sum(seconds) / 60:,.0f} minutes for {len(seconds)} of them, one after the other; unknown for "
        f"{len(left) - len(seconds)}, and for embedding {len(new)} feature files.",
        f"Disk: {sum(sizes) / 1e9:,.1f} GB of features; unknown for {len(new) - len(sizes)} files.",
        "Seconds are the median of cells measured in this results file: of the 'same' recipe on the same data set and "
        "number of images, else of 'similar' cells: the same method and preset on any data set.",
    ]
    return "\n".join(lines)


def _text(row: Expected, unit: float = 1.0) -> str:
    if not row.is_left:
        return "-"
    return "unknown" if row.amount is None else f"{row.amount / unit:,.{1 if unit == 1 else 3}f}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, *rows)]


def expect(
    cells: Sequence[Cell], places: Places, *, device: str | None = None
) -> tuple[list[Expected], list[Expected]]:
    """The feature files of a plan, in the order in which they are made, and its cells.

    The seconds of a cell are the median of the cells of the same kind that the results file holds. A feature file
    records no times, so none are expected of making one.
    """
    where = resolve_device(device)
    index = Index(read_lines(places.results))
    files = {spec: _expected_file(spec, places) for cell in cells for spec in (cell.fit, cell.evaluation)}
    features = {spec: load_features(places.features(spec)) for spec, file in files.items() if file.state == "done"}
    fits = []
    for cell in cells:
        missing = [files[spec] for spec in (cell.fit, cell.evaluation) if spec not in features]
        if missing:  # a cell whose features cannot be used has the same reason
            state = min((file.state for file in missing), key="to do".__eq__)
        else:
            state = _state(cell, Pair(features[cell.fit], features[cell.evaluation], where), index, places)
        needs = f"features to be made ({missing[0].needs})" if missing else "features made"
        n_samples = features[cell.fit].n_samples if cell.fit in features else cell.fit.n_samples
        fits.append(Expected(cell.id, state, needs, *_measured(cell, n_samples, index.by_key.values())))
    return list(files.values()), fits


def _expected_file(spec: FeatureSpec, places: Places) -> Expected:
    path = places.features(spec)
    if path.is_file():
        try:
            check_made(load_features(path), spec)
        except HeadclustError as error:
            return Expected(spec.file, str(error))
        return Expected(spec.file, "done")
    missing = "; ".join(f"data: NOT at hand ({path})" for path in places.missing(spec.dataset))
    data = missing or f"data: {spec.dataset.name} at hand"
    weights = _weights().get(spec.backbone, f"{spec.backbone}, from its library's own source")
    dim = find_entry(spec.backbone).dim  # 0 of models that are not in the catalog
    size = 4 * spec.n_samples * (1 + spec.views) * dim or None
    return Expected(spec.file, "to do", f"{data}; weights: {weights}", size)


@cache
def _weights() -> dict[str, str]:
    """The place of the weights of each backbone of the catalog."""
    rows = list_backbones()
    return {row["name"]: "at hand" if row["weights_at_hand"] else f"NOT at hand ({row['source']})" for row in rows}


def _state(cell: Cell, pair: Pair, index: Index, places: Places) -> str:
    try:
        key = key_of(cell, pair, recipe_of(cell, pair.fit) if cell.kind == "fit" else None)
    except HeadclustError as error:
        return str(error)
    state = index.state(cell.id, key, places.root)
    return f"failed: {index.by_id[cell.id].get('error')}" if state == "failed" else state


def _measured(cell: Cell, n_samples: int, lines: Iterable[Line]) -> tuple[float | None, str]:
    """Median seconds of cells of the same kind, and how alike they are."""
    kind = (cell.kind, cell.method, cell.preset)
    similar = [line for line in lines if (line["kind"], line.get("method", ""), line.get("preset", "")) == kind]
    traits = [("dataset", cell.fit.dataset.name), ("fit_samples", n_samples)]
    traits += [("settings", dict(cell.settings))] if cell.method else []
    same = [line for line in similar if all(line.get(name) == value for name, value in traits)]
    for alike, source in ((same, "same"), (similar, "similar")):
        seconds = [sum(part or 0 for part in line["seconds"].values()) for line in alike if line.get("seconds")]
        if seconds:
            return statistics.median(seconds), source
    return None, "-"
