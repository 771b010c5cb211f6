"""The verb `import`: a feature file from embeddings made elsewhere."""

from __future__ import annotations

from pathlib import Path

from headclust.features import write_features
from headclust.features.arrays import read_array, read_labels, read_lines
from headclust.verbs.places import features_path


def import_array(
    array: Path,
    *,
    ids: Path | None = None,
    labels: Path | None = None,
    dataset: str | None = None,
    backbone: str = "imported",
    output: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Make a feature file of embeddings made elsewhere; return its path.

    Args:
        array: A .npy file, (n_samples, feature_dim).
        ids: A text file with one sample id per line; row numbers when None.
        labels: A .npy file or text file with one whole number per row, -1 = unknown.
        dataset: Name of the data; the array's file name when None.
        backbone: Name of the model that made the embeddings.
        output: The file to make; `features/DATASET-all/BACKBONE.h5` when None.
        overwrite: Replace an existing file.

    Raises:
        HeadclustError: A file is missing or does not fit the others.
    """
    values = read_array(array)
    dataset = dataset or array.stem
    path = output or features_path(dataset, "all", backbone)
    return write_features(
        path,
        values,
        sample_ids=read_lines(ids) if ids else [str(row) for row in range(values.ndim and len(values))],
        labels=read_labels(labels) if labels else None,
        dataset=dataset,
        backbone=backbone,
        attributes={"split": "all"},
        overwrite=overwrite,
    )
