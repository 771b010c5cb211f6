"""The cells of a table: backbones x data sets x methods x presets x seeds."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from headclust.backbones.catalog import find_entry
from headclust.errors import DataError, SettingError, unknown
from headclust.features import load_features
from headclust.filenames import file_name
from headclust.methods import METHODS, PRESETS, Recipe
from headclust.progress import printable
from study.presets import DATASETS, DataSet, Row, Study


@dataclass(frozen=True)
class FeatureSpec:
    """A feature file that cells need."""

    backbone: str  # name of the catalog
    dataset: DataSet
    split: str
    limit: int = 0  # images drawn without labels, seed 0; 0 for all
    image_size: int | None = None  # input size in pixels; None for the model's own
    views: int = 0  # cached views per image
    preprocessing: str = ""  # the preprocessing of a paper; empty for the model's own
    own: str = ""  # the absolute path of a file that the user made, which is taken as it is

    @property
    def file(self) -> str:
        """Its path below the root of a study, `features/DATASET-SPLIT/BACKBONE.h5`; or that of the user's own file."""
        return self.own or f"features/{file_name(f'{self.dataset.name}-{self.split}')}/{file_name(self.backbone)}.h5"

    @property
    def n_samples(self) -> int:
        """Number of images, as published."""
        n_images = self.dataset.n_train if self.split == "train" else self.dataset.n_eval
        return min(self.limit, n_images) if self.limit else n_images


@dataclass(frozen=True)
class Cell:
    """One fit and its scores, or the probes of a backbone on a data set."""

    study: str
    kind: Literal["fit", "probes"]
    fit: FeatureSpec  # the features that are fitted
    evaluation: FeatureSpec  # the features that are scored
    method: str = ""  # empty for probes, as is the rest
    preset: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)  # changes to the preset
    seed: int = 0
    curve: str = ""  # the setting that changes, for a point of an ablation, which is not in the table

    @property
    def place(self) -> tuple[str, str]:
        """Backbone and data set; cells of one place share their features."""
        return self.fit.backbone, self.fit.dataset.name

    @property
    def id(self) -> str:
        """BACKBONE/DATASET/METHOD/PRESET/sSEED, then each changed setting; or BACKBONE/DATASET/probes."""
        if self.kind == "probes":
            return "/".join((*self.place, "probes"))
        changes = [f"{name}={value}" for name, value in sorted(self.settings.items())]
        return "/".join((*self.place, self.method, self.preset, f"s{self.seed}", *changes))


def preset_of(cell: Cell) -> Recipe:
    """The recipe of the preset that a cell changes."""
    return Recipe.of(cell.method, cell.preset)


def plan(
    study: Study,
    *,
    backbones: Sequence[str] = (),  # only these; any name of the catalog, `timm:NAME`, `open_clip:...`
    datasets: Sequence[str] = (),  # only these, names in DATASETS
    methods: Sequence[str] = (),  # only these, names in METHODS; those that the study lacks run with its presets
    presets: Sequence[str] = (),  # only these presets of the methods
    seeds: int | None = None,  # number of seeds on every backbone, instead of the study's own numbers
    max_seconds: float | None = None,  # limit of a training stage, where the study sets one; 0 for none
    ablations: bool = False,  # add the points of the study's curves, if their method and preset are among those chosen
    own: Sequence[tuple[FeatureSpec, FeatureSpec]] = (),  # fitted and scored files, instead of backbones and data sets
) -> tuple[Cell, ...]:
    """The cells of a study, those of one backbone and data set together: probes, fits, ablations.

    Raises:
        SettingError: A name is unknown or given twice, a number is not possible, or nothing is left to fit.
    """
    _check(backbones, datasets, methods, presets)
    if seeds is not None and not 1 <= seeds <= 1000:
        raise SettingError(f"{seeds} seeds: expected 1 to 1000.")
    if max_seconds is not None and not (math.isfinite(max_seconds) and max_seconds >= 0):
        raise SettingError(f"a limit of {max_seconds} seconds: expected a finite number, or 0 for none.")
    chosen, sets = tuple(backbones) or study.backbones, tuple(datasets) or study.datasets
    pairs = own or [_features(study, *pair) for pair in itertools.product(chosen, [DATASETS[name] for name in sets])]
    first = next((name for name in study.backbones if name in chosen), chosen[0])
    base, curve_set = study.curve_row, study.curve_dataset if study.curve_dataset in sets else sets[0]
    ablations = ablations and base.method in (methods or [base.method]) and base.preset in (presets or [base.preset])
    cells: list[Cell] = []
    for pair in pairs:
        probes = Cell(study.name, "probes", *pair)
        backbone, dataset = probes.place
        cells.append(probes)
        for row in _rows(study, methods, presets):
            n_seeds = row.seeds if own or backbone == first else row.seeds_elsewhere
            cells += _fits(probes, row, min(n_seeds, 1) * seeds if seeds else n_seeds, max_seconds)
        if ablations and (backbone, dataset) == (first, curve_set):
            (fit,) = _fits(probes, base, 1, max_seconds)
            points = [(curve, value) for curve, values in study.curves.items() for value in values]
            cells += [replace(fit, settings={**fit.settings, name: value}, curve=name) for name, value in points]
    if not any(cell.kind == "fit" for cell in cells):
        raise SettingError("nothing is left to fit: name methods, presets and backbones that the study combines.")
    return tuple(cells)


def own_features(name: str, fit: Path, evaluation: Path) -> tuple[FeatureSpec, FeatureSpec]:
    """A user's own feature files, as the data set `name` of the backbone that they record.

    Raises:
        SettingError: The name is that of a data set of the tables.
        HeadclustError: A file cannot be read, has no labels, or the two are of different backbones.
    """
    if name in DATASETS:
        raise SettingError(f"{name} is a data set of the tables: name your features differently.")
    fitted, scored = load_features(fit), load_features(evaluation)
    for features in (fitted, scored):
        if features.labels is None or not (features.labels >= 0).any():
            raise DataError(f"{printable(str(features.path))} has no labels, which the scores of a table need.")
    backbones = [str(features.attributes["backbone"]) for features in (fitted, scored)]
    if backbones[0] != backbones[1] or fitted.feature_dim != scored.feature_dim:
        raise DataError(f"{printable(str(evaluation))} is of another backbone than {printable(str(fit))}.")
    splits = [str(features.attributes.get("split", "all")) for features in (fitted, scored)]
    assert fitted.labels is not None
    n_classes = len(fitted.class_names) or int(fitted.labels.max()) + 1
    dataset = DataSet(name, "", splits[1], fitted.n_samples, scored.n_samples, n_classes)
    files = (fit, evaluation)
    first, second = (
        FeatureSpec(backbones[0], dataset, split, own=str(file.resolve()))
        for split, file in zip(splits, files, strict=True)
    )
    return first, second


def shard(cells: Sequence[Cell], number: int, of: int) -> tuple[Cell, ...]:
    """Part `number` (1 to `of`) of a plan, for the jobs of an array; together the disjoint parts are the plan.

    Cells of one backbone and data set stay together as long as there are at least `of` such pairs, so that no two jobs
    embed the same features; with more jobs the cells are dealt one by one.
    """
    if not 1 <= number <= of:
        raise SettingError(f"shard {number}/{of}: expected 1/{max(of, 1)} to {max(of, 1)}/{max(of, 1)}.")
    places = list(dict.fromkeys(cell.place for cell in cells))
    turns = [places.index(cell.place) for cell in cells] if len(places) >= of else range(len(cells))
    return tuple(cell for cell, turn in zip(cells, turns, strict=True) if turn % of == number - 1)


def _check(backbones: Sequence[str], datasets: Sequence[str], methods: Sequence[str], presets: Sequence[str]) -> None:
    for backbone in backbones:
        find_entry(backbone)
    recipes = {preset for by_name in PRESETS.values() for preset in by_name}
    choices = (("data set", datasets, DATASETS), ("method", methods, METHODS), ("preset of a method", presets, recipes))
    for kind, names, existing in choices:
        for name in names:
            if name not in existing:
                raise unknown(kind, name, existing)
    for names in (backbones, datasets, methods, presets):
        if twice := [name for name in names if names.count(name) > 1]:
            raise SettingError(f"{twice[0]} is named twice: expected each name once.")


def _rows(study: Study, methods: Sequence[str], presets: Sequence[str]) -> list[Row]:
    """The study's rows, and for a method it does not have one row for each of its presets, or else for `ours`."""
    rows = list(study.rows)
    for method in methods:
        if all(row.method != method for row in study.rows):
            names = presets or dict.fromkeys(row.preset for row in study.rows)
            rows += [Row(method, preset) for preset in [n for n in names if n in PRESETS[method]] or ["ours"]]
    return [row for row in rows if (not methods or row.method in methods) and (not presets or row.preset in presets)]


def _features(study: Study, backbone: str, dataset: DataSet) -> tuple[FeatureSpec, FeatureSpec]:
    """The features that are fitted and those that are scored."""
    limit = study.limit if study.limit < dataset.n_train else 0
    fit = FeatureSpec(backbone, dataset, "train", limit, study.image_size, study.views, study.preprocessing)
    return fit, replace(fit, split=dataset.eval_split, limit=0, views=0)


def _fits(probes: Cell, row: Row, n_seeds: int, max_seconds: float | None) -> Iterator[Cell]:
    """The fits of a row at the place of `probes`; settings that its preset does not have are left out."""
    names = _setting_names(row.method, row.preset)
    limit = row.max_seconds if max_seconds is None else max_seconds
    changes = {name: value for name, value in row.settings.items() if name in names}
    if limit and row.max_seconds:  # each stage of a recipe has its own limit, with the stage in its name
        changes |= {name: limit for name in names if name.split(".")[-1] == "max_seconds"}
    for seed in range(n_seeds):
        yield replace(probes, kind="fit", method=row.method, preset=row.preset, settings=changes, seed=seed)


@functools.cache
def _setting_names(method: str, preset: str) -> tuple[str, ...]:
    return tuple(Recipe.of(method, preset).values)
