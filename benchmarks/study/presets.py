"""The data sets that tables are made of, and the studies by name. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headclust.backbones.catalog_authors import AUTHORS
from headclust.backbones.catalog_today import PACKAGED, TODAY
from headclust.errors import unknown


@dataclass(frozen=True)
class DataSet:
    """A data set of the tables; numbers of images are as published. The split "train" is fitted."""

    name: str  # in paths and results, as its reader calls it
    source: str  # its reader: a name in `headclust.images.datasets.SOURCES`, or "digits"
    eval_split: str  # the split that is scored
    n_train: int
    n_eval: int
    n_classes: int
    classes: str = ""  # file that lists the classes, below the folder of all data; empty for all classes
    folders: tuple[str, ...] = ()  # its folder below that of all data: the first of these that exists
    is_counted: bool = True  # True if `n_train` is exact; `n_eval` always is


def _imagenet_part(n_classes: int) -> DataSet:
    # The lists of SCAN's authors, as their repository names them:
    # https://github.com/wvangansbeke/Unsupervised-Classification/tree/master/data/imagenet_subsets
    # Train images are counted as 1,282 per class, the mean of ImageNet.
    name, classes = f"imagenet-{n_classes}", f"imagenet_subsets/imagenet_{n_classes}.txt"
    n_train, n_eval = 1_282 * n_classes, 50 * n_classes
    return DataSet(name, "imagenet", "val", n_train, n_eval, n_classes, classes, ("imagenet",), is_counted=False)


_ALL = (
    DataSet("digits", "digits", "test", 1_437, 360, 10),
    DataSet("fashion-mnist", "fashion-mnist", "test", 60_000, 10_000, 10, folders=("fashion-mnist",)),
    DataSet("cifar10", "cifar10", "test", 50_000, 10_000, 10, folders=("cifar10",)),
    DataSet("cifar20", "cifar20", "test", 50_000, 10_000, 20, folders=("cifar20", "cifar100")),
    DataSet("cifar100", "cifar100", "test", 50_000, 10_000, 100, folders=("cifar100",)),
    DataSet("stl10", "stl10", "test", 5_000, 8_000, 10, folders=("stl10",)),
    *map(_imagenet_part, (50, 100, 200)),
    DataSet("imagenet", "imagenet", "val", 1_281_167, 50_000, 1_000, folders=("imagenet",)),
)
DATASETS: dict[str, DataSet] = {dataset.name: dataset for dataset in _ALL}


@dataclass(frozen=True)
class Row:
    """A method of a study, on all of its backbones and data sets."""

    method: str
    preset: str
    settings: Mapping[str, Any] = field(default_factory=dict)  # changes to the preset
    seeds: int = 1  # number of seeds on the first backbone of the study: 0 to seeds - 1
    seeds_elsewhere: int = 1  # number of seeds on its other backbones
    max_seconds: float = 0.0  # wall-clock limit of each training stage; 0 for none


@dataclass(frozen=True)
class Study:
    """A table by name: what it combines, and how its features are made."""

    name: str
    backbones: tuple[str, ...]  # names of the catalog
    datasets: tuple[str, ...]  # names in DATASETS
    rows: tuple[Row, ...]
    limit: int = 0  # train images drawn from each data set without labels, seed 0; 0 for all
    image_size: int | None = None  # input size; None for the own size of each model
    views: int = 0  # cached views per train image
    preprocessing: str = ""  # the preprocessing of a paper; empty for that of each model
    # Ablations: values by setting of the method of `curve_row`, one curve per setting, on the first backbone.
    curves: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    curve_row: Row = Row("temi", "ours")
    curve_dataset: str = "cifar10"


_CURVES = {
    "n_heads": (1, 2, 4, 8, 16, 32),
    "n_neighbors": (2, 5, 10, 25, 50, 100),
    "beta": (0.5, 0.55, 0.6, 0.7, 0.8, 1.0),
}
# The default and the published methods. The other baselines take too long on 20,000 rows; they run only if named.
_METHODS = ("consensus", "kmeans", "spectral", "temi", "wmi", "pmi", "temi-scan", "scan", "imc-swav", "clc", "turtle")
_MODERN = ("consensus", "kmeans", "spectral", "temi", "scan", "turtle")
_PAPERS = ("cifar10", "cifar20", "cifar100", "stl10", "imagenet-50", "imagenet-100", "imagenet-200", "imagenet")
# The paper's 50 heads, and a checkpoint every 20 epochs and at the end, of which its code uses the best test score.
# (Its checkpoints are after epochs 1, 21, 41 ...; ours after 20, 40, 60 ...)
_PAPER_TEMI = Row("temi", "authors", {"n_heads": 50, "neighbor_list": "temi-paper", "checkpoint_every": 20})

_STUDIES = (
    # Packaged weights, and data that need no network.
    Study(
        "offline",
        backbones=tuple(entry.name for entry in PACKAGED),
        datasets=("digits", "fashion-mnist", "cifar10", "cifar20", "cifar100"),
        rows=(
            *(Row(method, "ours", seeds=3) for method in _METHODS),
            *(
                Row(method, "authors", seeds_elsewhere=0, max_seconds=45.0)
                for method in _METHODS
                if method not in ("consensus", "clc")  # ours, and a method without code of its authors
            ),
        ),
        limit=20_000,
        image_size=128,
        views=2,
        curves=_CURVES,
    ),
    # The protocol of https://arxiv.org/abs/2303.17896 as in its code; batch size and epochs of the published runs,
    # which the code does not fix, as in its README.
    Study(
        "paper",
        backbones=tuple(entry.name for entry in AUTHORS),
        datasets=_PAPERS,
        rows=(Row("kmeans", "ours"), Row("kmeans", "authors"), _PAPER_TEMI),
        preprocessing="temi-paper",
        curves=_CURVES,
        curve_row=_PAPER_TEMI,
    ),
    # Today's backbones, each prepared as its own authors do, with our recipes.
    Study(
        "modern",
        backbones=tuple(entry.name for entry in TODAY),
        datasets=_PAPERS,
        rows=tuple(Row(method, "ours", seeds=3, seeds_elsewhere=3) for method in _MODERN),
        views=2,
        curves=_CURVES,
    ),
)
STUDIES: dict[str, Study] = {study.name: study for study in _STUDIES}


def find_study(name: str) -> Study:
    """The study of that name; raise SettingError if there is none."""
    if name not in STUDIES:
        raise unknown("preset", name, STUDIES)
    return STUDIES[name]
