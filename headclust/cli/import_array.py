"""The command `import`."""

from __future__ import annotations

from pathlib import Path

import click

from headclust.cli.options import PATH, json_option
from headclust.cli.printing import print_features


@click.command(name="import")
@click.argument("array", type=PATH)
@click.option("--ids", type=PATH, help="Text file with one sample id per line. [default: row numbers]")
@click.option("--labels", type=PATH, help=".npy or text file with one whole number per row, -1 = unknown.")
@click.option("--dataset", help="Name of the data. [default: the array's file name]")
@click.option("--backbone", default="imported", show_default=True, help="Name of the model that made the embeddings.")
@click.option("-o", "--output", type=PATH, help="Feature file to make. [default: features/DATASET-all/BACKBONE.h5]")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@json_option("Print one object: the path and contents of the file.")
def import_array(
    array: Path,
    ids: Path | None,
    labels: Path | None,
    dataset: str | None,
    backbone: str,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make a feature file of embeddings made elsewhere: ARRAY is a .npy file (n_samples, feature_dim)."""
    from headclust import verbs

    path = verbs.import_array(
        array, ids=ids, labels=labels, dataset=dataset, backbone=backbone, output=output, overwrite=overwrite
    )
    print_features(path, as_json=as_json)
