"""Names that a user chooses from, as Literal types; the command line offers exactly these, and loads no library.

A registry (METHODS, the export formats, AUGMENTATIONS) defines what each name stands for; a test compares them.
"""

from __future__ import annotations

from typing import Literal

Method = Literal[
    "consensus",
    "temi",
    "wmi",
    "pmi",
    "temi-scan",
    "scan",
    "imc-swav",
    "clc",
    "turtle",
    "kmeans",
    "spectral",
    "spherical-kmeans",
    "gmm",
    "ward",
    "leiden",
    "hdbscan",
    "umap-kmeans",
]
OnError = Literal["fail", "skip"]  # at an image that cannot be read
Labels = Literal["folders", "dataset", "none"]  # of a source that become labels
Dtype = Literal["float32", "float16"]  # of stored features
Precision = Literal["auto", "float32", "bfloat16"]  # of the computation
Augmentation = Literal["standard", "strong"]  # of cached views
Launcher = Literal["local", "ray"]  # starts processes that embed shards
Preprocessing = Literal["temi-paper"]  # of a paper, instead of the model's own
ExportFormat = Literal["csv", "parquet", "folders", "fiftyone", "coco"]
Transfer = Literal["link", "copy", "move"]  # of images into exported folders
Duplicates = Literal["keep", "leave-out", "apart"]  # what becomes of copies in exported folders
NameSource = Literal["classifier", "text", "words"]  # of the names of groups
Transform = Literal["none", "l2", "standardize", "pca"]  # of features, before the heads
NeighborSearch = Literal["auto", "exact", "ivf", "cuvs"]  # way to find nearest neighbors
NeighborList = Literal["others", "with-self", "temi-paper"]  # content of a list of nearest neighbors
