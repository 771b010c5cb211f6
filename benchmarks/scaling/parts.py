"""The parts that are measured: each prepares a point, and returns the work to measure and the figures to report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headclust.features import Features, load_features
from headclust.methods import Recipe
from scaling.mixture import Mixture
from scaling.points import Point

Figures = Callable[[], dict[str, Any]]  # reports after the work; not measured
Run = Callable[[], Figures]  # the work that is measured
Part = Callable[[Point, Path], Run]
_NEIGHBORS, _CHECKED = 10, 500
_SMALL = 2_000  # samples that a model to assign with is fitted on


def mixture_of(point: Point) -> Mixture:
    """The features of a point."""
    return Mixture(point.n, point.d, point.k, point.dtype)


def features_of(point: Point, work: Path) -> Features:
    """The features of a point, written unless they exist."""
    return load_features(mixture_of(point).write(work))


def purity(features: Features) -> float:
    """Share of the 10 nearest neighbors of 500 samples that have the sample's class."""
    assert features.labels is not None
    numbers = np.linspace(0, features.n_samples - 1, min(_CHECKED, features.n_samples)).astype(int)
    queries = torch.nn.functional.normalize(features.rows(numbers).float())
    best = torch.empty(len(numbers), 0)
    labels = np.empty((len(numbers), 0), dtype=np.int64)
    for start in range(0, features.n_samples, 65_536):
        block = slice(start, min(start + 65_536, features.n_samples))
        scores, nearest = (queries @ torch.nn.functional.normalize(features.rows(block).float()).T).topk(
            min(_NEIGHBORS + 1, block.stop - block.start)
        )
        best = torch.cat((best, scores), 1)
        labels = np.hstack((labels, features.labels[start + nearest.numpy()]))
    order = best.argsort(1, descending=True)[:, 1 : _NEIGHBORS + 1].numpy()  # without the sample itself
    return float((np.take_along_axis(labels, order, 1) == features.labels[numbers, None]).mean())


def fit(method: str, changes: dict[str, Any] | None = None) -> Part:
    """A part that fits a method; figures are accuracy, and purity of the features."""

    def prepare(point: Point, work: Path) -> Run:
        features = features_of(point, work)
        recipe = Recipe.of(method).changed({"n_clusters": point.k, **(changes or {})})
        recipe = recipe.changed(_option(point))
        _load_libraries(method)

        def run() -> Figures:
            result = recipe.fit((replace(features, labels=None, class_names=()),), 0)
            return lambda: {**_accuracy(result.assignments, features), "purity": round(purity(features), 3)}

        return run

    return prepare


def _option(point: Point) -> dict[str, str]:
    """The setting that the option of a point changes: NAME=VALUE."""
    name, equals, value = point.option.partition("=")
    return {name: value} if equals else {}


def _load_libraries(method: str) -> None:
    """Fit a few samples, so that imports are not measured."""
    rows = Mixture(300, 16, 3).rows(np.arange(300) % 3, 0)
    changes = {"n_clusters": 3}
    names = Recipe.of(method).values
    changes |= {name: 2 for name in names if name.split(".")[-1] == "length"}
    Recipe.of(method).changed(changes).fit((Features.from_array(rows),), 0)


def _accuracy(assignments: Any, features: Features) -> dict[str, float]:
    from headclust.scoring import metrics

    assert features.labels is not None
    return {"accuracy": round(metrics.accuracy(assignments, features.labels), 4)}


def predict(point: Point, work: Path) -> Run:
    """A part: `predict` of a run of k-means that was fitted on 2,000 samples of the same kind."""
    from headclust import verbs

    mixture = mixture_of(point)
    path = mixture.write(work)
    run_folder = _fitted(replace(mixture, n=min(_SMALL, point.n)).write(work), point, work)

    def run() -> Figures:
        output = verbs.predict(run_folder, features=[path], output=work / f"{run_folder.name}.csv")
        return lambda: {"bytes": output.stat().st_size}

    return run


def report(point: Point, work: Path) -> Run:
    """A part: `report` of a run of k-means, without the layout by UMAP, which not every installation has."""
    from headclust import verbs

    run_folder = _fitted(mixture_of(point).write(work), point, work)

    def run() -> Figures:
        page = verbs.report(run_folder, umap=False)
        return lambda: {"bytes": page.stat().st_size}

    return run


def whole(point: Point, work: Path) -> Run:
    """A part: `fit` of the default, `predict` for the same samples, and `report`, one after the other."""
    from headclust import verbs

    path = mixture_of(point).write(work)
    _load_libraries("default")

    def run() -> Figures:
        times = [time.perf_counter()]
        run_folder = verbs.fit([path], clusters=point.k, changes=_option(point), output=work / "whole", overwrite=True)
        times.append(time.perf_counter())
        verbs.predict(run_folder, features=[path], output=work / "whole.csv")
        times.append(time.perf_counter())
        verbs.report(run_folder, umap=False)
        times.append(time.perf_counter())
        steps = zip(("fit", "predict", "report"), np.diff(times), strict=True)
        return lambda: {**{f"{name}_seconds": round(float(step), 1) for name, step in steps}, **_scores(run_folder)}

    return run


def _scores(run_folder: Path) -> dict[str, float]:
    from headclust import runs

    return {"accuracy": round(runs.read_run(run_folder).metrics["accuracy"], 4)}


def _fitted(path: Path, point: Point, work: Path) -> Path:
    """A run of k-means with one restart, made anew."""
    from headclust import verbs

    folder = work / f"{point.part}-{point.n}-{point.d}-{point.k}"
    shutil.rmtree(folder, ignore_errors=True)
    changes = {"max_iter": 10}
    return verbs.fit([path], method="kmeans", clusters=point.k, heads=1, changes=changes, output=folder)


def search(name: str) -> Part:
    """A part that finds 10 neighbors per sample by a search; of an approximate one, the figure is its recall."""

    def prepare(point: Point, work: Path) -> Run:
        from headclust.graph.search import search_neighbors

        features = features_of(point, work)
        search_neighbors(torch.randn(3_000, 16), _NEIGHBORS, name)  # loads the libraries

        def run() -> Figures:
            graph = search_neighbors(features, _NEIGHBORS, name)
            return lambda: {"recall": graph.search["recall"]} if graph.search else {}

        return run

    return prepare


def eigenvectors(point: Point, work: Path) -> Run:
    """A part: the leading eigenvectors of a neighbor graph, 2.2 per cluster, or as many as the option says."""
    from headclust.graph.eigenvectors import leading_eigenvectors
    from headclust.graph.matrix import affinity, normalized
    from headclust.graph.search import search_neighbors

    graph = search_neighbors(features_of(point, work), _NEIGHBORS, "exact" if point.n <= 20_000 else "ivf")
    matrix = normalized(affinity(graph, temperature=0.1))
    count = int(point.option or round(2.2 * point.k))

    def run() -> Figures:
        values, _ = leading_eigenvectors(matrix, count, seed=0)
        return lambda: {"vectors": count, "smallest": round(float(values[-1]), 4)}

    return run


def restart(max_iter: int) -> Part:
    """A part: one restart of k-means on unit rows; with one iteration it is mostly the choice of the seeds."""

    def prepare(point: Point, work: Path) -> Run:
        from headclust.methods.lloyd import restarts

        unit = _unit(features_of(point, work))
        restarts(unit[:500], 3, n_heads=1, max_iter=1, tolerance=1e-5, seed=0)  # loads the libraries

        def run() -> Figures:
            (result,) = restarts(unit, point.k, n_heads=1, max_iter=max_iter, tolerance=1e-5, seed=0)
            return lambda: {"inertia": round(float(result.inertia), 2)}

        return run

    return prepare


def faiss_restart(point: Point, work: Path) -> Run:
    """A part: one run of faiss's k-means on the same rows, on all of them, with the same rule to stop."""
    import faiss

    unit = _unit(features_of(point, work)).numpy()

    def run() -> Figures:
        kmeans = faiss.Kmeans(
            point.d,
            point.k,
            niter=300,
            seed=0,
            early_stop_threshold=1e-5,
            min_points_per_centroid=1,
            max_points_per_centroid=point.n,
        )
        kmeans.train(unit)
        return lambda: {"inertia": round(float(kmeans.index.search(unit, 1)[0].sum(dtype=np.float64)), 2)}

    return run


def _unit(features: Features) -> torch.Tensor:
    return torch.nn.functional.normalize(features.all())


def embed(point: Point, work: Path) -> Run:
    """A part: `embed` of made-up 32-pixel images with EfficientNet-Lite0, by as many processes as the option says."""
    from PIL import Image

    from headclust import verbs
    from headclust.embedding import EmbedSettings

    photos, output = work / f"photos-{point.n}", work / f"photos-{point.n}.h5"
    photos.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for number in range(point.n):
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number:06d}.png")
    output.unlink(missing_ok=True)
    n_shards = int(point.option or 1)

    def run() -> Figures:
        settings = EmbedSettings(overwrite=True)
        verbs.embed(
            "efficientnet_lite0", str(photos), image_size=64, output=output, settings=settings, offline=True, **more
        )
        return lambda: {"bytes": output.stat().st_size}

    more: dict[str, Any] = {"shards": n_shards} if n_shards > 1 else {}
    return run


OWN_KMEANS = {"n_heads": 1, "tries": 10, "partitions": "kmeans", "pairs.length": 0}
PARTS: dict[str, Part] = {
    "default": fit("default"),
    "own-kmeans": fit("default", OWN_KMEANS),  # k-means in the default's space, assigned by a linear head
    "kmeans": fit("kmeans"),
    "spectral": fit("spectral"),
    "temi": fit("temi"),
    "umap-kmeans": fit("umap-kmeans"),
    "predict": predict,
    "report": report,
    "fit-predict-report": whole,
    "exact-neighbors": search("exact"),
    "ivf-neighbors": search("ivf"),
    "eigenvectors": eigenvectors,
    "seeding": restart(1),
    "kmeans-restart": restart(300),
    "faiss-restart": faiss_restart,
    "embed": embed,
}
