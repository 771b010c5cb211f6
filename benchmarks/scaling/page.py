"""The tables and pictures of a results file, for docs/scale.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from study import pictures
from study.costs import Sizes, expected
from study.render import in_markdown
from study.sections import NONE, Section

from headclust.errors import DataError
from headclust.methods import Recipe
from scaling.laws import laws, text_of
from scaling.plan import CURVES, GOAL_LIST
from scaling.points import Line, Point, point_of

BEGIN, END = "<!-- scale: written by benchmarks/scale.py -->", "<!-- scale: end -->"
_FIGURES = ("accuracy", "recall", "inertia", "fit_seconds", "predict_seconds", "report_seconds")
# Sizes to which the model of costs is extrapolated, and the methods.
_FAR = (
    ("ImageNet-1k: 1,281,167 x 768, K 1,000", Sizes(1_281_167, 768, n_scored=50_000, n_classes=1000), 1000),
    ("10,000,000 x 1,024, K 10", Sizes(10_000_000, 1024), 10),
    ("10,000,000 x 1,024, K 1,000", Sizes(10_000_000, 1024), 1000),
)
_METHODS = ("default", "kmeans", "spectral", "temi")


def tables(lines: Sequence[Line]) -> str:
    """All tables, in Markdown."""
    measured = [line for line in lines if "error" not in line]
    if not measured:
        raise DataError("no point was measured: run it without --only-render.")
    sections = [_goals(lines), _growth(measured), _measured(lines), _extrapolated()]
    return in_markdown([section for section in sections if section.rows])


def _goals(lines: Sequence[Line]) -> Section:
    by_point = {point_of(line): line for line in lines}
    rows = []
    for goal in GOAL_LIST:
        needed = [by_point.get(point) for point in goal.points]
        if all(line is not None and "error" not in line for line in needed):
            figures, is_met = goal.check(*needed)
            rows.append((goal.text, figures, "yes" if is_met else "no"))
        else:
            errors = [line["error"] for line in needed if line and "error" in line]
            rows.append((goal.text, f"failed: {errors[0]}" if errors else "not measured", NONE))
    return Section("Goals", ("goal", "measured", "met"), rows, ())


def _growth(lines: Sequence[Line]) -> Section:
    rows = [(law.part, text_of(law), NONE if law.megabytes is None else f"{law.megabytes:.2f}") for law in laws(lines)]
    notes = (
        "Exponents of CPU seconds by least squares on logarithms, the other sizes being equal. MB: private memory per "
        "1,000 samples, by least squares.",
    )
    return Section("Growth", ("part", "CPU seconds grow as", ">MB per 1,000 samples"), rows, notes)


def _measured(lines: Sequence[Line]) -> Section:
    rows = [_row(point_of(line), line) for line in sorted(lines, key=_order)]
    columns = (
        *("part", ">samples", ">dimensions", ">clusters", "option", ">seconds", ">CPU seconds"),
        *(">private MB", ">peak MB", "figures"),
    )
    notes = (
        "Private MB: largest RssAnon, the memory of the process that is not of a mapped file; about 0.5 GB of it are "
        "libraries. Peak MB: VmHWM, with the pages of mapped files, which the system takes back when it needs them. "
        "Accuracy and purity of the features (neighbors of the same class) are shares.",
    )
    return Section("Measurements", columns, rows, notes)


def _order(line: Line) -> tuple[int, tuple[object, ...]]:
    point = point_of(line)
    parts = [*CURVES, point.part]
    return parts.index(point.part), (point.part, point.dtype, point.d, point.k, point.n, point.option)


def _row(point: Point, line: Line) -> tuple[str, ...]:
    option = ", ".join(filter(None, (point.option, "" if point.dtype == "float32" else point.dtype))) or NONE
    sizes = (point.part, f"{point.n:,}", f"{point.d:,}", f"{point.k:,}", option)
    if "error" in line:
        return (*sizes, NONE, NONE, NONE, NONE, f"failed: {line['error']}")
    figures = [f"{name.replace('_', ' ')} {line[name]:,}" for name in (*_FIGURES, "purity") if name in line]
    memory = [NONE if line[name] is None else f"{line[name]:,}" for name in ("private_mb", "peak_mb")]
    return (*sizes, f"{line['seconds']:,.1f}", f"{line['cpu']:,.1f}", *memory, ", ".join(figures) or NONE)


def _extrapolated() -> Section:
    rows = []
    for name, sizes, k in _FAR:
        for method in _METHODS:
            cost = expected("fit", Recipe.of(method).changed({"n_clusters": k}), sizes)
            if cost is not None:
                largest = sorted(cost.parts.items(), key=lambda part: -part[1])[:3]
                shares = ", ".join(f"{part} {100 * seconds / cost.seconds:.0f} %" for part, seconds in largest)
                kind = "extrapolated" if cost.is_extrapolated else "within the measured sizes"
                rows.append((name, method, f"{cost.seconds / 3600:,.2f}", kind, shares))
    notes = (
        "Nothing in this table was run: CPU hours of one thread by the model of costs that `benchmarks/table.py "
        "--dry-run` uses, from the unit costs in `benchmarks/study/costs.json`. A part is extrapolated if it is more "
        "than four times as large as the largest that was measured.",
    )
    return Section("Extrapolated", ("features", "method", ">CPU hours", "how far", "largest parts"), rows, notes)


def draw(lines: Sequence[Line], folder: Path) -> list[Path]:
    """Two pictures: CPU seconds and private memory against the number of samples; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    titles = {"cpu": "CPU seconds", "private_mb": "private memory (MB)"}
    return [_picture(lines, name, title, folder / f"{name}.svg") for name, title in titles.items()]


def _picture(lines: Sequence[Line], figure_name: str, title: str, path: Path) -> Path:
    with pictures.house_style():
        figure, (axes,) = pictures.new_figure(1, height=3.6, sharey=False)
        for number, (part, points) in enumerate(_series(lines, figure_name)):
            sizes, values = zip(*points, strict=True)
            axes.plot(sizes, values, label=part, linewidth=1, **pictures.series_style(number))
        pictures.log_axis(axes)
        axes.set_yscale("log")
        axes.set_xlabel("samples, logarithmic (256 dimensions; eigenvectors 64; K 10, seeding 100)")
        axes.set_ylabel(f"{title}, logarithmic")
        pictures.add_legend(figure, [axes])
        figure.suptitle(f"{title[0].upper()}{title[1:]} against the number of samples")
        return pictures.save(figure, path)


def _series(lines: Sequence[Line], figure: str) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """The points (samples, figure) of each part along its curve of samples: the first of its points and its likes."""
    by_point = {point_of(line): line for line in lines if "error" not in line and line[figure]}
    for part, curve in CURVES.items():
        first = curve[0]
        points = [
            (point.n, by_point[point][figure])
            for point in curve
            if point in by_point and (point.d, point.k, point.option) == (first.d, first.k, first.option)
        ]
        if len(points) > 1:
            yield part, points


def insert(text: str, page: str) -> str:
    """A page with the text between its markers.

    Raises:
        DataError: The page has no such markers.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise DataError(f"the page has no lines {BEGIN} and {END}, between which the tables are written.")
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}"
