"""The verb `import`: a feature file from embeddings made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headclust.errors import SettingError
from headclust.features import write_features
from headclust.features.arrays import read_labels
from headclust.features.imported import read_embeddings
from headclust.images.datasets import open_source
from headclust.images.datasets.lists import encode_texts
from headclust.images.datasets.matching import matched_ids
from headclust.progress import note, printable
from headclust.textfiles import read_names
from headclust.verbs.places import features_path


def import_array(
    array: Path,
    *,
    key: str | None = None,
    ids: Path | None = None,
    labels: Path | None = None,
    images: str | None = None,
    split: str | None = None,
    dataset: str | None = None,
    backbone: str = "imported",
    output: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Make a feature file of embeddings made elsewhere; return its path.

    Args:
        array: Embeddings (n_samples, feature_dim): a .npy, .npz, .pt, .pth, .csv, .tsv or .parquet file.
        key: Which embeddings, if the file holds several: name of an array, entry or column, or prefix of numbered
            columns.
        ids: A text file with one sample id per line; the ids in the file, or else row numbers, when None.
        labels: A .npy file or text file with one whole number per row, -1 = unknown; the labels in the file when None.
        images: Source of the images, for thumbnails in reports and for exports; ids are matched with their names.
        split: The split of `images`, if there are several.
        dataset: Name of the data; the file's name when None.
        backbone: Name of the model that made the embeddings.
        output: The file to make; `features/DATASET-SPLIT/BACKBONE.h5` when None.
        overwrite: Replace an existing file.

    Raises:
        HeadclustError: A file is missing or does not fit the others.
    """
    if images is None and split is not None:
        raise SettingError("--split is for --images: leave it out, or name the images.")
    content = read_embeddings(array, key)
    if content.description:
        note(f"{printable(str(array))}: {content.description}.")
    sample_ids = read_names(ids) if ids else content.ids
    attributes: dict[str, Any] = {"split": "all"}
    if images is not None:
        if sample_ids is None:
            raise SettingError(
                "--images needs ids, the names of the images, and the file has none: give them with --ids."
            )
        source = open_source(images, split, offline=True)
        sample_ids = matched_ids(source, sample_ids)
        attributes = {"split": source.split, "source": source.source}
    if sample_ids is None:
        sample_ids = [str(row) for row in range(content.values.ndim and len(content.values))]
    numbers: Any = None
    class_names: tuple[str, ...] = ()
    if labels is not None:
        numbers = read_labels(labels)
    elif content.labels is not None:
        numbers, class_names = encode_texts(array, content.labels)
    dataset = dataset or array.stem
    return write_features(
        output or features_path(dataset, attributes["split"], backbone),
        content.values,
        sample_ids=sample_ids,
        labels=numbers,
        class_names=class_names,
        dataset=dataset,
        backbone=backbone,
        attributes=attributes,
        overwrite=overwrite,
    )
