"""The command `import`."""

from __future__ import annotations

from pathlib import Path

import click

from headclust.cli.completion import complete_path
from headclust.cli.options import PATH, json_option
from headclust.cli.printing import print_features


@click.command(name="import")
@click.argument("array", type=PATH, metavar="FILE")
@click.option("--key", metavar="NAME", help="Which array, entry or column of FILE; or PREFIX of its numbered columns.")
@click.option(
    "--ids", type=PATH, metavar="FILE", help="Text file, one sample id per line. [default: in FILE, or numbers]"
)
@click.option("--labels", type=PATH, metavar="FILE", help=".npy or text file, one whole number per row, -1 = unknown.")
@click.option(
    "--images",
    metavar="SOURCE",
    help="Folder of the images, for thumbnails; matched with the ids.",
    shell_complete=complete_path,
)
@click.option("--split", help="The split of --images.")
@click.option("--dataset", help="Name of the data. [default: the file's name]")
@click.option("--backbone", default="imported", show_default=True, help="Name of the model that made the embeddings.")
@click.option("-o", "--output", type=PATH, help="Feature file to make. [default: features/DATASET-SPLIT/BACKBONE.h5]")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@json_option("Print one object: the path and contents of the file.")
def import_array(
    array: Path,
    key: str | None,
    ids: Path | None,
    labels: Path | None,
    images: str | None,
    split: str | None,
    dataset: str | None,
    backbone: str,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make a feature file of embeddings made elsewhere: FILE is .npy, .npz, .pt, .csv, .tsv or .parquet."""
    from headclust import verbs

    path = verbs.import_array(
        array,
        key=key,
        ids=ids,
        labels=labels,
        images=images,
        split=split,
        dataset=dataset,
        backbone=backbone,
        output=output,
        overwrite=overwrite,
    )
    print_features(path, as_json=as_json)
