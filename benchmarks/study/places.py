"""Where a study's files are: features and results below its root, images below the folder of all data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from headclust.backbones import load_backbone, untrained_backbone
from headclust.embedding.embed import embed_images
from headclust.errors import ConflictError, DataError, HeadclustError
from headclust.features import Features, load_features
from headclust.features.lock import writer_lock
from headclust.filenames import file_name
from headclust.images.datasets import open_source
from headclust.progress import note, printable
from study.plan import Wanted
from study.presets import DataSet
from study.results import RESULTS

_SEED = 0  # of the subset and of the views


@dataclass(frozen=True)
class Places:
    """Folders.

    Attributes:
        root: Holds `features/DATASET-SPLIT/BACKBONE.h5`, `results.jsonl`, `cells/` and `claims/`.
        data_root: Holds the data sets' folders, named as in `DataSet.folders`, and the lists of classes.
        data: Folders of data sets that are elsewhere, by the data set's name or the folder's.
        offline: Never download weights.
    """

    root: Path
    data_root: Path = Path("data")
    data: Mapping[str, Path] = field(default_factory=dict)
    offline: bool = False

    @property
    def results(self) -> Path:
        """The results file."""
        return self.root / RESULTS

    def features(self, wanted: Wanted) -> Path:
        """The feature file."""
        return self.root / wanted.file

    def claim(self, name: str) -> Path:
        """The folder of the lock that a process holds while it makes something of that name."""
        return self.root / "claims" / file_name(name)

    def images(self, dataset: DataSet) -> Path | None:
        """The folder a data set is read from, there or not; None for one that comes with a library."""
        given = [self.data[name] for name in (dataset.name, *dataset.folders) if name in self.data]
        found = [*given, *(self.data_root / name for name in dataset.folders)]
        there = (path for path in found if path.exists())
        return given[0] if given else next(there, found[0] if found else None)

    def classes(self, dataset: DataSet) -> Path | None:
        """The file with the classes that are kept, there or not; None where all are."""
        return self.data_root / dataset.classes if dataset.classes else None

    def missing(self, dataset: DataSet) -> list[Path]:
        """What a data set needs and is not there."""
        return [path for path in (self.images(dataset), self.classes(dataset)) if path and not path.exists()]


def make_features(wanted: Wanted, places: Places, *, device: str | None = None) -> Path:
    """Embeds what is wanted, unless it is made already; returns the file. What was begun before is gone on with.

    Args:
        wanted: The features.
        places: Where everything is.
        device: Where to compute.

    Raises:
        DataError: The data are not there, or are another data set.
        ConflictError: The file there was made otherwise.
        BusyError: Another process is making it.
        HeadclustError: Anything else that stage 1 says.
    """
    path = places.features(wanted)
    if path.is_file():
        check_made(load_features(path), wanted)
        return path
    with writer_lock(places.claim(wanted.file)):  # the file has a lock of its own, but after the model is loaded
        return path if path.is_file() else _embed(wanted, places, path, device)


def _embed(wanted: Wanted, places: Places, path: Path, device: str | None) -> Path:
    for gone in places.missing(wanted.dataset):
        step = "say where it is with --data-root FOLDER or --data NAME=PATH"
        raise DataError(f"{wanted.dataset.name}: there is no {printable(str(gone))}: {step}.")
    folder = places.images(wanted.dataset)
    source = f"{wanted.dataset.source}:{folder}" if folder else wanted.dataset.source
    note(f"{path}: embedding {source} with {wanted.backbone}.")
    images = open_source(source, wanted.split, classes=places.classes(wanted.dataset), offline=places.offline)
    if images.dataset != wanted.dataset.name:
        raise DataError(f"{printable(source)} is {images.dataset}: wanted {wanted.dataset.name}.")
    if wanted.limit and wanted.limit < len(images):
        images = images.subset(wanted.limit, _SEED)
    backbone = load_backbone(
        wanted.backbone,
        image_size=wanted.image_size,
        offline=places.offline,
        preset=wanted.preprocessing or None,
        dataset=images.dataset,
    )
    return embed_images(images, backbone, path, n_views=wanted.views, device=device, seed=_SEED)


def check_made(features: Features, wanted: Wanted) -> None:
    """Makes sure that a feature file is the one a table wants, as far as it says how it was made.

    A file of another program may say nothing, and is taken for what its place says.

    Raises:
        ConflictError: It was made of something else, or otherwise.
    """
    said = features.attributes
    preprocessing = said.get("preprocessing", {})
    seed = _SEED if wanted.limit or wanted.views else None
    size = preprocessing.get("input_size", [None])[0]
    # Without a limit the count says whether it is a subset; a file that was not embedded here counts nothing.
    listed = features.n_samples + len(features.skipped) if wanted.limit else said.get("n_listed")
    facts = {
        "backbone": (said.get("backbone"), wanted.backbone),
        "data set": (said.get("dataset"), wanted.dataset.name),
        "split": (said.get("split"), wanted.split),
        "seed": (said.get("seed"), seed),
        "preset": (preprocessing.get("preset", ""), wanted.preprocessing),
        "image size": (size, wanted.image_size or (_own_size(wanted) if size else None)),
        "number of images": (listed, wanted.n_samples if wanted.limit or wanted.is_counted else None),
        "number of views": (features.n_views, wanted.views),
    }
    for name, (found, want) in facts.items():
        if want is not None and found is not None and found != want:
            path = printable(str(features.path))
            step = "choose another --root, or delete the file"
            raise ConflictError(f"{path}: its {name} is {found}, this table wants {want}: {step}.")


def _own_size(wanted: Wanted) -> int | None:
    """The input size that a table without one of its own gives a model; None where the model cannot be built here."""
    return _size_of(wanted.backbone, wanted.preprocessing, wanted.dataset.name)


@cache
def _size_of(backbone: str, preset: str, dataset: str) -> int | None:
    try:
        made = untrained_backbone(backbone, preset=preset or None, dataset=dataset, device="meta")
    except HeadclustError:
        return None
    return made.preprocessing.size[0]
