"""The command `add`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from headclust.choices import OnError
from headclust.cli.completion import complete_path
from headclust.cli.options import DEVICE, EXCLUDE, PATH, json_option
from headclust.cli.printing import print_json, table
from headclust.progress import percent, printable

if TYPE_CHECKING:
    from headclust.verbs import Addition

_MOST_NAMED = 10  # images that fit nowhere


@click.command()
@click.argument("run", metavar="GROUPS", type=PATH)
@click.argument("data", metavar="[NEW]", required=False, shell_complete=complete_path)
@click.option("--split", help="The split of NEW.")
@EXCLUDE
@click.option("--weights", type=PATH, help="File with the model's weights, if the run's features were made with one.")
@click.option(
    "--on-error",
    type=click.Choice(get_args(OnError)),
    default="skip",
    show_default=True,
    help="At an unreadable image.",
)
@click.option("--device", help=DEVICE)
@click.option("--offline", is_flag=True, help="Never download weights.")
@json_option("Print one object: counts, names of images that fit nowhere, and drift.")
def add(
    run: Path,
    data: str | None,
    split: str | None,
    exclude: Sequence[str],
    weights: Path | None,
    on_error: OnError,
    device: str | None,
    offline: bool,
    as_json: bool,
) -> None:
    """Put images that came later into the groups of GROUPS, which stay as they are; only new ones are embedded.

    GROUPS is what `headclust run` made, or a run folder. NEW is a folder of new images; without it, the folder that was
    grouped is looked at again.
    """
    from headclust import verbs

    added = verbs.add(
        run,
        data,
        split=split,
        exclude=exclude,
        weights=weights,
        on_error=on_error,
        device=device,
        offline=offline,
    )
    if as_json:
        drift = {**dataclasses.asdict(added.drift), "refit_reason": added.drift.refit_reason}
        print_json({**dataclasses.asdict(added), "drift": drift})
    elif not added.n_new:
        many = "image has" if added.n_added == 1 else "images have"
        click.echo(f"Nothing new: {added.n_added:,} {many} been added to {printable(str(run))} since the fit.")
    else:
        _print(added)


def _print(added: Addition) -> None:
    rows = sorted(added.groups.items(), key=lambda item: (-item[1], item[0]))
    table(("group", "new images"), [[printable(added.labels[group]), f"{count:,}"] for group, count in rows])
    click.echo(f"Added: {added.n_new:,} images; {added.n_added:,} since the fit.")
    if added.n_left_out:
        click.echo(f"Left out, as unreadable: {added.n_left_out:,} of the new images.")
    if added.unlike:
        names = ", ".join(map(printable, added.unlike[:_MOST_NAMED]))
        more = f" and {len(added.unlike) - _MOST_NAMED:,} more" if len(added.unlike) > _MOST_NAMED else ""
        click.echo(f"Fit nowhere: {names}{more}.")
    drift = added.drift
    if drift.n_unlike >= 0:
        click.echo(
            f"Drift: {percent(drift.unlike_share)} of the added images are unlike anything fitted; of the fitted ones "
            "1 % are."
        )
    click.echo(
        f"Sizes: {percent(drift.shift)} of the added images would be in other groups if they were spread like the "
        f"fitted ones; by chance {percent(drift.shift_by_chance)} would be."
    )
    if reason := drift.refit_reason:
        click.echo(f"Fitting again pays: {reason}. headclust run with the same folder does it.")
    click.echo(f"Which image is in which group: {printable(str(added.table))}")
