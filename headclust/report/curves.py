"""The picture of a suggestion: its curves over the number of groups, as one SVG that stands alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from headclust.granularity import Suggestion
from headclust.report.palette import LIGHT, LIGHT_TONES

_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 58, 52  # margins
_NAMES = {
    "score": "all together",
    "prediction_strength": "prediction strength",
    "silhouette": "silhouette",
    "modularity": "modularity",
}
_TICKS = (2, 3, 5, 10, 20, 30, 50, 100, 200, 300)
_NULL = 2  # of the curves: the null is drawn for these, as its other scores are near 0
_INK, _LINE = LIGHT_TONES["muted"], LIGHT_TONES["line"]


def curves_svg(suggestion: Suggestion) -> str:
    """The picture; empty without curves. Colors are attributes, which the style sheet of a page may override."""
    curves = suggestion.curves
    if curves is None:
        return ""
    across, down = _scales(curves.n_clusters)
    parts = [*_band(suggestion, across), *_axes(curves.n_clusters, across, down)]
    for number, (name, title) in enumerate(_NAMES.items()):
        values = getattr(curves, name)
        highest = max(max(values), 1e-9)
        parts.append(_line(curves.n_clusters, values, highest, across, down, number))
        if suggestion.null is not None and number < _NULL:
            null = suggestion.null
            parts.append(_line(null.n_clusters, getattr(null, name), highest, across, down, number, dashed=True))
        parts.append(_legend(number, title))
    parts.append(_text(_WIDTH - _RIGHT, 40, "dashed: shuffled columns", anchor="end"))
    for count in suggestion.eigengaps:
        x = across(count)
        parts.append(f'<path class="gap" d="M{x:.1f} {down(0):.1f}l4 9h-8z" fill="{_INK}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="curves" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>{escape(_summary(suggestion))}</title>'
        f"{''.join(parts)}</svg>"
    )


def _summary(suggestion: Suggestion) -> str:
    if suggestion.range is None:
        return "Scores of cuts into groups, per number of groups. No structure was found."
    low, high = suggestion.range
    return f"Scores of cuts into groups, per number of groups. They are best between {low} and {high} groups."


def _scales(counts: Sequence[int]) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """From a number of groups to x, logarithmic, and from a share of the highest score to y."""
    first, last = math.log(counts[0]), math.log(max(counts[-1], counts[0] + 1))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def across(count: float) -> float:
        return _LEFT + width * (math.log(count) - first) / (last - first)

    def down(share: float) -> float:
        return _TOP + height * (1 - min(max(share, 0.0), 1.0))

    return across, down


def _band(suggestion: Suggestion, across: Callable[[float], float]) -> list[str]:
    if suggestion.range is None:
        return []
    low, high = (across(count) for count in suggestion.range)
    height = _HEIGHT - _TOP - _BOTTOM
    parts = [
        f'<rect class="range" x="{low - 3:.1f}" y="{_TOP}" width="{high - low + 6:.1f}" height="{height}" '
        f'fill="{LIGHT_TONES["accent"]}" fill-opacity="0.12"/>'
    ]
    for level in suggestion.levels:
        x = across(level.n_clusters)
        parts.append(f'<path class="level" d="M{x:.1f} {_TOP}v{height}" stroke="{_INK}" stroke-dasharray="2 3"/>')
        parts.append(_text(x, _TOP - 6, str(level.n_clusters), anchor="middle", bold=True))
    return parts


def _axes(counts: Sequence[int], across: Callable[[float], float], down: Callable[[float], float]) -> list[str]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = down(share)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_LINE}" fill="none"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{100 * share:.0f} %", anchor="end"))
    marked = [*(tick for tick in _TICKS if counts[0] <= tick < 0.85 * counts[-1]), counts[-1]]
    parts += [_text(across(count), down(0) + 22, str(count), anchor="middle") for count in marked]
    parts.append(_text(_LEFT, _HEIGHT - 10, "number of groups; triangles: the largest gaps between eigenvalues"))
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 10, "height: share of the highest score", anchor="end"))
    return parts


def _line(
    counts: Sequence[int],
    values: Sequence[float],
    highest: float,
    across: Callable[[float], float],
    down: Callable[[float], float],
    number: int,
    *,
    dashed: bool = False,
) -> str:
    points = " ".join(
        f"{across(count):.1f},{down(value / highest):.1f}" for count, value in zip(counts, values, strict=True)
    )
    style = ' stroke-dasharray="5 4"' if dashed else ""
    width = 3 if number == 0 else 1.6
    look = f'fill="none" stroke="{LIGHT[number]}" stroke-width="{width}"{style}'
    return f'<polyline class="curve c{number}" points="{points}" {look}/>'


def _legend(number: int, title: str) -> str:
    x = _LEFT + 165 * number
    stroke = f'class="curve c{number}" stroke="{LIGHT[number]}" stroke-width="{3 if number == 0 else 1.6}"'
    return f'<path {stroke} d="M{x} 16h22" fill="none"/>{_text(x + 28, 20, title)}'


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="700"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}"{weight}>{escape(text)}</text>'
