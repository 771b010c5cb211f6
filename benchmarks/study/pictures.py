"""Pictures (SVG) of a results file and of the assignments beside it. Needs the extra `bench`.

The same results give the same bytes with one version of matplotlib.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from headclust.disk import write_atomically, write_errors
from headclust.errors import SettingError
from headclust.progress import printable
from study.confusion import draw_confusion
from study.sections import recipe
from study.summary import CONTENDER, UNIT, Line, Summary, summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Curves and methods differ in shape; shades are for comfort, and differ in gray too.
_SHAPES = "osD^v<>Xp*hPd8"
_SHADES = ("#000000", "#0072b2", "#d55e00", "#56b4e9", "#8a8a8a")
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
_AGAINST = {
    "knn_accuracy": ("kNN accuracy (%)", "ACC of clusterings against the accuracy of a kNN classifier", 100),
    "seconds": ("seconds a fit takes without its neighbor search, logarithmic", "ACC against time", 1),
}


def check_installed() -> None:
    """Raise a SettingError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        message = "pictures need matplotlib, which is not installed: pip install 'headclust[bench]'."
        raise SettingError(message) from None


def draw(results: Sequence[Line], folder: Path, *, assignments_below: Path) -> list[Path]:
    """Draw every picture that the results have data for; return the files written.

    Args:
        results: The lines of a results file.
        folder: Folder to write to.
        assignments_below: The results file's folder, which holds the assignments it names.
    """
    with house_style():
        summary = summarize(results)
        figures = {name: picture(summary) for name, picture in PICTURES.items()}
        figures |= {f"confusion-{name}": figure for name, figure in draw_confusion(results, assignments_below)}
        return [save(figure, folder / f"{name}.svg") for name, figure in figures.items() if figure is not None]


@contextmanager
def house_style() -> Iterator[None]:
    """The style of all pictures, independent of the user's own; a SettingError without matplotlib."""
    check_installed()
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # text stays text, for whatever fonts the reader has
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def gains(summary: Summary) -> Figure | None:
    """Gain over k-means in ACC: one panel per data set, one band per backbone, one line per contender."""
    rows = summary.rows[summary.rows["accuracy_gain"].notna()]
    if rows.empty:
        return None
    labels: list[str] = []
    places = pd.Series(0, index=rows.index)
    for backbone, band in rows.groupby("backbone"):
        labels.append(printable(str(backbone)))
        for _, contender in band.groupby(CONTENDER, sort=False):
            places[contender.index] = len(labels)
            labels.append(f"{_short(contender.iloc[0])}  ")
    panels_of = list(rows.assign(place=places).groupby("dataset"))
    figure, panels = new_figure(len(panels_of), height=0.17 * len(labels) + 1.1, sharey=True)
    every = [(place, 0.0, 1.0) for place in range(len(labels))]
    for axes, (dataset, points) in zip(panels, panels_of, strict=True):
        _bars(axes, every, transform=axes.get_yaxis_transform(), color="0.9", linewidth=0.5)
        axes.axvline(0, color="black", linewidth=0.8)
        ends = points[["place", "accuracy_gain_low", "accuracy_gain_high"]].dropna()
        _bars(axes, [(place, 100 * low, 100 * high) for place, low, high in ends.itertuples(index=False)])
        style = {"marker": "o", "markersize": 4, "color": "black"}
        _marks(axes, points, 100 * points["accuracy_gain"], points["place"], hollow="white", **style)
        axes.set_title(printable(str(dataset)))
        axes.set_xlabel("points of ACC")
        axes.tick_params(axis="y", left=False)
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].set_ylim(len(labels) - 0.4, -0.6)
    for tick, label in zip(panels[0].get_yticklabels(), labels, strict=True):
        tick.set_fontweight("normal" if label.endswith(" ") else "bold")
    figure.suptitle(f"Gain over k-means on the same features; bars: 95 % over seeds{_hollow(rows)}")
    return figure


def _against(summary: Summary, column: str) -> Figure | None:
    """ACC against the kNN accuracy or the seconds, on a log axis: one panel per data set, one shape per method."""
    label, title, scale = _AGAINST[column]
    rows = summary.rows.dropna(subset=["accuracy", column])
    rows = rows[rows[column] > 0] if column == "seconds" else rows
    if rows.empty:
        return None
    x, y, methods = scale * rows[column], 100 * rows["accuracy"], rows["method"].unique()
    datasets = sorted(rows["dataset"].unique())
    figure, panels = new_figure(len(datasets), height=max(3.1, 0.17 * len(methods) + 0.8), sharey=False)
    for axes, dataset in zip(panels, datasets, strict=True):
        for number, method in enumerate(methods):
            style = series_style(number)
            points = rows[(rows["dataset"] == dataset) & (rows["method"] == method)]
            _marks(axes, points, x[points.index], y[points.index], hollow="none", **style)
            axes.plot([], [], linestyle="none", **style, label=printable(method))
        axes.set_title(printable(dataset))
        if column == "seconds":
            log_axis(axes)
    figure.supxlabel(label, fontsize=8)
    panels[0].set_ylabel("ACC (%)")
    add_legend(figure, panels)
    figure.suptitle(f"{title}{_hollow(rows)}")
    return figure


def ablations(summary: Summary) -> Figure | None:
    """ACC against heads, neighbors and beta: one panel per setting, one line per unit; bars: sd over seeds."""
    points = summary.points[summary.points["accuracy"].notna()]
    if points.empty:
        return None
    settings = sorted(points["setting"].unique(), key=lambda name: ([*_CURVES, name].index(name), name))
    figure, panels = new_figure(len(settings), height=2.7, sharey=True)
    lines = [line for _, line in points.groupby([*UNIT, *CONTENDER], sort=False)]
    contenders = [_short(line.iloc[0]) for line in lines]
    places = [printable(", ".join(line.iloc[0][["dataset", "backbone"]])) for line in lines]
    for axes, setting in zip(panels, settings, strict=True):
        for number, line in enumerate(lines):
            curve = line[line["setting"] == setting]
            if curve.empty:
                continue
            marks, spreads = (100 * curve[column].fillna(0).astype(float) for column in ("accuracy", "accuracy_sd"))
            style = series_style(number) | {"capsize": 2, "linewidth": 1}
            axes.errorbar(curve["value"], marks, spreads, label=f"{contenders[number]}, {places[number]}", **style)
        values = sorted(points.loc[points["setting"] == setting, "value"].unique())
        if values[0] >= 1:  # counts, which are tried by doubling
            axes.set_xscale("log")
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(_CURVES.get(setting, printable(setting)))
    panels[0].set_ylabel("ACC (%)")
    if len(lines) > 1:
        add_legend(figure, panels)
    only = f"{contenders[0]} on {places[0]}: " if len(lines) == 1 else ""
    figure.suptitle(f"{only}ACC against one setting at a time, the others as in the preset")
    return figure


PICTURES: dict[str, Callable[[Summary], Figure | None]] = {
    "gain": gains,
    "knn": partial(_against, column="knn_accuracy"),
    "seconds": partial(_against, column="seconds"),
    "ablations": ablations,
}


def _bars(axes: Axes, bars: Iterable[tuple[float, float, float]], **style: Any) -> None:
    """Draw horizontal lines (y, from, to) as one path, which keeps the file small."""
    points = [point for y, low, high in bars for point in ((low, y), (high, y), (math.nan, y))]
    if points:
        axes.plot(*zip(*points, strict=True), **{"color": "0.45", "linewidth": 1.2, **style})


def _marks(axes: Axes, rows: pd.DataFrame, x: pd.Series[Any], y: pd.Series[Any], *, hollow: str, **style: Any) -> None:
    """Draw one mark per row, filled for the preset ours."""
    ours = rows["preset"] == "ours"
    for part, face in ((ours, style["color"]), (~ours, hollow)):
        if part.any():
            axes.plot(x[part], y[part], linestyle="none", **style, markerfacecolor=face)


def _hollow(rows: pd.DataFrame) -> str:
    return "; hollow: authors' recipe" if (rows["preset"] != "ours").any() else ""


def _short(row: Any) -> str:
    is_plain = row["preset"] == "ours" and not row["settings"]
    return printable(row["method"] if is_plain else f"{row['method']} ({recipe(row)})")


def series_style(number: int) -> dict[str, Any]:
    """Shape and shade of a curve or method."""
    return {"marker": _SHAPES[number % len(_SHAPES)], "color": _SHADES[number % len(_SHADES)]}


def new_figure(panels: int, *, height: float, sharey: bool) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(5.0, 1.6 + 2.3 * panels), height), layout="constrained")
    return figure, list(figure.subplots(1, panels, sharey=sharey, squeeze=False)[0])


def add_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Add one legend of the labels of all panels beside them."""
    entries = [entry for axes in panels for entry in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles = {name: handle for handle, name in entries}
    figure.legend(handles.values(), handles.keys(), loc="outside right center")


def log_axis(axes: Axes) -> None:
    """Set a logarithmic x axis with powers of ten and three times those as plain numbers."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_locator(NullLocator())


def save(figure: Figure, path: Path) -> Path:
    """Write a picture, within `house_style`; return its file."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    return path
