"""The points that are measured: curves against the numbers of samples, dimensions and clusters, and the goals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from scaling.points import Line, Point

GOALS = "goals"  # the name of their points for --only


def _curve(part: str, *sizes: tuple[int, int, int], option: str = "") -> tuple[Point, ...]:
    return tuple(Point(part, n, d, k, option) for n, d, k in sizes)


# Sizes (n, d, k) by part. Those of one curve differ in one of the three.
_N, _D = (5_000, 20_000, 80_000), 256
CURVES: dict[str, tuple[Point, ...]] = {
    "default": _curve(
        "default",
        *((n, _D, 10) for n in _N),
        (20_000, 768, 10),
        (20_000, 1280, 10),
        (20_000, _D, 32),
        (20_000, _D, 100),
    ),
    "kmeans": _curve(
        "kmeans",
        *((n, _D, 10) for n in _N),
        *((20_000, d, 10) for d in (768, 1280)),
        *((20_000, _D, k) for k in (32, 100)),
    ),
    "spectral": _curve(
        "spectral", *((n, _D, 10) for n in (5_000, 20_000, 40_000)), (20_000, 768, 10), (20_000, _D, 100)
    ),
    "temi": _curve("temi", *((n, _D, 10) for n in (5_000, 20_000, 40_000)), (20_000, 768, 10), (20_000, _D, 100)),
    "umap-kmeans": _curve("umap-kmeans", *((n, _D, 10) for n in (5_000, 20_000))),
    "predict": _curve(
        "predict", *((n, _D, 10) for n in (20_000, 80_000, 320_000)), (80_000, 768, 10), (80_000, _D, 100)
    ),
    "report": _curve("report", *((n, _D, 10) for n in _N), (20_000, 768, 10), (20_000, _D, 100)),
    "exact-neighbors": _curve(
        "exact-neighbors", *((n, _D, 10) for n in (10_000, 20_000, 40_000)), (20_000, 64, 10), (20_000, 768, 10)
    ),
    "ivf-neighbors": _curve(
        "ivf-neighbors", *((n, _D, 10) for n in (40_000, 80_000, 160_000)), (80_000, 64, 10), (80_000, 768, 10)
    ),
    "eigenvectors": _curve(
        "eigenvectors", *((n, 64, 10) for n in (10_000, 20_000, 40_000)), (20_000, 64, 32), (20_000, 64, 100)
    ),
    "seeding": _curve(
        "seeding", *((n, _D, 100) for n in (20_000, 50_000, 100_000)), (50_000, _D, 10), (50_000, _D, 1000)
    ),
    "embed": tuple(Point("embed", n, 1280, 0, option=shards) for n, shards in ((256, "1"), (1024, "1"), (1024, "2"))),
}


class Goal(NamedTuple):
    """A goal: the points it needs, and its check."""

    text: str
    points: tuple[Point, ...]
    # The measured figures in words, and true if they reach the goal, from the lines of the points in their order.
    check: Callable[..., tuple[str, bool]]


def _within(seconds: float, megabytes: float | None = None) -> Callable[[Line], tuple[str, bool]]:
    def check(line: Line) -> tuple[str, bool]:
        is_small = megabytes is None or (line["private_mb"] or 0) <= megabytes
        return f"{line['seconds']:,.0f} s, {line['private_mb'] or 0:,} MB", line["seconds"] <= seconds and is_small

    return check


def _beyond_kmeans(default: Line, kmeans: Line) -> tuple[str, bool]:
    text, is_within = _within(900, 4096)(default)
    gain = 100 * (default["accuracy"] - kmeans["accuracy"])
    accuracies = f"{100 * default['accuracy']:.1f} against {100 * kmeans['accuracy']:.1f} % of k-means"
    return f"{text}; {accuracies}", is_within and gain >= 3


def _as_fast(ours: Line, faiss: Line) -> tuple[str, bool]:
    ratio, inertia = ours["cpu"] / faiss["cpu"], ours["inertia"] / faiss["inertia"]
    return f"{ratio:.2f} x the CPU seconds of faiss, inertia {inertia:.4f} x", ratio <= 1.3 and inertia <= 1.0005


_TEN, _HUNDRED = Point("default", 20_000, 1280, 10), Point("default", 20_000, 1280, 100)
_LARGE = Point("default", 100_000, 768, 1000)
_MILLION = Point("fit-predict-report", 1_000_000, 768, 100, dtype="float16")
_RESTART = Point("kmeans-restart", 100_000, _D, 1000)
GOAL_LIST = (
    Goal("the default, 20,000 x 1,280, K 10, in 12 s", (_TEN,), _within(12)),
    Goal("the default, 20,000 x 1,280, K 100, in 60 s", (_HUNDRED,), _within(60)),
    Goal(
        "the default, 100,000 x 768, K 1,000, in 15 minutes and 4 GiB, 3 points over k-means in the same space",
        (_LARGE, replace(_LARGE, part="own-kmeans", option="tries=3")),
        _beyond_kmeans,
    ),
    Goal(
        "1,000,000 x 768 in float16, K 100: fit of the default, predict and report in 15 minutes and 4 GiB",
        (_MILLION,),
        _within(900, 4096),
    ),
    Goal(
        "k-means, 100,000 x 256, K 1,000: within 1.3 x of faiss at equal inertia",
        (_RESTART, replace(_RESTART, part="faiss-restart")),
        _as_fast,
    ),
)


def tiny_points() -> list[Point]:
    """A tiny point of every part, with a short training."""
    from scaling.parts import PARTS

    short = {"default": "pairs.length=3", "fit-predict-report": "pairs.length=3", "temi": "length=3"}
    usual = Point("", 300, 16, 3)
    points = [replace(usual, part=part, option=short.get(part, "")) for part in PARTS]
    return [replace(point, n=4) if point.part == "embed" else point for point in points]


def chosen(names: tuple[str, ...]) -> list[Point]:
    """The points of some parts, of all for no names; goals last, the longest of them at the end."""
    points = [point for part, curve in CURVES.items() if not names or part in names for point in curve]
    goals = [point for goal in GOAL_LIST for point in goal.points]
    goals.sort(key=lambda point: point.n * point.k)
    return list(dict.fromkeys([*points, *(goals if not names or GOALS in names else ())]))
