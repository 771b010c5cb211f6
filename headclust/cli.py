"""The command line: parse, call a verb, print. Results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from headclust import __version__
from headclust.errors import HeadclustError, SettingError

_PATH = click.Path(path_type=Path)
# How torch says it: on the CPU, on an accelerator, and for sizes beyond any memory.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "Storage size calculation overflowed")
_SHOWN = ("accuracy", "nmi", "ami", "ari")


def main() -> None:
    """The `headclust` command: exit code 2 and one line for what a user can mend, 130 for Ctrl-C."""
    if sys.stdout.encoding == "utf-8":
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # paths come out as their bytes
    # Threads that wait by spinning make every barrier wait for whoever else wants the core: on
    # two busy cores training slowed to a crawl. Has to be said before torch is loaded; what the user has set stands.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Pillow warns of damaged images besides raising; what matters of it is in our one line.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        code = cli.main(prog_name="headclust", standalone_mode=False)
    except (HeadclustError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"headclust: error: {' '.join(text.split())}", err=True)
        code = 2
    except (KeyboardInterrupt, click.Abort):
        _interrupted()
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        _forget_stdout()
        code = 0
    except OSError as error:  # what no verb foresees: stdout on a full disk, a name too long for the disk
        _forget_stdout()
        click.echo(f"headclust: error: {error.strerror or error}: {error.filename or 'stdout'}", err=True)
        code = 2
    except Exception as error:
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY):
            lower = "lower the heads, their dimensions or the batch size"
            click.echo(f"headclust: error: not enough memory: {lower}.", err=True)
            sys.exit(2)
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        _interrupted()  # compiled modules whose import Ctrl-C cuts short tell it in an ImportError of their own
    sys.exit(code or 0)


def _interrupted() -> NoReturn:
    click.echo("headclust: interrupted.", err=True)
    # Where Ctrl-C struck while Python was running text as code, as dataclasses do, sys.exit would end in the signal.
    os._exit(130)


def _forget_stdout() -> None:
    """Drops what stdout could not take, which Python would stumble over again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="headclust")
@click.pass_context
def cli(context: click.Context) -> None:
    """Sorts images into meaningful groups without labels.

    Embed images once with a frozen backbone, then fit clustering heads on the features as often as you like.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@click.option("-o", "--output", type=_PATH, default=Path("headclust-demo"), show_default=True, help="Folder to make.")
def demo(output: Path) -> None:
    """Show the whole story on bundled images, offline: embed, fit, compare with k-means."""
    from headclust.demo import run_demo

    rows = run_demo(output)
    _table(
        ["method", "rows", *(name.upper() if name != "accuracy" else "ACC" for name in _SHOWN), "seconds"],
        [
            [method, split, *(_percent(metrics[name]) for name in _SHOWN), f"{metrics['seconds']:.1f}"]
            for method, split, metrics in rows
        ],
    )
    click.echo(f"Features are in {output / 'features'}, runs in {output / 'runs'}; which image is in which cluster:")
    click.echo(f"  {output / 'runs' / 'temi' / 'assignments.csv'}")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def models(as_json: bool) -> None:
    """List the backbones; any timm:NAME or open_clip:ARCH/PRETRAINED works besides."""
    from headclust.backbones import list_backbones

    listed = list_backbones()
    if as_json:
        click.echo(json.dumps(listed, indent=2))
        return
    columns = ("name", "dim", "input_size", "parameters", "weights_at_hand", "license", "source")
    _table(columns, [[_plain(entry[column]) for column in columns] for entry in listed])
    click.echo("Besides these: any timm:NAME or open_clip:ARCH/PRETRAINED, as those libraries write them.")


@cli.command()
@click.option(
    "--model", required=True, help="Backbone: see `headclust models`; or timm:NAME, open_clip:ARCH/PRETRAINED."
)
@click.option(
    "--data", metavar="SOURCE", help="Folder of images, NAME:PATH (cifar10, fashion-mnist) or digits. [default: digits]"
)
@click.option("--split", help="Which split, where the source has some. [default: train for named sources]")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Take a random subset of N images, drawn without labels."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the subset.")
@click.option("-o", "--output", type=_PATH, help="Feature file to make. [default: features/DATASET-SPLIT/MODEL.h5]")
@click.option("--weights", type=_PATH, help="File with the model's weights (.safetensors, .pth).")
@click.option("--image-size", type=click.IntRange(1), metavar="PX", help="Input size instead of the model's own.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Images a batch.")
@click.option(
    "--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True, help="As stored."
)
@click.option("--device", help="cpu, cuda, cuda:N or mps. [default: the best there is]")
@click.option(
    "--on-error", type=click.Choice(["fail", "skip"]), default="fail", show_default=True, help="At an unreadable image."
)
@click.option("--offline", is_flag=True, help="Never download weights.")
@click.option("--overwrite", is_flag=True, help="Replace a file made with other settings.")
def embed(**options: Any) -> None:
    """Embed images with a frozen backbone into a feature file. Resumes where it was stopped."""
    from headclust import verbs

    click.echo(verbs.embed(options.pop("model"), options.pop("data"), **options))


@cli.command()
@click.argument("features", nargs=-1, type=_PATH)
@click.option("--method", help="default, temi or kmeans. [default: default]")
@click.option("--preset", help="ours, or authors for the authors' own settings. [default: ours]")
@click.option(
    "--clusters", type=click.IntRange(1), metavar="K", help="Number of clusters. [default: the labelled classes]"
)
@click.option("--heads", type=click.IntRange(1), metavar="H", help="Number of heads (restarts of k-means).")
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a setting; see `headclust settings METHOD`."
)
@click.option("--config", type=_PATH, help="Repeat the run of this config.json; other options override it.")
@click.option("--eval", "evaluate_on", multiple=True, type=_PATH, metavar="FILE", help="Score on these features too.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the fit. [default: 0]")
@click.option("--device", help="cpu, cuda, cuda:N or mps. [default: the best there is]")
@click.option(
    "-o", "--output", type=_PATH, metavar="RUN", help="Run folder to make. [default: a free name under runs/]"
)
@click.option("--overwrite", is_flag=True, help="Replace a run.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json and nothing else.")
def fit(as_json: bool, changes: Sequence[str], **options: Any) -> None:
    """Fit clustering heads to FEATURES (the newest under ./features/ unless given) and write a run folder."""
    from headclust import verbs

    run = verbs.fit(changes=_settings(changes), **options)
    _print_metrics(json.loads((run / "metrics.json").read_text(encoding="utf-8")), as_json=as_json)
    if not as_json:
        click.echo(f"Run folder: {run}")


@cli.command()
@click.argument("method")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def settings(method: str, as_json: bool) -> None:
    """List the settings of METHOD: values in both presets, and what they mean."""
    from headclust import methods

    _, ours = methods.find_preset(method, "ours")
    _, authors = methods.find_preset(method, "authors")
    listed = [
        {"name": mine.name, "ours": mine.value, "authors": theirs.value, "meaning": mine.meaning}
        for mine, theirs in zip(methods.settings(ours), methods.settings(authors), strict=True)
    ]
    if as_json:
        click.echo(json.dumps(listed, indent=2))
        return
    _table(("name", "ours", "authors", "meaning"), [[_plain(value) for value in row.values()] for row in listed])


@cli.command()
@click.argument("run", type=_PATH)
@click.option("--features", multiple=True, type=_PATH, metavar="FILE", help="Features of the images to assign.")
@click.option("--data", metavar="SOURCE", help="Images to embed as the run's were, and assign.")
@click.option("--split", help="Which split of --data.")
@click.option("--weights", type=_PATH, help="File with the model's weights, if the run's features were made with one.")
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="At an unreadable image of --data.",
)
@click.option("--device", help="cpu, cuda, cuda:N or mps, to embed --data. [default: the best there is]")
@click.option("--offline", is_flag=True, help="Never download weights.")
@click.option("-o", "--output", type=_PATH, metavar="CSV", help="File to write. [default: RUN/predicted/NAME.csv]")
def predict(run: Path, **options: Any) -> None:
    """Assign the clusters of RUN to other images: sample_id,cluster,confidence."""
    from headclust import verbs

    click.echo(verbs.predict(run, **options))


@cli.command()
@click.argument("run", type=_PATH)
@click.option("--features", multiple=True, type=_PATH, metavar="FILE", help="Assign and score these instead.")
@click.option(
    "--probes",
    is_flag=True,
    help="With --features: add what the features hold, measured with labels: kNN, linear probe, purity.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def evaluate(run: Path, as_json: bool, **options: Any) -> None:
    """Score RUN: as it was fitted, or on other labelled features."""
    from headclust import verbs

    _print_metrics(verbs.evaluate(run, **options), as_json=as_json)


@cli.command(name="import")
@click.argument("array", type=_PATH)
@click.option("--ids", type=_PATH, help="Text file with a sample id a line. [default: row numbers]")
@click.option("--labels", type=_PATH, help=".npy or text file with a whole number a row, -1 = unknown.")
@click.option("--dataset", help="Name of the data. [default: the array's file name]")
@click.option("--backbone", default="imported", show_default=True, help="Name of what made the embeddings.")
@click.option("-o", "--output", type=_PATH, help="Feature file to make. [default: features/DATASET-all/BACKBONE.h5]")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def import_(array: Path, **options: Any) -> None:
    """Make a feature file of embeddings made elsewhere: ARRAY is a .npy file (n_samples, feature_dim)."""
    from headclust import verbs

    click.echo(verbs.import_array(array, **options))


@cli.command()
@click.argument("path", type=_PATH, metavar="FILE|RUN")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
def info(path: Path, as_json: bool) -> None:
    """Show what a feature file or a run folder says of itself."""
    from headclust import verbs

    described = verbs.info(path)
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    _table(("item", "value"), [[name, _plain(value)] for name, value in described.items()])


@cli.command()
@click.argument("file", type=_PATH)
def verify(file: Path) -> None:
    """Check that a feature file is as it was written; exit code 1 if it does not hold."""
    from headclust import verbs

    problems = verbs.verify(file)
    click.echo("\n".join(problems) or f"{file}: holds.")
    sys.exit(1 if problems else 0)


def _settings(changes: Iterable[str]) -> dict[str, str]:
    pairs = [change.partition("=") for change in changes]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise SettingError(f"--set {name}{equals}{value}: wanted NAME=VALUE, for example beta=0.7.")
    return {name.strip().replace("-", "_"): value.strip() for name, _, value in pairs}


def _print_metrics(metrics: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(metrics, indent=2))
        return
    parts: dict[str, dict[str, Any]] = {
        "": metrics,
        **{part: metrics[part] for part in ("eval", "probes") if part in metrics},
    }
    rows = [
        [part, name, _plain(value)]
        for part, values in parts.items()
        for name, value in values.items()
        if not isinstance(value, dict)
    ]
    _table(("", "metric", "value"), rows)


def _plain(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from headclust.progress import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    # A pipe has no width: nothing is folded there, so that lines can be searched.
    console = Console(width=None if sys.stdout.isatty() else 10_000)
    with console.capture() as capture:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines()))


if __name__ == "__main__":
    main()
