"""Costs of the parts of a fit, measured with one thread at several sizes, and the coefficients of their terms."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls
from study import costs
from study.costs import Terms

from headclust.features import load_features
from headclust.methods import Recipe
from headclust.progress import note
from scaling.mixture import Mixture

# The recipes whose training steps are measured: those of the studies.
_RECIPES = ("consensus", "temi", "wmi", "pmi", "temi-scan", "scan", "clc", "imc-swav", "turtle")
_STEPS = 3
_HEADS = 16
_SHORT = 2.0  # seconds; loading libraries takes up to one


class Sample(NamedTuple):
    """A measurement of a unit."""

    unit: str
    terms: Terms
    seconds: float


def seconds_of(work: Callable[..., Any], *arguments: Any) -> float:
    """CPU seconds of this process for a call; of short work the less of two, as the first loads libraries."""
    least = math.inf
    for _ in range(2):
        start = time.process_time()
        work(*arguments)
        least = min(least, time.process_time() - start)
        if least > _SHORT:
            break
    return least


def measure_units(scale: float = 1.0) -> dict[str, dict[str, Any]]:
    """Coefficients of every unit.

    Args:
        scale: Share of the usual sizes, for tests.

    Returns:
        By unit `seconds` (per unit of a term, by term), `largest` (measured amount, by term), `points` (number of
        measurements) and `error` (largest deviation of the fit from a measurement, as a share of it).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    samples: dict[str, list[Sample]] = {}
    try:
        for sample in _samples(scale):
            note(f"{sample.unit}: {sample.seconds:.3f} s")
            samples.setdefault(sample.unit, []).append(sample)
    finally:
        torch.set_num_threads(threads)
    return {unit: _fitted(measured) for unit, measured in samples.items()}


def _fitted(samples: list[Sample]) -> dict[str, Any]:
    """Coefficients, none negative, with the least sum of squared relative deviations."""
    names = list(samples[0].terms)
    amounts = np.array([[sample.terms[name] for name in names] for sample in samples])
    seconds = np.maximum([sample.seconds for sample in samples], 1e-6)
    # Each measurement divided by its seconds, each term by its largest amount, so that all numbers are near 1.
    largest = np.maximum(amounts.max(0), 1e-12)
    solution, _ = nnls(amounts / largest / seconds[:, None], np.ones(len(samples)))
    error = np.abs(amounts / largest @ solution / seconds - 1).max()
    coefficients = {name: float(f"{value:.4g}") for name, value in zip(names, solution / largest, strict=True)}
    return {
        "seconds": coefficients,
        "largest": dict(zip(names, map(float, amounts.max(0)), strict=True)),
        "points": len(samples),
        "error": round(float(error), 2),
    }


def _samples(scale: float) -> Iterator[Sample]:
    yield from _reading(scale)
    yield from _linear_algebra(scale)
    yield from _graphs(scale)
    yield from _restarts(scale)
    yield from _assignments(scale)
    yield from _linear_probe(scale)
    for method in _RECIPES:
        for preset in ("ours", "authors"):
            yield from _training(method, preset, scale)


def _rows(n: int, d: int, k: int = 10) -> torch.Tensor:
    mixture = Mixture(n, d, k)
    return torch.from_numpy(np.concatenate(list(mixture.blocks())))


def _reading(scale: float) -> Iterator[Sample]:
    from headclust.features.rows import distinct_rows
    from headclust.runs.inputs import load_spaces

    for n, d in ((20_000, 256), (40_000, 512)):
        n = int(n * scale)
        with tempfile.TemporaryDirectory() as folder:
            path = Mixture(n, d, 10).write(Path(folder))
            # Checked, and equal rows looked for, as every fit does.
            seconds = seconds_of(lambda path: (load_spaces([path]), distinct_rows(load_features(path).all())), path)
        yield Sample("read", {"values": n * d}, seconds)


def _linear_algebra(scale: float) -> Iterator[Sample]:
    from headclust.methods.consensus.pair_whitening import scatter
    from headclust.model import fit_transform

    for n, d in ((10_000, 256), (20_000, 256), (10_000, 1280)):
        rows = _rows(int(n * scale), d)
        seconds = seconds_of(lambda rows: fit_transform(rows, "pca", n_components=256)(rows), rows)
        yield Sample("pca", {"values": rows.numel(), "products": rows.numel() * d}, seconds)
        if d == 256:
            yield Sample("scatter", {"products": rows.numel() * d}, seconds_of(lambda rows: scatter([rows]), rows))


def _graphs(scale: float) -> Iterator[Sample]:
    from headclust.graph.eigenvectors import leading_eigenvectors
    from headclust.graph.matrix import affinity, normalized
    from headclust.graph.search import search_neighbors

    for n, d in ((5_000, 64), (10_000, 64), (10_000, 512), (20_000, 128)):
        rows = _rows(int(n * scale), d)
        for name in ("exact", "ivf"):
            seconds = seconds_of(lambda rows, name: search_neighbors(rows, 10, name), rows, name)
            yield Sample(f"neighbors {name}", costs.search_terms(name, len(rows), d), seconds)
    for n in (5_000, 15_000):
        rows = _rows(int(n * scale), 64, 100)
        matrix = normalized(affinity(search_neighbors(rows, 10, "exact"), temperature=0.1))
        for vectors in (22, 110, 220):
            vectors = min(vectors, len(rows) // 4)
            seconds = seconds_of(lambda matrix, vectors: leading_eigenvectors(matrix, vectors, seed=0), matrix, vectors)
            yield Sample("eigenvectors", costs.eigen_terms(len(rows), vectors), seconds)


def _restarts(scale: float) -> Iterator[Sample]:
    from headclust.methods.lloyd import restarts

    for n, k, d in ((10_000, 10, 64), (10_000, 100, 64), (20_000, 50, 256), (30_000, 100, 64), (30_000, 200, 64)):
        rows = torch.nn.functional.normalize(_rows(int(n * scale), d, k))

        def restart(rows: torch.Tensor = rows, k: int = k) -> None:
            restarts(rows, k, n_heads=1, max_iter=100, tolerance=1e-4, seed=0)

        yield Sample("restart", costs.restart_terms(len(rows), k, d), seconds_of(restart))


def _assignments(scale: float) -> Iterator[Sample]:
    from headclust.model import ClusterModel, FeatureTransform
    from headclust.model.heads.linear import LinearHeads
    from headclust.scoring import metrics

    for n, k, d in ((20_000, 10, 256), (20_000, 100, 256), (20_000, 100, 64), (5_000, 1000, 256)):
        rows = _rows(int(n * scale), d)
        heads = LinearHeads(feature_dims=(d,), n_clusters=k, n_heads=_HEADS)
        model = ClusterModel((FeatureTransform(),), heads, tuple(range(_HEADS)), 1.0)
        terms = {"logits": len(rows) * _HEADS * k, "products": len(rows) * _HEADS * k * d}
        yield Sample("assign", terms, seconds_of(lambda rows, model: model.assign(rows), rows, model))
    generator = np.random.default_rng(0)
    for n, k in ((20_000, 10), (20_000, 100), (50_000, 500)):
        n = int(n * scale)
        clusters, labels = generator.integers(k, size=(2, n))
        seconds = seconds_of(lambda clusters, labels: metrics.score(clusters, labels), clusters, labels)
        yield Sample("score", costs.score_terms(n, k), seconds)


def _linear_probe(scale: float) -> Iterator[Sample]:
    from headclust.scoring.probes import linear_accuracy

    for n, d, k in ((2_000, 64, 10), (4_000, 128, 10)):
        with tempfile.TemporaryDirectory() as folder:
            features = load_features(Mixture(int(n * scale), d, k).write(Path(folder)))
            seconds = seconds_of(lambda features: linear_accuracy(features, features), features)
        yield Sample("linear probe", {"products": features.n_samples * d * k}, seconds)


def _training(method: str, preset: str, scale: float) -> Iterator[Sample]:
    """Steps of every stage of a recipe, for 10 and 100 clusters, and for half of the heads."""
    from headclust.methods.registry import PRESETS
    from headclust.training.sampling import Samples
    from headclust.training.train import train_stage

    if preset not in PRESETS[method]:
        return
    for stage in costs.own_stages(Recipe.of(method, preset)):
        d = 64 if stage.n_components == 64 else 256
        for k, heads in ((10, 4), (10, 8), (100, 4)):
            rows = _rows(int(4_096 * scale), d)
            neighbors = torch.randint(len(rows), (len(rows), 10), dtype=torch.int32)
            batch = min(stage.batch_size, len(rows))
            changed = replace(stage, n_clusters=k, n_heads=heads, batch_size=batch, max_seconds=0.0, unit="steps")
            changed = replace(changed, length=_STEPS, warmup=0, freeze_last_layer=0, checkpoint_every=0, patience=0)
            samples = Samples((rows,), neighbors=neighbors)
            once, seconds = (
                seconds_of(lambda stage, samples: train_stage(stage, samples, seed=0), of_length, samples)
                for of_length in (replace(changed, length=1), changed)
            )
            step = max((seconds - once) / (_STEPS - 1), seconds / _STEPS / 10)  # without what a stage does once
            yield Sample(costs.step_unit(stage), costs.step_terms(changed, d, k), step)
