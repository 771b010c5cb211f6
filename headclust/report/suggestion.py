"""The page of a suggestion: its range, the curves behind it, and the typical images of the groups of each level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from headclust import __version__
from headclust.features import Features
from headclust.granularity import Level, Suggestion
from headclust.images.datasets.reopen import reopen
from headclust.progress import note
from headclust.report.curves import curves_svg
from headclust.report.html import fill
from headclust.report.images import Source, Thumbnail, Thumbnails, make_thumbnails

_MOST_GROUPS = 60  # per level that are shown, the largest
_TEMPLATES, _STYLES = ("suggestion.html",), ("page.css", "suggestion.css")
_PLACES = {1: ("",), 2: ("coarse", "fine"), 3: ("coarse", "medium", "fine")}


@dataclass(frozen=True)
class Row:
    """A group of a level: its size and share as text, and the names and thumbnails of its typical images."""

    size: str
    share: str
    pictures: list[tuple[str, Thumbnail | None]]


@dataclass(frozen=True)
class Sheet:
    """A level in the page; `n_left_out` groups, the smallest, are not shown."""

    n_clusters: int
    place: str
    rows: list[Row]
    n_left_out: int
    commands: Sequence[str]


def render_suggestion(suggestion: Suggestion, space: Features, commands: Sequence[Sequence[str]]) -> str:
    """The HTML of a suggestion; the same suggestion, features and images give the same text.

    A line on stderr tells why there are no images.

    Args:
        suggestion: The suggestion.
        space: The first of its feature spaces, whose source has the images.
        commands: Command lines that continue, per level.
    """
    shown = [name for level in suggestion.levels for group in level.groups[:_MOST_GROUPS] for name in group.typical]
    names = list(dict.fromkeys(shown))
    made, problem = _thumbnails(space, names)
    thumbs = {name: made.made.get(row) for row, name in enumerate(names)}
    places = _PLACES.get(len(suggestion.levels), ())
    return fill(
        {
            "title": str(space.attributes.get("dataset", "features")),
            "headline": headline(suggestion),
            "lead": lead(suggestion),
            "problem": problem,
            "curves": Markup(curves_svg(suggestion)),  # noqa: S704  # numbers and our own words
            "sheets": [
                _sheet(level, place, suggestion.n_used, thumbs, lines)
                for level, place, lines in zip(suggestion.levels, places, commands, strict=True)
            ],
            "version": __version__,
        },
        templates=_TEMPLATES,
        styles=_STYLES,
        scripts=(),
    )


def headline(suggestion: Suggestion) -> str:
    """The range as a phrase."""
    if suggestion.range is None:
        return "No structure found"
    low, high = suggestion.range
    return f"{low} to {high} groups" if low < high else f"{low} groups"


def lead(suggestion: Suggestion) -> str:
    """The data behind the range, and how to read it."""
    count = f"{suggestion.n_samples:,} images"
    if suggestion.n_distinct < suggestion.n_samples:
        count += f", {suggestion.n_distinct:,} without copies and slight variants"
    if suggestion.n_used < suggestion.n_distinct:
        count += f", of which {suggestion.n_used:,} were looked at"
    if suggestion.range is None:
        return f"{count}: {suggestion.reason}."
    if suggestion.curves and suggestion.range[1] == suggestion.curves.n_clusters[-1]:
        count += f"; more than {suggestion.range[1]} groups were not tried, as those would be too small"
    return f"{count}. Nothing in the images says which of these numbers is yours: look at the levels below, and choose."


def _thumbnails(space: Features, names: Sequence[str]) -> tuple[Thumbnails, str]:
    """Thumbnails by number in `names`, and the reason why there are none, or not all."""
    if not names:
        return Thumbnails(), ""
    attributes = space.attributes
    opened = reopen(attributes.get("source"), attributes.get("split"), names, attributes)
    made = make_thumbnails(Source(opened.images, opened.rows), range(len(names)))
    problem = opened.problem or made.problem
    if not made.made and not problem:
        problem = f"{attributes.get('source')} holds none of the images that were embedded."
    if problem:
        problem = f"There are no images: {problem}"
        note(problem)
    return made, problem


def _sheet(
    level: Level, place: str, n_used: int, thumbs: Mapping[str, Thumbnail | None], commands: Sequence[str]
) -> Sheet:
    rows = [
        Row(f"{group.size:,}", f"{100 * group.size / n_used:.0f} %", [(name, thumbs[name]) for name in group.typical])
        for group in level.groups[:_MOST_GROUPS]
    ]
    return Sheet(level.n_clusters, place, rows, max(0, len(level.groups) - _MOST_GROUPS), commands)
