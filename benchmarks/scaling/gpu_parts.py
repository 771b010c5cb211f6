"""The parts that are computed on a GPU and on the CPU beside it: what each computes, and how results are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch

from headclust.features import Features
from headclust.methods import METHODS, Recipe
from scaling.mixture import Mixture

Compute = Callable[[torch.device], Any]
_FLOPS = 40e12  # operations per second in float32 without TF32, of one H200: an estimate
_STEP = 2.5e-3  # seconds to start the operations of a training step
_CPU_IMAGES = 8  # that the CPU embeds
_MODELS = {"efficientnet_lite0": 1e-4, "dinov2_vitb14": 2e-4, "dinov2_vitl14": 6e-4}  # estimated seconds per image


@dataclass(frozen=True)
class Sizes:
    """The sizes of all parts.

    Args:
        fitted: Samples that methods are fitted on.
        searched: Samples of the neighbor search, the eigenvectors and k-means.
        assigned: Samples that a model assigns.
        dim: Feature dimensions.
        n_clusters: Clusters.
        many: Clusters of k-means; eigenvectors.
        steps: Steps of gradient methods other than the default.
        images: Images per backbone.
        batch_size: Images per batch.
        models: Backbones, without their weights: speed and rounding do not depend on them.
    """

    fitted: int = 10_000
    searched: int = 50_000
    assigned: int = 100_000
    dim: int = 768
    n_clusters: int = 100
    many: int = 500
    steps: int = 100
    images: int = 2_048
    batch_size: int = 64
    models: tuple[str, ...] = tuple(_MODELS)


TINY = Sizes(200, 300, 300, 16, 4, 5, 2, 1, 1, ("efficientnet_lite0",))


class Part(NamedTuple):
    """A part.

    Attributes:
        name: Its name.
        sizes: Its sizes, as text.
        prepare: Makes its inputs, and returns what is measured.
        compare: The difference of two results: 0 if they are equal.
        difference: What that is.
        tolerance: Largest difference that rounding explains; infinite for figures that are only reported.
        expected: Estimated seconds on one H200, (least, most).
        images: Number of images, if they are embedded.
        on_cpu: Share of the work that the CPU does; its seconds are those of all.
    """

    name: str
    sizes: str
    prepare: Callable[[], Compute]
    compare: Callable[[Any, Any], float]
    difference: str
    tolerance: float
    expected: tuple[float, float]
    images: int = 0
    on_cpu: float = 1.0


def parts(sizes: Sizes) -> Iterator[Part]:
    """All parts, the most basic first."""
    n, d, k = sizes.searched, sizes.dim, sizes.n_clusters
    for model in sizes.models:
        shape = f"{sizes.images} images"
        seconds = sizes.images * _MODELS[model]
        for precision, tolerance, factor in (("float32", 1e-3, 8.0), ("auto", np.inf, 1.0), ("bfloat16", np.inf, 1.0)):
            prepare = partial(_embed, model, precision, sizes)
            name = f"embed {model}, {precision}"
            limits = (seconds * factor / 2, seconds * factor * 4 + 0.1)
            share = min(_CPU_IMAGES, sizes.batch_size) / sizes.images
            measure = "relative L2 of features"
            yield Part(name, shape, prepare, _relative, measure, tolerance, limits, sizes.images, share)
    # Products of all pairs, and a selection of the largest that takes about as long.
    search = _estimate(2 * n * n * d * 2)
    yield Part("neighbors", f"{n:,} x {d}, 25", partial(_search, sizes), _others, "other neighbors", 1e-3, search)
    # About 100 products of the sparse matrix with all vectors, limited by memory: 25 numbers per row and vector.
    vectors = _estimate(100 * n * 1.25 * sizes.many * (2 * 25 * 20 + 4 * sizes.many))
    shape = f"{n:,} rows, {sizes.many} vectors"
    yield Part("eigenvectors", shape, partial(_vectors, sizes), _largest, "largest of eigenvalues", 1e-3, vectors)
    lloyd = _estimate(2 * n * sizes.many * 256 * 30, steps=2 * sizes.many)
    shape = f"{n:,} x {min(d, 256)}, K {sizes.many}"
    yield Part("k-means", shape, partial(_kmeans, sizes), _relative, "inertia, relative", 0.01, lloyd)
    for method in METHODS:
        shape = f"{sizes.fitted:,} x {d}, K {k}"
        limits = _estimate(3e12, steps=600 if method == "consensus" else sizes.steps)
        yield Part(f"fit {method}", shape, partial(_fit, method, sizes), _rand, "1 - ARI", 0.1, limits)
    shape = f"{sizes.assigned:,} x {d}, 16 heads of {k}"
    limits = _estimate(2 * sizes.assigned * (d * 256 + 16 * k * 256), seconds=sizes.assigned * d * 4 / 5e9)
    yield Part("predict", shape, partial(_assign, sizes), _others, "other clusters", 1e-3, limits)
    limits = _estimate(2 * sizes.assigned * 2730 * d * 2, seconds=sizes.assigned * d * 4 / 5e9)
    yield Part("novelty", f"{sizes.assigned:,} x {d}", partial(_novelty, sizes), _largest, "largest", 2e-3, limits)
    shape = f"{sizes.fitted:,} and {sizes.fitted // 2:,} x {d}"
    yield Part("probes", shape, partial(_probes, sizes), _largest, "largest of accuracies", 0.01, _estimate(1e12, 500))


def _estimate(flop: float, steps: int = 0, seconds: float = 0.0) -> tuple[float, float]:
    """Seconds from floating-point operations, steps and others: from all of the speed to a tenth of it."""
    least = flop / _FLOPS + steps * _STEP + seconds
    return least, 10 * flop / _FLOPS + 2 * steps * _STEP + 3 * seconds + 0.5


@cache
def _features(n: int, sizes: Sizes, *, stream: int = 0) -> Features:
    """Features with labels; the samples of another stream are others of the same classes."""
    mixture = Mixture(n, sizes.dim, sizes.n_clusters)
    labels = np.arange(n) % sizes.n_clusters
    starts = range(0, n, 8_192)
    blocks = [mixture.rows(labels[start : start + 8_192], 10_000 * stream + start) for start in starts]
    return Features.from_array(np.concatenate(blocks), labels=labels)


def _embed(name: str, precision: str, sizes: Sizes) -> Compute:
    """Features of the first of many random images; on the CPU in float32, whatever the precision, and of these only."""
    from headclust.backbones import untrained_backbone
    from headclust.device import forward, resolve_precision

    backbone = _backbone(name, untrained_backbone)
    shape = (sizes.batch_size, *backbone.preprocessing.size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def compute(device: torch.device) -> torch.Tensor:
        on_cpu = device.type == "cpu"
        resolved = "float32" if on_cpu else resolve_precision(device, precision)
        model = forward(backbone.model, backbone.preprocessing.normalize, device, resolved)
        if on_cpu:
            return model(pixels[:_CPU_IMAGES])
        results = [model(pixels) for _ in range(sizes.images // sizes.batch_size)]
        return results[-1][:_CPU_IMAGES].cpu()

    return compute


@cache
def _backbone(name: str, make: Callable[..., Any]) -> Any:
    return make(name)


def _search(sizes: Sizes) -> Compute:
    from headclust.graph.neighbors import nearest_neighbors

    rows = _features(sizes.searched, sizes).all()
    return lambda device: nearest_neighbors(rows.to(device), min(25, len(rows) - 1)).indices.numpy()


def _vectors(sizes: Sizes) -> Compute:
    from headclust.graph.eigenvectors import leading_eigenvectors
    from headclust.graph.matrix import affinity, normalized
    from headclust.graph.neighbors import nearest_neighbors

    graph = nearest_neighbors(_features(sizes.searched, sizes).all(), min(10, sizes.searched - 1))
    matrix = normalized(affinity(graph, temperature=0.1))
    return lambda device: leading_eigenvectors(matrix, sizes.many, seed=0, device=device)[0].numpy()


def _kmeans(sizes: Sizes) -> Compute:
    from headclust.methods.lloyd import restarts
    from headclust.model import fit_transform

    features = _features(sizes.searched, sizes)
    rows = fit_transform(features, "pca", n_components=256).rows(features)

    def compute(device: torch.device) -> float:
        points = rows.to(device)
        return restarts(points, sizes.many, n_heads=1, max_iter=30, tolerance=0, seed=0)[0].inertia

    return compute


def _fit(method: str, sizes: Sizes) -> Compute:
    if sizes is not TINY:
        _fit(method, TINY)(torch.device("cpu"))  # so that imports are not measured
    unlabeled = Features.from_array(_features(sizes.fitted, sizes).all().numpy())
    recipe = Recipe.of(method).changed({"n_clusters": sizes.n_clusters})
    short: dict[str, Any] = {"unit": "steps", "length": sizes.steps, "warmup": 0}
    if sizes is TINY:
        short["n_heads"] = 2
    if method != "consensus" or sizes is TINY:
        recipe = recipe.changed(
            {n: short[n.rpartition(".")[2]] for n in recipe.values if n.rpartition(".")[2] in short}
        )
    return lambda device: recipe.fit([unlabeled], 0, device=device).assignments


def _assign(sizes: Sizes) -> Compute:
    from headclust.model import ClusterModel, fit_transform
    from headclust.model.heads import LinearHeads

    features = _features(sizes.assigned, sizes)
    transform = fit_transform(_features(sizes.fitted, sizes), "pca", n_components=256)
    assert transform.matrix is not None
    dims = (transform.matrix.shape[1],)
    heads = LinearHeads(feature_dims=dims, n_clusters=sizes.n_clusters, n_heads=16).requires_grad_(False)
    model = ClusterModel((transform,), heads, tuple(range(16)), 0.1)
    return lambda device: model.to(device).assign(features).clusters


def _novelty(sizes: Sizes) -> Compute:
    from headclust.runs import novelty

    seen = novelty.keep([_features(sizes.fitted, sizes)], 0)
    features = _features(sizes.assigned, sizes, stream=1)
    return lambda device: novelty.measure(seen, [features], device=device)


def _probes(sizes: Sizes) -> Compute:
    from headclust.scoring.probes import probe

    train, test = _features(sizes.fitted, sizes), _features(sizes.fitted // 2, sizes, stream=1)
    return lambda device: np.array(list(probe(train, test, device=device).values()))


def _relative(result: Any, expected: Any) -> float:
    result, expected = np.asarray(result, np.float64), np.asarray(expected, np.float64)
    return float(np.linalg.norm(result - expected) / np.linalg.norm(expected))


def _largest(result: Any, expected: Any) -> float:
    return float(np.abs(result - expected).max())


def _others(result: Any, expected: Any) -> float:
    """Share of rows, or of the neighbors in them, that are others, in any order."""
    if expected.ndim == 1:
        return float((result != expected).mean())
    pairs = zip(result, expected, strict=True)
    return 1 - float(np.mean([len(np.intersect1d(row, other)) / len(other) for row, other in pairs]))


def _rand(result: Any, expected: Any) -> float:
    from sklearn.metrics import adjusted_rand_score

    return 1 - float(adjusted_rand_score(expected, result))
