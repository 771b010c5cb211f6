"""Expected CPU seconds of a cell, from the parts of its computation and their measured costs.

Each part has a unit, whose seconds are a sum of terms: numbers of operations, by formulas of the sizes below, times the
coefficients in `costs.json`, which `python benchmarks/scale.py --costs` measures with one thread of a CPU.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from headclust.graph.search import resolve
from headclust.methods import Recipe
from headclust.methods.consensus.partitions import GRAPH_SIZES, kind, n_restarts, neighbors_within_cluster
from headclust.methods.consensus.refinement import limited
from headclust.training.stages import Schedule, Stage

FILE = Path(__file__).with_name("costs.json")
_SEEDED = 25_000  # rows that seeds of k-means are drawn from, at most
_FAR = 4.0  # times the largest measured amount of a term, above which a cost is extrapolated
Terms = Mapping[str, float]


class Sizes(NamedTuple):
    """Sizes that the cost of a cell depends on, beside its recipe."""

    n: int  # fitted samples
    d: int  # feature dimensions
    views: int = 0  # cached views per sample
    n_scored: int = 0  # samples that are scored
    n_classes: int = 0


class Part(NamedTuple):
    """A part of the computation: its unit, the amounts of its terms, and how many times it is done."""

    unit: str
    terms: Terms
    times: float = 1


@dataclass(frozen=True)
class Cost:
    """The cost of a fit or of probes.

    Attributes:
        parts: CPU seconds by unit, those of one unit added.
        is_extrapolated: True if a term is more than four times as large as the largest measured one.
    """

    parts: Mapping[str, float]
    is_extrapolated: bool

    @property
    def seconds(self) -> float:
        """The sum."""
        return sum(self.parts.values())


def products(n: float, m: float, d: float) -> Terms:
    """Terms of n x m inner products in d dimensions, and what is done with each of them."""
    return {"pairs": n * m, "products": n * m * d}


def search_terms(name: str, n: int, d: int) -> Terms:
    """Terms of a search of the neighbors of all samples: lists are about as many as the root of n."""
    return products(n, n, d) if name == "exact" else {"rows": n, "products": n**1.5 * d}


def restart_terms(n: int, k: int, d: int) -> Terms:
    """Terms of a restart of k-means: seeds from at most 25,000 rows, and iterations over all."""
    return {"seeding": min(n, _SEEDED) * k * d, "pairs": n * k, "products": n * k * d}


def eigen_terms(n: int, vectors: int) -> Terms:
    """Terms of the leading eigenvectors of a neighbor graph: sparse products, and dense ones."""
    return {"vectors": n * vectors, "squares": n * vectors**2}


def score_terms(n: int, k: int) -> Terms:
    """Terms of comparing two clusterings of n samples."""
    return {"samples": n, "pairs": n * k}


def own_stages(recipe: Recipe) -> list[Stage]:
    """The stages of gradient training, each with the heads that the first of them has."""
    stages = [stage for stage in recipe.stages if isinstance(stage, Stage)]
    return [replace(stage, head=stages[0].head, head_settings=stages[0].head_settings) for stage in stages]


def step_terms(stage: Stage, d: int, k: int) -> Terms:
    """Terms of a training step: what every step costs, logits, and products with the weights of the heads."""
    rows = len(stage.traits.views) * stage.batch_size
    return {"steps": 1, "logits": rows * stage.n_heads * k, "products": rows * stage.n_heads * _weights(stage, d, k)}


def _weights(stage: Stage, d: int, k: int) -> int:
    """Weights of one head."""
    from headclust.model.heads import HEADS

    head = HEADS[stage.head](feature_dims=(d,), n_clusters=k, n_heads=1, seed=0, **stage.head_values)
    return sum(int(parameter.numel()) for parameter in head.parameters())


def step_unit(stage: Stage) -> str:
    """The unit of a training step."""
    return f"step {stage.objective}/{stage.head}"


def expected(kind: str, recipe: Recipe | None, sizes: Sizes) -> Cost | None:
    """The cost of a cell; None if a part of it was not measured, or its method is not modeled.

    Args:
        kind: "fit" or "probes".
        recipe: Of a fit, with the number of clusters.
        sizes: Of the features.
    """
    units = read_costs()
    if kind == "probes":
        parts = list(_probes(sizes))
    elif recipe is None or recipe.method not in _METHODS or recipe.n_clusters < 1:
        return None
    else:
        parts = [*_METHODS[recipe.method](recipe, sizes), *_scores(recipe, sizes)]
    seconds: dict[str, float] = {}
    is_extrapolated = False
    for unit, terms, times in parts:
        if unit not in units:
            return None
        cost, is_far = evaluate(units[unit], terms)
        seconds[unit] = seconds.get(unit, 0.0) + times * cost
        is_extrapolated |= is_far
    return Cost(seconds, is_extrapolated)


def evaluate(unit: Mapping[str, Any], terms: Terms) -> tuple[float, bool]:
    """Seconds of one unit, and true if they are extrapolated."""
    largest = unit["largest"]
    is_far = any(terms[name] > _FAR * largest[name] for name in terms)
    return sum(unit["seconds"][name] * amount for name, amount in terms.items()), is_far


@functools.cache
def read_costs() -> Mapping[str, Any]:
    """The units in `costs.json`, by name; none without the file."""
    try:
        units: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))["units"]
    except FileNotFoundError:
        return {}
    return units


def _read(sizes: Sizes) -> Part:
    return Part("read", {"values": sizes.n * sizes.d * (1 + sizes.views)})


def _search(n: int, d: int) -> Part:
    name = resolve("auto", n, torch.device("cpu"))
    return Part(f"neighbors {name}", search_terms(name, n, d))


def _assign(n: int, heads: int, k: int, d: int) -> Part:
    return Part("assign", {"logits": n * heads * k, "products": n * heads * k * d})


def _pca(n: int, d: int) -> Part:
    return Part("pca", {"values": n * d, "products": n * d**2})


def _scores(recipe: Recipe, sizes: Sizes) -> Iterator[Part]:
    """Scores of the fitted and of the scored samples."""
    yield Part("score", score_terms(sizes.n + sizes.n_scored, recipe.n_clusters))


def _consensus(recipe: Recipe, sizes: Sizes) -> Iterator[Part]:
    first, refinement = recipe.stages
    k, heads = first.n_clusters, first.n_heads
    at_most = first.samples_at_most or max(100_000, 100 * k)
    n, d = min(sizes.n, at_most), min(first.n_components, sizes.d)
    yield _read(sizes)
    yield _pca(n, sizes.d)
    if first.whiten:
        views = sizes.views if first.views else 0
        pairs = math.comb(views + 1, 2) or neighbors_within_cluster(first.n_neighbors, n, k)
        yield Part("scatter", {"products": n * d**2}, pairs)
        if not views:
            yield _search(n, d)
    yield _search(n, d)
    cuts = [head for head in range(heads) if kind(first, head) == "graph"]
    if cuts:
        most = min(math.ceil(first.most_vectors * k), first.vectors_at_most, n)
        yield Part("eigenvectors", eigen_terms(n, most), min(len(cuts), len(GRAPH_SIZES)))
        vectors = min(math.ceil((first.fewest_vectors + first.most_vectors) / 2 * k), most)
        yield Part("restart", restart_terms(n, k, vectors), sum(n_restarts(first, head) for head in cuts))
    if of_rows := set(range(heads)) - set(cuts):  # the walks themselves take a second
        yield Part("restart", restart_terms(n, k, d), sum(n_restarts(first, head) for head in of_rows))
    if refinement.length:
        yield from _steps(limited(refinement, first.passes, n), n, d, k, heads)
    looks = 3 if refinement.length else 1  # at the clusters of all heads, for the neighbor information
    yield _assign(n, heads, k, d)._replace(times=looks)
    yield Part("score", score_terms(n, k), heads)  # ids that all heads share
    yield _assign(sizes.n + sizes.n_scored, heads, k, d)


def _kmeans(recipe: Recipe, sizes: Sizes) -> Iterator[Part]:
    (stage,) = recipe.stages
    yield _read(sizes)
    yield Part("restart", restart_terms(sizes.n, stage.n_clusters, sizes.d), stage.n_heads)
    yield _assign(sizes.n + sizes.n_scored, stage.n_heads, stage.n_clusters, sizes.d)


def _spectral(recipe: Recipe, sizes: Sizes) -> Iterator[Part]:
    values, n, k = recipe.values, sizes.n, recipe.n_clusters
    vectors = min(math.ceil(values["vectors"] * k), n)
    yield _read(sizes)
    yield _search(n, sizes.d)
    yield Part("eigenvectors", eigen_terms(n, vectors))
    yield Part("restart", restart_terms(n, k, vectors), values["n_heads"])
    yield Part("neighbors exact", products(sizes.n_scored, n, sizes.d))  # votes of neighbors for new samples


def _gradient(recipe: Recipe, sizes: Sizes) -> Iterator[Part]:
    first, n = recipe.stages[0], sizes.n
    yield _read(sizes)
    d = sizes.d
    if first.transform == "pca":
        d = min(first.n_components, d)
        yield _pca(n, sizes.d)
    yield _search(n, sizes.d)
    for stage in own_stages(recipe):
        yield from _steps(stage, n, d, first.n_clusters, first.n_heads)
    yield _assign(n + sizes.n_scored, first.n_heads, first.n_clusters, d)


def _steps(stage: Stage, n: int, d: int, k: int, heads: int) -> Iterator[Part]:
    """The steps of a stage; a time limit, if it has any, ends them."""
    stage = replace(stage, n_heads=heads, n_clusters=k, batch_size=min(stage.batch_size, n))
    n_steps = Schedule(stage, steps_per_epoch=n // stage.batch_size).n_steps if stage.length else 0
    terms = step_terms(stage, d, k)
    unit = read_costs().get(step_unit(stage))
    if stage.max_seconds and unit:
        n_steps = min(n_steps, math.ceil(stage.max_seconds / max(evaluate(unit, terms)[0], 1e-6)))
    yield Part(step_unit(stage), terms, n_steps)


def _probes(sizes: Sizes) -> Iterator[Part]:
    yield _read(sizes)
    # The neighbors of at most 20,000 fitted and 20,000 scored samples, and a linear probe of at most 100,000.
    n_searched = sum(min(n, 20_000) for n in (sizes.n, sizes.n_scored))
    yield Part("neighbors exact", products(n_searched, sizes.n, sizes.d))
    yield Part("linear probe", {"products": min(sizes.n, 100_000) * sizes.d * sizes.n_classes})


_METHODS: dict[str, Callable[[Recipe, Sizes], Iterator[Part]]] = {
    "consensus": _consensus,
    "kmeans": _kmeans,
    "spherical-kmeans": _kmeans,
    "spectral": _spectral,
    **dict.fromkeys(("temi", "wmi", "pmi", "temi-scan", "scan", "clc", "imc-swav", "turtle"), _gradient),
}
