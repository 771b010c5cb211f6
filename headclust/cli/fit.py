"""The command `fit`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click

from headclust.choices import Method
from headclust.cli.completion import complete_method, complete_presets, complete_setting
from headclust.cli.options import DEVICE, PATH, json_option
from headclust.cli.printing import print_metrics
from headclust.errors import SettingError

# CLC's authors published no code: docs/methods/clc.md.
_METHODS = ", ".join(("default", *get_args(Method))).replace("clc", "clc (a reconstruction)")


@click.command()
@click.argument("features", nargs=-1, type=PATH)
@click.option("-m", "--method", help=f"{_METHODS}. [default: default]", shell_complete=complete_method)
@click.option(
    "--preset",
    help="ours, or authors for the authors' own settings. [default: ours]",
    shell_complete=complete_presets,
)
@click.option(
    "-k", "--clusters", type=click.IntRange(1), metavar="K", help="Number of clusters. [default: the labeled classes]"
)
@click.option("--heads", type=click.IntRange(1), metavar="H", help="Number of heads (restarts of k-means).")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change a setting; see `headclust settings METHOD`.",
    shell_complete=complete_setting,
)
@click.option("--config", type=PATH, help="Repeat the run of this config.json; other options override it.")
@click.option("--fixes", type=PATH, metavar="FILE", help="Keep the fixes in this fixes.csv, and the groups of its run.")
@click.option("--like", type=PATH, metavar="RUN", help="Give groups the ids that they have in this run.")
@click.option("--eval", "evaluate_on", multiple=True, type=PATH, metavar="FILE", help="Score on these features too.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the fit. [default: 0]")
@click.option("--device", help=DEVICE)
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Run folder to make. [default: a free name under runs/]")
@click.option("--overwrite", is_flag=True, help="Replace a run.")
@json_option("Print metrics.json and nothing else.")
def fit(
    features: Sequence[Path],
    method: str | None,
    preset: str | None,
    clusters: int | None,
    heads: int | None,
    changes: Sequence[str],
    config: Path | None,
    fixes: Path | None,
    like: Path | None,
    evaluate_on: Sequence[Path],
    seed: int | None,
    device: str | None,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Fit clustering heads to FEATURES (the newest under ./features/ unless given) and write a run folder.

    A training that was stopped goes on with the same command.
    """
    from headclust import verbs
    from headclust.torchrun import launched

    run = verbs.fit(
        features,
        method=method,
        preset=preset,
        clusters=clusters,
        heads=heads,
        changes=_parse_changes(changes),
        config=config,
        fixes=fixes,
        like=like,
        evaluate_on=evaluate_on,
        seed=seed,
        device=device,
        output=output,
        overwrite=overwrite,
    )
    if launched().rank:
        return
    print_metrics(json.loads((run / "metrics.json").read_text(encoding="utf-8")), as_json=as_json)
    if not as_json:
        click.echo(f"Run folder: {run}")


def _parse_changes(changes: Sequence[str]) -> dict[str, str]:
    """Settings by name from texts NAME=VALUE.

    Raises:
        SettingError: A text is not of that form, or a setting has two values.
    """
    settings: dict[str, str] = {}
    for name, equals, value in (change.partition("=") for change in changes):
        if not (name and equals and value):
            raise SettingError(f"--set {name}{equals}{value}: expected NAME=VALUE, for example beta=0.7.")
        setting, text = name.strip().replace("-", "_"), value.strip()
        if settings.setdefault(setting, text) != text:
            raise SettingError(f"--set {setting} is {settings[setting]}, and {text}: give it once.")
    return settings
