"""Made-up inputs of the runs with --tiny, which show that a script works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from headclust import write_features
from headclust.backbones.catalog_today import PACKAGED

DATASETS = ("cifar10", "fashion-mnist", "digits")
_CLASSES, _DIM = 10, 16
_SIZES = {"train": 120, "test": 60}


def root(folder: Path) -> Path:
    """The root of a study with the features of all packaged backbones, so that nothing has to be embedded."""
    feature_folder(folder / "features")
    return folder


def feature_folder(folder: Path) -> Path:
    """`DATA-{train,test}/MODEL.h5` of three data sets: Gaussian blobs, one per class."""
    for number, (dataset, entry) in enumerate((dataset, entry) for dataset in DATASETS for entry in PACKAGED):
        generator = np.random.default_rng(number)
        centers = 2 * generator.normal(size=(_CLASSES, _DIM))
        for split, n_samples in _SIZES.items():
            labels = np.arange(n_samples) % _CLASSES
            path = folder / f"{dataset}-{split}" / f"{entry.name}.h5"
            path.parent.mkdir(parents=True, exist_ok=True)
            # The row of each image, and on the fitted split those of two views, (1 + n_views, n_samples, dim).
            n_rows = 3 if split == "train" else 1
            rows = (centers[labels] + generator.normal(size=(n_rows, n_samples, _DIM))).astype(np.float32)
            write_features(
                path,
                rows[0],
                views=rows[1:] if len(rows) > 1 else None,
                labels=labels,
                sample_ids=[f"{split}-{row}" for row in range(n_samples)],
                dataset=dataset,
                backbone=entry.name,
                attributes={"split": split},
            )
    return folder


def feature_file(folder: Path) -> Path:
    """One of the files of `feature_folder`."""
    return feature_folder(folder) / f"{DATASETS[0]}-train" / f"{PACKAGED[0].name}.h5"


def overlapping_file(folder: Path) -> Path:
    """Features of four classes that overlap, so that a clustering makes mistakes."""
    generator = np.random.default_rng(0)
    labels = np.arange(_SIZES["train"]) % 4
    rows = generator.normal(size=(4, _DIM))[labels] * 0.8 + generator.normal(size=(len(labels), _DIM))
    path = folder / "overlapping.h5"
    names = [f"image-{row}" for row in range(len(rows))]
    return write_features(
        path, rows.astype(np.float32), labels=labels, sample_ids=names, dataset="overlapping", backbone="array"
    )


def photos(folder: Path) -> Path:
    """A folder of one JPEG photo of scikit-learn's, at half its size."""
    Image.fromarray(load_sample_images().images[0]).reduce(2).save(folder / "photo.jpg", quality=92)
    return folder
