"""Files of a study: features, results and claims below its root, images below the folder of all data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from headclust.backbones import load_backbone, untrained_backbone
from headclust.embedding import EmbedSettings
from headclust.embedding.embed import embed_images
from headclust.errors import ConflictError, DataError, HeadclustError
from headclust.features import Features, load_features
from headclust.features.lock import Lease, writer_lock
from headclust.filenames import file_name
from headclust.images.datasets import open_source
from headclust.progress import note, printable
from study.plan import FeatureSpec
from study.presets import DataSet
from study.results import RESULTS

_SEED = 0  # of the subset and of the views


@dataclass(frozen=True)
class Places:
    """Folders."""

    root: Path  # holds `features/DATASET-SPLIT/BACKBONE.h5`, `results.jsonl`, `cells/` and `claims/`
    data_root: Path = Path("data")  # holds the data sets' folders, as in `DataSet.folders`, and the lists of classes
    data: Mapping[str, Path] = field(default_factory=dict)  # data sets elsewhere, by name of the data set or folder
    offline: bool = False  # never download weights

    @property
    def results(self) -> Path:
        """The results file."""
        return self.root / RESULTS

    def features(self, spec: FeatureSpec) -> Path:
        """The feature file."""
        return self.root / spec.file

    def claim_folder(self, name: str) -> Path:
        """The folder that a process locks while it makes something of this name."""
        return self.root / "claims" / file_name(name)

    @contextmanager
    def claim(self, name: str) -> Iterator[Lease]:
        """Hold the lease of a result while this process makes it; raise BusyError if another process holds it.

        The lease of a process that dies is free at once on its own machine, and on others ten minutes after its last
        sign of life. Another process may have made the result before it let go, so a process with a claim first checks
        that; and one that was suspended may have lost its claim, so it checks the lease before it adds the result.
        """
        with writer_lock(self.claim_folder(name)) as lease:
            yield lease

    def images(self, dataset: DataSet) -> Path | None:
        """The folder a data set is read from, existing or not; None for one that comes with a library."""
        named = [self.data[name] for name in (dataset.name, *dataset.folders) if name in self.data]
        paths = named[:1] or [self.data_root / name for name in dataset.folders]
        return next((path for path in paths if path.exists()), paths[0] if paths else None)

    def classes(self, dataset: DataSet) -> Path | None:
        """The file that lists the classes of a part of a data set, existing or not; None for all classes."""
        return self.data_root / dataset.classes if dataset.classes else None

    def missing(self, dataset: DataSet) -> list[Path]:
        """Paths that a data set needs and that do not exist."""
        return [path for path in (self.images(dataset), self.classes(dataset)) if path and not path.exists()]


def make_features(spec: FeatureSpec, places: Places, *, device: str | None = None) -> Path:
    """Embed the images of a feature file, unless it exists, and return its path; an embedding that was begun resumes.

    Raise DataError if the data do not exist or are another data set, ConflictError if the existing file was made with
    other settings, BusyError if another process is making it.
    """
    path = places.features(spec)
    if path.is_file():
        check_made(load_features(path), spec)
        return path
    if spec.own:
        raise DataError(f"{printable(str(path))}: no such file.")
    # Without the data another process, which has them, may be making the file: then the claim says so.
    for missing in places.missing(spec.dataset):
        if not places.claim_folder(spec.file).exists():
            step = "give its path with --data-root FOLDER or --data NAME=PATH"
            raise DataError(f"{spec.dataset.name}: there is no {printable(str(missing))}: {step}.")
    with places.claim(spec.file):  # the file has a lock of its own, but only once the model is loaded
        return path if path.is_file() else _embed(spec, places, path, device)


def _embed(spec: FeatureSpec, places: Places, path: Path, device: str | None) -> Path:
    folder = places.images(spec.dataset)
    source = f"{spec.dataset.source}:{folder}" if folder else spec.dataset.source
    note(f"{path}: embedding {source} with {spec.backbone}.")
    images = open_source(source, spec.split, classes=places.classes(spec.dataset), offline=places.offline)
    if images.dataset != spec.dataset.name:
        raise DataError(f"{printable(source)} is {images.dataset}: expected {spec.dataset.name}.")
    if spec.limit and spec.limit < len(images):
        images = images.subset(spec.limit, _SEED)
    size, preset = spec.image_size, spec.preprocessing or None
    backbone = load_backbone(
        spec.backbone, image_size=size, offline=places.offline, preset=preset, dataset=images.dataset
    )
    return embed_images(images, backbone, path, EmbedSettings(n_views=spec.views, device=device, seed=_SEED))


def check_made(features: Features, spec: FeatureSpec) -> None:
    """Raise ConflictError if a feature file records that it was made of other data or with other settings.

    A file of another program may record nothing; then its path is trusted, and so is a user's own file.
    """
    if spec.own:
        return
    recorded = features.attributes
    preprocessing = recorded.get("preprocessing", {})
    size = preprocessing.get("input_size", [None])[0]
    own_size = spec.image_size
    if size and not own_size:
        own_size = _own_size(spec.backbone, spec.preprocessing, spec.dataset.name)
    is_counted = spec.limit or spec.split != "train" or spec.dataset.is_counted
    # Without a limit the number of images shows if it is a subset; imported files do not record it.
    n_images = features.n_samples + len(features.skipped) if spec.limit else recorded.get("n_listed")
    pairs = {
        "backbone": (recorded.get("backbone"), spec.backbone),
        "data set": (recorded.get("dataset"), spec.dataset.name),
        "split": (recorded.get("split"), spec.split),
        "seed": (recorded.get("seed"), _SEED if spec.limit or spec.views else None),
        "preset": (preprocessing.get("preset", ""), spec.preprocessing),
        "image size": (size, own_size),
        "number of images": (n_images, spec.n_samples if is_counted else None),
        "number of views": (features.n_views, spec.views),
    }
    for name, (value, expected) in pairs.items():
        if None not in (value, expected) and value != expected:
            step = "choose another --root, or delete the file"
            raise ConflictError(
                f"{printable(str(features.path))}: its {name} is {value}, this table needs {expected}: {step}."
            )


@cache
def _own_size(backbone: str, preset: str, dataset: str) -> int | None:
    """The input size of a model in a table that sets none; None if the model cannot be built on this machine."""
    with suppress(HeadclustError):
        model = untrained_backbone(backbone, preset=preset or None, dataset=dataset, device="meta")
        return model.preprocessing.size[0]
    return None
