"""The command `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from headclust.cli.options import DEVICE, LEVEL, PATH, json_option
from headclust.cli.printing import print_metrics


@click.command()
@click.argument("run", type=PATH)
@click.option("--features", multiple=True, type=PATH, metavar="FILE", help="Assign and score these instead.")
@LEVEL
@click.option(
    "--probes",
    is_flag=True,
    help="With --features: add scores of the features, measured with labels: kNN, linear probe, purity.",
)
@click.option("--device", help=DEVICE)
@json_option("Print JSON and nothing else.")
def evaluate(
    run: Path, features: Sequence[Path], level: int | None, probes: bool, device: str | None, as_json: bool
) -> None:
    """Score RUN: as it was fitted, or on other labeled features."""
    from headclust import verbs

    metrics = verbs.evaluate(run, features=features, level=level, probes=probes, device=device)
    print_metrics(metrics, as_json=as_json)
