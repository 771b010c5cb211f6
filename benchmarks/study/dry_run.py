"""State, needs and expected time of the feature files and cells of a plan. Nothing is written or downloaded."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from headclust.backbones import list_backbones
from headclust.backbones.catalog import find_entry
from headclust.device import resolve_device
from headclust.errors import HeadclustError
from headclust.features import Features, load_features
from study.cells import Pair, key_of, recipe_of
from study.costs import Sizes, expected
from study.places import Places, check_made
from study.plan import Cell, FeatureSpec, preset_of
from study.results import Index, Line, read_lines


@dataclass(frozen=True)
class Expected:
    """A feature file or a cell of a plan."""

    name: str  # the path of the file below the root, or the id of the cell
    state: str  # "done", "failed: ...", "to do", "to do again", or the reason why it cannot be made
    needs: str = ""  # data and weights, and if they are on this machine
    amount: float | None = None  # bytes of a file, seconds of a cell; None if unknown
    source: str = "-"  # of the seconds: "same" cells, the "model" of costs, or that "extrapolated"

    @property
    def is_left(self) -> bool:
        """True if it has to be made."""
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
        "Seconds are the median of cells of the 'same' recipe, data set and number of images in this results file. "
        "Others are CPU seconds of one thread by a 'model' of costs, from those of its parts that were measured on one "
        "machine (benchmarks/study/costs.json); 'extrapolated' if a part is over four times as large as measured.",
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

    The seconds of a cell are the median of the same cells that the results file holds, or those of the model of costs.
    Feature files record no times, so there is no estimate for making one.
    """
    where = resolve_device(device)
    index = Index(read_lines(places.results))
    files = {spec: _expected_file(spec, places) for cell in cells for spec in (cell.fit, cell.evaluation)}
    features = {spec: load_features(places.features(spec)) for spec, file in files.items() if file.state == "done"}
    fits = []
    for cell in cells:
        missing = [files[spec] for spec in (cell.fit, cell.evaluation) if spec not in features]
        if missing:  # cells whose features cannot be used get the same reason
            state = min((file.state for file in missing), key="to do".__eq__)
        else:
            state = _state(cell, Pair(features[cell.fit], features[cell.evaluation], where), index, places)
        needs = f"features to be made ({missing[0].needs})" if missing else "features made"
        sizes = _sizes(cell, features)
        seconds = _measured(cell, sizes.n, index.by_key.values())
        amount = (seconds, "same") if seconds is not None else _modeled(cell, sizes)
        fits.append(Expected(cell.id, state, needs, *amount))
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


def _sizes(cell: Cell, features: Mapping[FeatureSpec, Features]) -> Sizes:
    """Sizes of a cell's features: of the files, or as published where they are still to be made."""
    fit, scored = features.get(cell.fit), features.get(cell.evaluation)
    return Sizes(
        n=fit.n_samples if fit else cell.fit.n_samples,
        d=fit.feature_dim if fit else find_entry(cell.fit.backbone).dim,
        views=fit.n_views if fit else cell.fit.views,
        n_scored=scored.n_samples if scored else cell.evaluation.n_samples,
        n_classes=cell.fit.dataset.n_classes,
    )


def _measured(cell: Cell, n_samples: int, lines: Iterable[Line]) -> float | None:
    """Median seconds of the cells of the same recipe, data set and number of samples; None if there are none."""
    traits = [("kind", cell.kind), ("dataset", cell.fit.dataset.name), ("fit_samples", n_samples)]
    if cell.kind == "fit":
        traits += [("method", cell.method), ("preset", cell.preset), ("settings", dict(cell.settings))]
    same = [line for line in lines if all(line.get(name) == value for name, value in traits) and line.get("seconds")]
    seconds = [sum(part or 0 for part in line["seconds"].values()) for line in same]
    return statistics.median(seconds) if seconds else None


def _modeled(cell: Cell, sizes: Sizes) -> tuple[float | None, str]:
    """CPU seconds by the model of costs, and "model" or "extrapolated"; (None, "-") if it has none."""
    recipe = None
    if cell.kind == "fit":
        recipe = preset_of(cell).changed(cell.settings)
        recipe = recipe if recipe.n_clusters else recipe.changed({"n_clusters": sizes.n_classes})
    cost = expected(cell.kind, recipe, sizes) if sizes.d else None
    if cost is None:
        return None, "-"
    return cost.seconds, "extrapolated" if cost.is_extrapolated else "model"
