"""Which cells a table has: backbones x data sets x methods x presets x seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from headclust.backbones.catalog import find_entry
from headclust.errors import SettingError, unknown
from headclust.filenames import file_name
from headclust.methods import METHODS, PRESETS, find_preset, settings
from study.presets import DATASETS, DataSet, Row, Study


@dataclass(frozen=True)
class Wanted:
    """A feature file that cells need.

    Attributes:
        backbone: Name of the catalog.
        dataset: The data set.
        split: Which of its splits.
        limit: Images taken at random, without labels, seed 0; 0 for all.
        image_size: Input size in pixels; None for the model's own.
        views: Cached views of each image.
        preprocessing: A paper's preprocessing; empty for the model's own.
    """

    backbone: str
    dataset: DataSet
    split: str
    limit: int = 0
    image_size: int | None = None
    views: int = 0
    preprocessing: str = ""

    @property
    def file(self) -> str:
        """Its path below a study's root: `features/DATASET-SPLIT/BACKBONE.h5`."""
        return f"features/{file_name(f'{self.dataset.name}-{self.split}')}/{file_name(self.backbone)}.h5"

    @property
    def n_samples(self) -> int:
        """How many images that is, as published."""
        known = self.dataset.n_train if self.split == "train" else self.dataset.n_eval
        return min(self.limit, known) if self.limit else known

    @property
    def is_counted(self) -> bool:
        """Whether `n_samples` is exact."""
        return self.split != "train" or self.dataset.is_counted


@dataclass(frozen=True)
class Cell:
    """One fit and its scores, or the probes of a backbone on a data set.

    Attributes:
        study: Name of the study.
        kind: "fit" or "probes".
        fit: The features that are fitted.
        evaluation: The features that are scored.
        method: Name in METHODS; empty for probes, as is the rest.
        preset: Which of its recipes.
        settings: Changes to that recipe.
        seed: Of the fit.
        curve: For a point of an ablation, the setting that changes; it is then no part of the table.
    """

    study: str
    kind: Literal["fit", "probes"]
    fit: Wanted
    evaluation: Wanted
    method: str = ""
    preset: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    curve: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """Backbone and data set; cells of one place share their features."""
        return self.fit.backbone, self.fit.dataset.name

    @property
    def id(self) -> str:
        """Its name: BACKBONE/DATASET/METHOD/PRESET/sSEED, then each changed setting; or BACKBONE/DATASET/probes."""
        if self.kind == "probes":
            return "/".join((*self.place, "probes"))
        changes = [f"{name}={value}" for name, value in sorted(self.settings.items())]
        return "/".join((*self.place, self.method, self.preset, f"s{self.seed}", *changes))


def plan(
    study: Study,
    *,
    backbones: Sequence[str] = (),
    datasets: Sequence[str] = (),
    methods: Sequence[str] = (),
    presets: Sequence[str] = (),
    seeds: int | None = None,
    max_seconds: float | None = None,
    ablations: bool = False,
) -> tuple[Cell, ...]:
    """The cells of a study, those of one backbone and data set together: probes, fits, ablations.

    Args:
        study: What to cross.
        backbones: Only these, which need not be the study's: names of the catalog, `timm:NAME`, `open_clip:...`.
        datasets: Only these, names in DATASETS.
        methods: Only these, names in METHODS; those the study does not have run with its presets.
        presets: Only these of the methods' recipes.
        seeds: So many on every backbone, instead of the study's own numbers.
        max_seconds: The limit of a training, where the study sets one; 0 for none.
        ablations: With the points of the study's curves, where their method and preset are among those chosen.

    Raises:
        SettingError: A name is unknown or given twice, the number of seeds or the limit is not possible, or nothing is
            left.
    """
    _check(backbones, datasets, methods, presets, seeds)
    if max_seconds is not None and not (math.isfinite(max_seconds) and max_seconds >= 0):
        raise SettingError(f"a limit of {max_seconds} seconds: wanted a finite number, or 0 for none.")
    chosen = tuple(backbones) or study.backbones
    first = next((name for name in study.backbones if name in chosen), chosen[0])
    rows = _rows(study, methods, presets)
    base = study.curve_row
    ablations = ablations and base.method in (methods or [base.method]) and base.preset in (presets or [base.preset])
    curves = study.curve_dataset if not datasets or study.curve_dataset in datasets else datasets[0]
    cells: list[Cell] = []
    for backbone in chosen:
        for dataset in datasets or study.datasets:
            here = Cell(study.name, "probes", *_features(study, backbone, DATASETS[dataset]))
            cells.append(here)
            for row in rows:
                n_seeds = row.seeds if backbone == first else row.seeds_elsewhere
                cells += _fits(here, row, min(n_seeds, 1) * seeds if seeds else n_seeds, max_seconds)
            if ablations and (backbone, dataset) == (first, curves):
                cells += _ablations(here, study, max_seconds)
    if not any(cell.kind == "fit" for cell in cells):
        raise SettingError("nothing is left to fit: name methods, presets and backbones that the study crosses.")
    return tuple(cells)


def shard(cells: Sequence[Cell], number: int, of: int) -> tuple[Cell, ...]:
    """Part `number` (1 to `of`) of a plan, for the jobs of an array: disjoint, and all of it together.

    Cells of one backbone and data set stay together as long as there are enough of those, so that jobs embed no
    features in each other's way; with more jobs than that the cells are dealt one by one.

    Raises:
        SettingError: There is no such part.
    """
    if not 1 <= number <= of:
        raise SettingError(f"shard {number}/{of}: wanted 1/{max(of, 1)} to {max(of, 1)}/{max(of, 1)}.")
    places = list(dict.fromkeys(cell.place for cell in cells))
    turns = [places.index(cell.place) for cell in cells] if len(places) >= of else range(len(cells))
    return tuple(cell for cell, turn in zip(cells, turns, strict=True) if turn % of == number - 1)


def _check(
    backbones: Sequence[str], datasets: Sequence[str], methods: Sequence[str], presets: Sequence[str], seeds: int | None
) -> None:
    for backbone in backbones:
        find_entry(backbone)
    for dataset in datasets:
        if dataset not in DATASETS:
            raise unknown("data set", dataset, DATASETS)
    for method in methods:
        if method not in METHODS:
            raise unknown("method", method, METHODS)
    for preset in presets:
        if not any(preset in recipes for recipes in PRESETS.values()):
            raise unknown("preset of a method", preset, ("ours", "authors"))
    for names in (backbones, datasets, methods, presets):
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SettingError(f"{twice[0]} is named twice: wanted each name once.")
    if seeds is not None and not 1 <= seeds <= 1000:
        raise SettingError(f"{seeds} seeds: wanted 1 to 1000.")


def _rows(study: Study, methods: Sequence[str], presets: Sequence[str]) -> list[Row]:
    """The study's rows, and for methods it does not have one with each of its presets, or else with `ours`."""
    rows = list(study.rows)
    known, theirs = {row.method for row in rows}, list(dict.fromkeys(row.preset for row in study.rows))
    for method in methods:
        if method not in known:
            wanted = [preset for preset in presets or theirs if preset in PRESETS[method]]
            rows += [Row(method, preset) for preset in wanted or ["ours"]]
    return [row for row in rows if (not methods or row.method in methods) and (not presets or row.preset in presets)]


def _features(study: Study, backbone: str, dataset: DataSet) -> tuple[Wanted, Wanted]:
    """What is fitted and what is scored."""
    fit = Wanted(
        backbone,
        dataset,
        "train",
        limit=study.limit if study.limit < dataset.n_train else 0,
        image_size=study.image_size,
        views=study.views,
        preprocessing=study.preprocessing,
    )
    return fit, replace(fit, split=dataset.eval_split, limit=0, views=0)


def _fits(here: Cell, row: Row, n_seeds: int, max_seconds: float | None) -> Iterator[Cell]:
    _, recipe = find_preset(row.method, row.preset)
    known = [setting.name for setting in settings(recipe)]
    limit = row.max_seconds if max_seconds is None else max_seconds
    # Of a recipe of several stages each has a limit of its own, with the stage in its name.
    limits = {name: limit for name in known if name.split(".")[-1] == "max_seconds" and limit and row.max_seconds}
    changes = {**{name: value for name, value in row.settings.items() if name in known}, **limits}
    for seed in range(n_seeds):
        yield replace(here, kind="fit", method=row.method, preset=row.preset, settings=changes, seed=seed)


def _ablations(here: Cell, study: Study, max_seconds: float | None) -> Iterator[Cell]:
    """The points of the study's curves, one seed each."""
    for curve, values in study.curves.items():
        (base,) = _fits(here, study.curve_row, 1, max_seconds)
        for value in values:
            yield replace(base, settings={**base.settings, curve: value}, curve=curve)
