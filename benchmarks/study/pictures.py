"""What a results file says, in pictures (SVG), made from it and the assignments beside it. Needs the extra `bench`.

The same results give the same bytes with one version of matplotlib.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headclust.disk import write_atomically, write_errors
from headclust.errors import SettingError
from headclust.progress import printable
from study.confusion import draw_confusion
from study.sections import recipe
from study.summary import Line, summarize
from study.tables import Contender, Row, Summary, Unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by shape; shades are for comfort, and differ in gray too.
SHAPES = "osD^v<>Xp*hPd8"
SHADES = ("#000000", "#0072b2", "#d55e00", "#56b4e9", "#8a8a8a")
_STYLE: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "figure.titlesize": 10,
    "legend.frameon": False,
    "lines.markersize": 5,
    "svg.hashsalt": "headclust",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is one
}
_CURVES = {"n_heads": "heads", "n_neighbors": "neighbors k", "beta": "beta"}


def check_installed() -> None:
    """Makes sure that pictures can be drawn.

    Raises:
        SettingError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise SettingError(
            "pictures need matplotlib, which is not installed: pip install 'headclust[bench]'."
        ) from None


def draw(results: Sequence[Line], folder: Path, *, assignments_below: Path) -> list[Path]:
    """Draws every picture there is something for; returns the files.

    Args:
        results: The lines of a results file.
        folder: Where the pictures go.
        assignments_below: The results file's folder, under which are the assignments it names.

    Raises:
        SettingError: matplotlib is not installed.
        HeadclustError: A file cannot be written.
    """
    summary, written = summarize(results), []
    with house_style():
        for name, picture in PICTURES.items():
            figure = picture(summary)
            if figure is not None:
                written.append(save(figure, folder / f"{name}.svg"))
        for name, figure in draw_confusion(results, assignments_below):
            written.append(save(figure, folder / f"confusion-{name}.svg"))
    return written


@contextmanager
def house_style() -> Iterator[None]:
    """How all pictures look, whatever the user's own style is.

    Raises:
        SettingError: matplotlib is not installed.
    """
    check_installed()
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # text stays text, for whatever fonts the reader has
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def gains(summary: Summary) -> Figure | None:
    """Gain over k-means in ACC: a panel a data set, a band a backbone, a line a contender, intervals where known."""
    rows = [row for row in summary.rows if "accuracy" in row.gains]
    datasets, backbones = _names(rows, "dataset"), _names(rows, "backbone")
    if not rows:
        return None
    places, labels = {}, []
    for backbone in backbones:
        labels.append(printable(backbone))
        for who in dict.fromkeys(row.contender for row in rows if row.unit.backbone == backbone):
            places[backbone, who] = len(labels)
            labels.append(f"{_short(who)}  ")
    figure, panels = new_figure(len(datasets), height=0.17 * len(labels) + 1.1, sharey=True)
    for axes, dataset in zip(panels, datasets, strict=True):
        mine = [row for row in rows if row.unit.dataset == dataset]
        every = [(place, 0.0, 1.0) for place in range(len(labels))]
        _bars(axes, every, transform=axes.get_yaxis_transform(), color="0.9", linewidth=0.5)
        axes.axvline(0, color="black", linewidth=0.8)
        _gain_points(axes, mine, [places[row.unit.backbone, row.contender] for row in mine])
        axes.set_title(printable(dataset))
        axes.set_xlabel("points of ACC")
        axes.tick_params(axis="y", left=False)
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].set_ylim(len(labels) - 0.4, -0.6)
    for tick, label in zip(panels[0].get_yticklabels(), labels, strict=True):
        tick.set_fontweight("normal" if label.endswith(" ") else "bold")
    figure.suptitle(f"Gain over k-means on the same features; bars: 95 % over seeds{_hollow(rows)}")
    return figure


def against_knn(summary: Summary) -> Figure | None:
    """ACC against the kNN accuracy of the same features: a panel a data set, a mark a contender."""
    rows = [row for row in summary.rows if "accuracy" in row.scores and row.facts.get("knn_accuracy") is not None]
    figure = _scatter(rows, lambda row: 100 * row.facts["knn_accuracy"], "kNN accuracy (%)")
    if figure is not None:
        figure.suptitle(f"ACC of clusterings against the accuracy of a kNN classifier{_hollow(rows)}")
    return figure


def against_seconds(summary: Summary) -> Figure | None:
    """ACC against the seconds a fit took, on a logarithmic axis."""
    rows = [row for row in summary.rows if "accuracy" in row.scores and _seconds(row) > 0]
    figure = _scatter(rows, _seconds, "seconds a fit takes without its neighbor search, logarithmic", log=True)
    if figure is not None:
        figure.suptitle(f"ACC against time{_hollow(rows)}")
    return figure


def ablations(summary: Summary) -> Figure | None:
    """ACC against heads, neighbors and beta: a panel a setting, a line a data set and backbone; bars: sd over seeds."""
    points = [point for point in summary.points if "accuracy" in point.scores]
    there = {point.curve for point in points}
    curves = [*(name for name in _CURVES if name in there), *sorted(there - set(_CURVES))]
    if not points:
        return None
    figure, panels = new_figure(len(curves), height=2.7, sharey=True)
    lines = list(dict.fromkeys((point.unit, point.contender) for point in points))
    for axes, curve in zip(panels, curves, strict=True):
        for number, line in enumerate(lines):
            mine = [point for point in points if (point.unit, point.contender) == line and point.curve == curve]
            if not mine:
                continue
            marks = [100 * point.scores["accuracy"].mean for point in mine]
            spreads = [100 * (point.scores["accuracy"].sd or 0) for point in mine]
            name = f"{_short(line[1])}, {_place(line[0])}"
            style: dict[str, Any] = {"marker": SHAPES[number % len(SHAPES)], "color": SHADES[number % len(SHADES)]}
            axes.errorbar([point.value for point in mine], marks, spreads, label=name, capsize=2, linewidth=1, **style)
        values = sorted({point.value for point in points if point.curve == curve})
        if values[0] >= 1:  # counts, which are tried by doubling
            axes.set_xscale("log")
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(_CURVES.get(curve, printable(curve)))
    panels[0].set_ylabel("ACC (%)")
    if len(lines) > 1:
        add_legend(figure, panels)
    whose = f"{_short(lines[0][1])} on {_place(lines[0][0])}: " if len(lines) == 1 else ""
    figure.suptitle(f"{whose}ACC against one setting at a time, the others as in the preset")
    return figure


PICTURES: dict[str, Callable[[Summary], Figure | None]] = {
    "gain": gains,
    "knn": against_knn,
    "seconds": against_seconds,
    "ablations": ablations,
}


def _scatter(rows: Sequence[Row], where: Callable[[Row], float], label: str, *, log: bool = False) -> Figure | None:
    """ACC against something: a panel a data set, a shape a method."""
    if not rows:
        return None
    datasets = _names(rows, "dataset")
    methods = list(dict.fromkeys(row.contender.method for row in rows))
    figure, panels = new_figure(len(datasets), height=max(3.1, 0.17 * len(methods) + 0.8), sharey=False)
    for axes, dataset in zip(panels, datasets, strict=True):
        for number, method in enumerate(methods):
            marker, color = SHAPES[number % len(SHAPES)], SHADES[number % len(SHADES)]
            mine = [row for row in rows if row.unit.dataset == dataset and row.contender.method == method]
            for face in (color, "none"):
                points = [
                    (where(row), 100 * row.scores["accuracy"].mean)
                    for row in mine
                    if (row.contender.preset == "ours") == (face == color)
                ]
                _marks(axes, points, marker=marker, color=color, markerfacecolor=face)
            axes.plot([], [], linestyle="none", marker=marker, color=color, label=printable(method))
        axes.set_title(printable(dataset))
        if log:
            log_axis(axes)
    figure.supxlabel(label, fontsize=8)
    panels[0].set_ylabel("ACC (%)")
    add_legend(figure, panels)
    return figure


def _gain_points(axes: Axes, rows: Sequence[Row], places: Sequence[int]) -> None:
    found = [(place, row.gains["accuracy"], row.contender.preset) for place, row in zip(places, rows, strict=True)]
    _bars(
        axes,
        [(y, 100 * one.low, 100 * one.high) for y, one, _ in found if one.low is not None and one.high is not None],
    )
    for shade in ("black", "white"):
        mine = [(100 * one.mean, y) for y, one, preset in found if (preset == "ours") == (shade == "black")]
        _marks(axes, mine, marker="o", markersize=4, color="black", markerfacecolor=shade)


def _bars(axes: Axes, bars: Iterable[tuple[float, float, float]], **style: Any) -> None:
    """Horizontal lines (y, from, to) as one path, which keeps the file small."""
    points = [point for y, low, high in bars for point in ((low, y), (high, y), (math.nan, y))]
    if points:
        axes.plot(*zip(*points, strict=True), **{"color": "0.45", "linewidth": 1.2, **style})


def _marks(axes: Axes, points: Sequence[tuple[float, float]], **style: Any) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), linestyle="none", **style)


def _hollow(rows: Iterable[Row]) -> str:
    return "; hollow: authors' recipe" if any(row.contender.preset != "ours" for row in rows) else ""


def new_figure(panels: int, *, height: float, sharey: bool) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(5.0, 1.6 + 2.3 * panels), height), layout="constrained")
    return figure, list(figure.subplots(1, panels, sharey=sharey, squeeze=False)[0])


def add_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One legend for all panels, of whatever any of them has, beside them."""
    found = {}
    for axes in panels:
        handles, names = axes.get_legend_handles_labels()
        found.update(dict(zip(names, handles, strict=True)))
    figure.legend(found.values(), found.keys(), loc="outside right center")


def log_axis(axes: Axes) -> None:
    """Powers of ten and three times those, as plain numbers."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_locator(NullLocator())


def _names(rows: Iterable[Row], what: str) -> list[str]:
    return sorted({getattr(row.unit, what) for row in rows})


def _seconds(row: Row) -> float:
    return row.details["seconds"].mean if "seconds" in row.details else 0.0


def _short(who: Contender) -> str:
    return printable(who.method if who.preset == "ours" and not who.settings else f"{who.method} ({recipe(who)})")


def _place(unit: Unit) -> str:
    return printable(f"{unit.dataset}, {unit.backbone}")


def save(figure: Figure, path: Path) -> Path:
    """Writes a picture, within `house_style`; returns its file."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    return path
