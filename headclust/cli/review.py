"""The command `review`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from headclust.cli.browser import has_screen
from headclust.cli.options import PATH, json_option
from headclust.cli.printing import print_json
from headclust.progress import note


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, show_default=True, help="Port of 127.0.0.1; 0 for a free one."
)
@click.option(
    "--open",
    "open_it",
    type=click.Choice(["yes", "no"]),
    help="Show it in the browser. [default: yes on a terminal with a screen]",
)
@json_option("Print one object at the start: the address of the page, and the file of fixes.")
def review(run: Path, port: int, open_it: Literal["yes", "no"] | None, as_json: bool) -> None:
    """Correct the groups of RUN on a page in the browser, served on this machine alone, until Ctrl-C.

    Every change is in RUN/fixes.csv at once; `headclust fit --fixes` learns from it.
    """
    from headclust import verbs
    from headclust.runs import find_run

    def show(address: str, once: str) -> None:
        if as_json:
            print_json({"address": address, "fixes": find_run(run) / "fixes.csv"})
        else:
            click.echo(f"Open {address}")
            note("Ctrl-C ends the review; every change is saved when it is made.")
        if open_it == "yes" or (open_it is None and has_screen()):
            import webbrowser

            webbrowser.open(once)  # other users of this machine can read the arguments of a browser

    verbs.review(run, port=port, on_start=show)
