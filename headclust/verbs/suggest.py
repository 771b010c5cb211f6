"""The verb `suggest`: a range of numbers of clusters for features, with a page that shows what they would be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headclust.device import resolve_device
from headclust.errors import SettingError
from headclust.granularity import Suggestion
from headclust.report import check_place, curves_svg, render_suggestion, write_page
from headclust.runs.inputs import load_spaces, newest_features

if TYPE_CHECKING:
    from headclust.features import Features


@dataclass(frozen=True)
class Suggested:
    """A suggestion and the files that show it.

    Attributes:
        suggestion: The range, its levels and the curves behind it.
        page: The HTML file that shows them.
        picture: The curves as an SVG file; None if there are too few rows for any.
        features: The feature files, one per space.
    """

    suggestion: Suggestion
    page: Path
    picture: Path | None
    features: tuple[Path, ...]


def suggest(
    features: Sequence[Path] = (),
    *,
    seed: int = 0,
    device: str | None = None,
    output: Path | None = None,
) -> Suggested:
    """Suggest a range of numbers of clusters for features, and write a page with its levels and curves.

    Labels are not used. The page shows the typical images of each level where their files are at hand, else their ids.

    Args:
        features: Feature files of the same samples, one per space; the newest under `./features/` when empty.
        seed: Seed of all draws.
        device: Where to compute; the best available when None.
        output: The page; the first feature file's path with `-suggest.html` when None. The picture lies beside it.

    Raises:
        HeadclustError: The files or the output cannot be used.
    """
    if seed < 0:
        raise SettingError(f"seed {seed}: expected 0 or more.")
    if output is not None:
        check_suggestion_place(output)  # before anything is loaded
    paths = tuple(features) or (newest_features(),)
    page = output or paths[0].with_name(f"{paths[0].name.removesuffix('.h5')}-suggest.html")
    spaces = load_spaces(paths)
    check_suggestion_place(page)
    from headclust.granularity.suggest import suggest as suggest_range

    suggestion = suggest_range(spaces, seed, device=resolve_device(device))
    commands = [[fit_command(paths, level.n_clusters)] for level in suggestion.levels]
    return Suggested(suggestion, page, write_suggestion(page, suggestion, spaces[0], commands), paths)


def fit_command(features: Sequence[Path], n_clusters: int) -> str:
    """The command line that fits features with a number of clusters."""
    from headclust.report.commands import shell_word

    return " ".join(["headclust fit", *(shell_word(str(path)) for path in features), f"--clusters {n_clusters}"])


def check_suggestion_place(page: Path) -> None:
    """Raise if a page, or the picture beside it, cannot be written.

    Raises:
        ConflictError: Something else is in the way.
    """
    check_place(page, "suggestion")
    check_place(page.with_suffix(".svg"), "picture of a suggestion")


def write_suggestion(
    page: Path, suggestion: Suggestion, space: Features, commands: Sequence[Sequence[str]]
) -> Path | None:
    """Write the page of a suggestion and its picture beside it; return the picture's path, None without curves.

    Raises:
        HeadclustError: They cannot be written.
    """
    write_page(page, render_suggestion(suggestion, space, commands), "suggestion")
    picture = page.with_suffix(".svg")
    return write_page(picture, curves_svg(suggestion), "picture of a suggestion") if suggestion.curves else None
