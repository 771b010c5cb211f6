"""Commands of stage 2: from features to a run, and what can be done with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from headclust.cli.comparison import print_comparison
from headclust.cli.printing import PATH, percent, plain, print_metrics, table
from headclust.errors import SettingError

_SHOWN = ("accuracy", "nmi", "ami", "ari")
# Written down, as loading the methods would make --help slow; a test holds it against the registry.
_METHODS = (
    "default, consensus, temi, wmi, pmi, temi-scan, scan, imc-swav, clc (a reconstruction), turtle, kmeans, spectral, "
    "spherical-kmeans, gmm, ward, leiden or hdbscan"
)


@click.command()
@click.option("-o", "--output", type=PATH, default=Path("headclust-demo"), show_default=True, help="Folder to make.")
def demo(output: Path) -> None:
    """Show the whole story on bundled images, offline: embed, fit, compare with k-means."""
    from headclust.verbs.demo import run_demo

    rows = run_demo(output)
    table(
        ["method", "rows", *(name.upper() if name != "accuracy" else "ACC" for name in _SHOWN), "seconds"],
        [
            [method, split, *(percent(metrics[name]) for name in _SHOWN), f"{metrics['seconds']:.1f}"]
            for method, split, metrics in rows
        ],
    )
    click.echo(f"Features are in {output / 'features'}, runs in {output / 'runs'}; which image is in which cluster:")
    click.echo(f"  {output / 'runs' / 'consensus' / 'assignments.csv'}")


@click.command()
@click.argument("features", nargs=-1, type=PATH)
@click.option("--method", help=f"{_METHODS}. [default: default]")
@click.option("--preset", help="ours, or authors for the authors' own settings. [default: ours]")
@click.option(
    "--clusters", type=click.IntRange(1), metavar="K", help="Number of clusters. [default: the labelled classes]"
)
@click.option("--heads", type=click.IntRange(1), metavar="H", help="Number of heads (restarts of k-means).")
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a setting; see `headclust settings METHOD`."
)
@click.option("--config", type=PATH, help="Repeat the run of this config.json; other options override it.")
@click.option("--eval", "evaluate_on", multiple=True, type=PATH, metavar="FILE", help="Score on these features too.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the fit. [default: 0]")
@click.option("--device", help="cpu, cuda, cuda:N or mps. [default: the best there is]")
@click.option("-o", "--output", type=PATH, metavar="RUN", help="Run folder to make. [default: a free name under runs/]")
@click.option("--overwrite", is_flag=True, help="Replace a run.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json and nothing else.")
def fit(as_json: bool, changes: Sequence[str], **options: Any) -> None:
    """Fit clustering heads to FEATURES (the newest under ./features/ unless given) and write a run folder."""
    from headclust import verbs

    run = verbs.fit(changes=_settings(changes), **options)
    print_metrics(json.loads((run / "metrics.json").read_text(encoding="utf-8")), as_json=as_json)
    if not as_json:
        click.echo(f"Run folder: {run}")


@click.command()
@click.argument("method")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def settings(method: str, as_json: bool) -> None:
    """List the settings of METHOD: values in its presets, and what they mean."""
    from headclust import methods

    name, _ = methods.find_preset(method, "ours")
    recipes = {preset: methods.PRESETS[name][preset] for preset in ("ours", *methods.PRESETS[name])}
    listed = {preset: {one.name: one for one in methods.settings(recipe)} for preset, recipe in recipes.items()}
    meanings = {one.name: one.meaning for own in listed.values() for one in own.values()}
    # With another optimizer or head, a preset has no value for some settings of another one.
    values = {
        name: {preset: getattr(own.get(name), "value", None) for preset, own in listed.items()} for name in meanings
    }
    rows = [{"name": name, **values[name], "meaning": meaning} for name, meaning in meanings.items()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table(("name", *listed, "meaning"), [[plain(value) for value in row.values()] for row in rows])


@click.command()
@click.argument("features", nargs=-1, type=PATH)
@click.option("--methods", required=True, metavar="A,B,C", help="Methods to fit, separated by commas.")
@click.option("--preset", default="ours", show_default=True, help="ours, or authors for the authors' own settings.")
@click.option(
    "--clusters", type=click.IntRange(1), metavar="K", help="Number of clusters. [default: the labelled classes]"
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Fits a method.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The first of their seeds.")
@click.option("--eval", "evaluate_on", multiple=True, type=PATH, metavar="FILE", help="Score on these features too.")
@click.option("--device", help="cpu, cuda, cuda:N or mps. [default: the best there is]")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
def compare(methods: str, as_json: bool, **options: Any) -> None:
    """Fit several methods to FEATURES (the newest under ./features/ unless given) and show them side by side."""
    from headclust import verbs

    named = [name.strip() for name in methods.split(",") if name.strip()]
    compared = verbs.compare(methods=named, **options)
    if as_json:
        click.echo(json.dumps(compared, indent=2))
    else:
        print_comparison(compared)


@click.command()
@click.argument("run", type=PATH)
@click.option("--features", multiple=True, type=PATH, metavar="FILE", help="Features of the images to assign.")
@click.option("--data", metavar="SOURCE", help="Images to embed as the run's were, and assign.")
@click.option("--split", help="Which split of --data.")
@click.option("--weights", type=PATH, help="File with the model's weights, if the run's features were made with one.")
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="At an unreadable image of --data.",
)
@click.option("--device", help="cpu, cuda, cuda:N or mps, to embed --data. [default: the best there is]")
@click.option("--offline", is_flag=True, help="Never download weights.")
@click.option("-o", "--output", type=PATH, metavar="CSV", help="File to write. [default: RUN/predicted/NAME.csv]")
def predict(run: Path, **options: Any) -> None:
    """Assign the clusters of RUN to other images, and say how unlike the fitted ones they are."""
    from headclust import verbs

    click.echo(verbs.predict(run, **options))


@click.command()
@click.argument("run", type=PATH)
@click.option("--features", multiple=True, type=PATH, metavar="FILE", help="Assign and score these instead.")
@click.option(
    "--probes",
    is_flag=True,
    help="With --features: add what the features hold, measured with labels: kNN, linear probe, purity.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def evaluate(run: Path, as_json: bool, **options: Any) -> None:
    """Score RUN: as it was fitted, or on other labelled features."""
    from headclust import verbs

    print_metrics(verbs.evaluate(run, **options), as_json=as_json)


@click.command()
@click.argument("path", type=PATH, metavar="FILE|RUN")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
def info(path: Path, as_json: bool) -> None:
    """Show what a feature file or a run folder says of itself."""
    from headclust import verbs

    described = verbs.info(path)
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    table(("item", "value"), [[name, plain(value)] for name, value in described.items()])


def _settings(changes: Iterable[str]) -> dict[str, str]:
    pairs = [change.partition("=") for change in changes]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise SettingError(f"--set {name}{equals}{value}: wanted NAME=VALUE, for example beta=0.7.")
    return {name.strip().replace("-", "_"): value.strip() for name, _, value in pairs}
