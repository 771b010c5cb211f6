"""The data sets that tables are made of, and the studies there are by name. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headclust.backbones.catalog_authors import AUTHORS
from headclust.backbones.catalog_today import PACKAGED, TODAY
from headclust.errors import unknown


@dataclass(frozen=True)
class DataSet:
    """A data set of the tables; counts are as published.

    Attributes:
        name: Its name in paths and results, which is what its reader calls it.
        source: The reader: a name in `headclust.images.datasets.SOURCES`, or "digits".
        eval_split: The split that is scored; "train" is always the one fitted.
        n_train: Images to fit.
        n_eval: Images to score.
        n_classes: Number of classes.
        classes: File with the classes that are kept, below the folder of all data; empty for all of them.
        folders: Where the data are below that folder: the first of these that is there.
        image_size: Side of its images in pixels, on average; what decoding costs.
        is_counted: Whether `n_train` is exact; `n_eval` always is.
    """

    name: str
    source: str
    eval_split: str
    n_train: int
    n_eval: int
    n_classes: int
    classes: str = ""
    folders: tuple[str, ...] = ()
    image_size: int = 32
    is_counted: bool = True


def _imagenet_part(n_classes: int, n_train: int) -> DataSet:
    # The lists of SCAN's authors, as their repository names them:
    # https://github.com/wvangansbeke/Unsupervised-Classification/tree/master/data/imagenet_subsets
    name, classes = f"imagenet-{n_classes}", f"imagenet_subsets/imagenet_{n_classes}.txt"
    return DataSet(
        name, "imagenet", "val", n_train, 50 * n_classes, n_classes, classes, ("imagenet",), 400, is_counted=False
    )


_ALL = (
    DataSet("digits", "digits", "test", 1_437, 360, 10, image_size=8),
    DataSet("fashion-mnist", "fashion-mnist", "test", 60_000, 10_000, 10, folders=("fashion-mnist",), image_size=28),
    DataSet("cifar10", "cifar10", "test", 50_000, 10_000, 10, folders=("cifar10",)),
    DataSet("cifar20", "cifar20", "test", 50_000, 10_000, 20, folders=("cifar20", "cifar100")),
    DataSet("cifar100", "cifar100", "test", 50_000, 10_000, 100, folders=("cifar100",)),
    DataSet("stl10", "stl10", "test", 5_000, 8_000, 10, folders=("stl10",), image_size=96),
    # Train images of a part are counted as 1,282 a class, ImageNet's mean.
    _imagenet_part(50, 64_100),
    _imagenet_part(100, 128_200),
    _imagenet_part(200, 256_400),
    DataSet("imagenet", "imagenet", "val", 1_281_167, 50_000, 1_000, folders=("imagenet",), image_size=400),
)
DATASETS: dict[str, DataSet] = {dataset.name: dataset for dataset in _ALL}


@dataclass(frozen=True)
class Row:
    """A method in the tables, on every backbone and data set of the study or on some.

    Attributes:
        method: Name in METHODS.
        preset: Which of its recipes.
        settings: Changes to that recipe.
        seeds: Number of seeds, 0 to seeds - 1, on the study's first backbone.
        seeds_elsewhere: Number of seeds on its other backbones.
        max_seconds: Limit of the training in wall-clock, where the recipe trains; 0 for none.
    """

    method: str
    preset: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 1
    seeds_elsewhere: int = 1
    max_seconds: float = 0.0


@dataclass(frozen=True)
class Study:
    """A table by name: what it crosses, and how its features are made.

    Attributes:
        name: What a user says.
        backbones: Names of the catalog.
        datasets: Names in DATASETS.
        rows: Methods.
        limit: Train images taken of each data set, at random without labels, seed 0; 0 for all.
        image_size: Input size instead of each model's own; None for that.
        views: Cached views of each train image.
        preprocessing: A paper's preprocessing instead of each model's own; empty for that.
        curves: Ablations: settings of `curve_row`'s method and their values, each a curve, on the first backbone.
        curve_row: What they are ablations of.
        curve_dataset: On which data set.
    """

    name: str
    backbones: tuple[str, ...]
    datasets: tuple[str, ...]
    rows: tuple[Row, ...]
    limit: int = 0
    image_size: int | None = None
    views: int = 0
    preprocessing: str = ""
    curves: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    curve_row: Row = Row("temi", "ours")
    curve_dataset: str = "cifar10"


_CURVES = {
    "n_heads": (1, 2, 4, 8, 16, 32),
    "n_neighbors": (2, 5, 10, 25, 50, 100),
    "beta": (0.5, 0.55, 0.6, 0.7, 0.8, 1.0),
}
# The default and those of the field. The other baselines take longer on 20,000 rows than all of a cell may, and run
# where they are named.
_METHODS = ("consensus", "kmeans", "spectral", "temi", "wmi", "pmi", "temi-scan", "scan", "imc-swav", "clc", "turtle")
_PAPERS = ("cifar10", "cifar20", "cifar100", "stl10", "imagenet-50", "imagenet-100", "imagenet-200", "imagenet")
# The paper's 50 heads, and a checkpoint every 20 epochs and at the end, as its code takes the best test score of. (It
# keeps those after epochs 1, 21, 41 ...; ours are after 20, 40, 60 ...)
_PAPER_TEMI = {"n_heads": 50, "neighbor_list": "temi-paper", "checkpoint_every": 20}

_STUDIES = (
    # Packaged weights and data a machine without a network can have.
    Study(
        "offline",
        backbones=tuple(entry.name for entry in PACKAGED),
        datasets=("digits", "fashion-mnist", "cifar10"),
        rows=(
            *(Row(method, "ours", seeds=3) for method in _METHODS),
            *(
                Row(method, "authors", seeds_elsewhere=0, max_seconds=45.0)
                for method in _METHODS
                if method not in ("consensus", "clc")  # ours, and one whose authors' code there is not
            ),
        ),
        limit=20_000,
        image_size=128,
        views=2,
        curves=_CURVES,
    ),
    # The protocol of https://arxiv.org/abs/2303.17896 as its code has it; what that does not say (batch size, epochs
    # of the published runs) is as its README has it.
    Study(
        "paper",
        backbones=tuple(entry.name for entry in AUTHORS),
        datasets=_PAPERS,
        rows=(Row("kmeans", "ours"), Row("kmeans", "authors"), Row("temi", "authors", settings=_PAPER_TEMI)),
        preprocessing="temi-paper",
        curves=_CURVES,
        curve_row=Row("temi", "authors", settings=_PAPER_TEMI),
    ),
    # Today's backbones, each prepared as its own authors do, with our recipes.
    Study(
        "modern",
        backbones=tuple(entry.name for entry in TODAY),
        datasets=_PAPERS,
        rows=tuple(
            Row(method, "ours", seeds=3, seeds_elsewhere=3)
            for method in ("consensus", "kmeans", "spectral", "temi", "scan", "turtle")
        ),
        views=2,
        curves=_CURVES,
    ),
)
STUDIES: dict[str, Study] = {study.name: study for study in _STUDIES}


def find_study(name: str) -> Study:
    """A study by name.

    Raises:
        SettingError: There is none of that name.
    """
    if name not in STUDIES:
        raise unknown("preset", name, STUDIES)
    return STUDIES[name]
