"""What embedding and fitting cost, counted from the shapes of models and of one training step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from headclust.backbones import untrained_backbone
from headclust.backbones.catalog import CATALOG
from headclust.methods import configure, find_preset, settings
from headclust.methods.consensus.partitions import Partitions
from headclust.training.sampling import Samples
from headclust.training.stages import Schedule, Stage
from headclust.training.train import train_stage
from study.plan import Cell, Wanted

# Operations a second that are kept up, and cores that decode images. The CPU's is what this project's benchmarks reach
# on two cores (docs/benchmarks.md); the accelerator's are assumptions about a data center's card, never measured here.
CPU_SPEED, CPU_CORES = 0.15e12, 2
GPU_EMBEDDING_SPEED, GPU_FITTING_SPEED, GPU_CORES = 40e12, 10e12, 16
# Pixels of a JPEG that a core decodes and scales in a second, and seconds a step takes besides its matrix products.
_DECODING, _CPU_STEP, _GPU_STEP = 25e6, 4e-3, 1e-3
_ROWS = 64  # of the batch on which a training step's operations are counted
_RESTARTS = ("kmeans", "spherical-kmeans", "spectral")  # methods without training steps that can be counted
_PASSES = 200  # over the data: of a restart of k-means, and of a linear probe's solver


@dataclass(frozen=True)
class Cost:
    """What something takes.

    Attributes:
        cpu: Seconds on two cores, without an accelerator.
        gpu: Seconds of an accelerator, where there is one; 0 for what does not run on it.
        beside: Of the seconds on the CPU those that stay there when there is an accelerator.
        size: Bytes of disk that stay.
        source: "measured" here before, "counted" from the shapes, "unknown", or "done".
    """

    cpu: float = 0.0
    gpu: float = 0.0
    beside: float = 0.0
    size: float = 0.0
    source: str = "counted"

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.gpu + other.gpu, self.beside + other.beside, self.size + other.size)


_UNKNOWN = Cost(source="unknown")


def embedding_cost(wanted: Wanted) -> Cost:
    """What making a feature file takes: the model's operations, and decoding."""
    operations, dim = _model(wanted.backbone, wanted.image_size)
    n, views = wanted.n_samples, 1 + wanted.views
    decoding = n * wanted.dataset.image_size**2 / _DECODING
    running = n * views * operations
    return Cost(
        cpu=decoding / CPU_CORES + running / CPU_SPEED,
        gpu=max(decoding / GPU_CORES, running / GPU_EMBEDDING_SPEED),
        size=4.0 * n * views * dim,
    )


@cache
def _model(backbone: str, image_size: int | None) -> tuple[int, int]:
    """Floating-point operations of an image, counted on a model without weights or memory, and the features' width."""
    made = untrained_backbone(backbone, image_size=image_size, device="meta")
    device = next(made.model.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made.model(torch.empty(1, 3, *made.preprocessing.size, device=device))
    return counter.get_total_flops(), made.feature_dim


def cell_cost(cell: Cell) -> Cost:
    """What a fit or probes take: the neighbor search, then the operations of every training step or pass.

    Fits that stop after a time are counted with that time. What no formula here says is unknown.
    """
    n, dim, k = cell.fit.n_samples, _dim(cell), cell.fit.dataset.n_classes
    if cell.kind == "probes":
        votes, linear = 2.0 * n * (n + cell.evaluation.n_samples) * dim, 4.0 * n * dim * k * _PASSES
        seconds = (votes + linear) / CPU_SPEED
        return Cost(cpu=seconds, beside=seconds)
    changes = tuple(sorted(cell.settings.items()))
    return _fit_cost(cell.method, cell.preset, changes, n, dim, k, cell.fit.views)


@cache
def _fit_cost(
    method: str, preset: str, changes: tuple[tuple[str, Any], ...], n: int, dim: int, k: int, n_views: int
) -> Cost:
    _, recipe = find_preset(method, preset)
    recipe = configure(configure(recipe, dict(changes)), {"n_clusters": k})
    searches = any(one.name.rpartition(".")[2] == "n_neighbors" for one in settings(recipe))
    search = 2.0 * n * n * dim if searches else 0.0
    found = Cost(cpu=search / CPU_SPEED, gpu=search / GPU_FITTING_SPEED)
    if isinstance(recipe[0], Stage):
        return sum(_stages(recipe, n, dim, n_views), found)
    if isinstance(recipe[0], Partitions):
        first, refinement = recipe
        width = min(first.n_components, dim, n - 1)
        stages = (replace(refinement, n_heads=first.n_heads, n_clusters=k),) if refinement.length else ()
        return sum(_stages(stages, n, width, 0) if stages else [], found) + _restarts(
            first.n_heads * first.tries, n, k, width
        )
    return found + _restarts(getattr(recipe[0], "n_heads", 1), n, k, dim) if method in _RESTARTS else _UNKNOWN


def _restarts(number: int, n: int, k: int, dim: int) -> Cost:
    """What restarts of k-means take, on the CPU."""
    seconds = 2.0 * number * _PASSES * n * k * dim / CPU_SPEED
    return Cost(cpu=seconds, beside=seconds)


def _dim(cell: Cell) -> int:
    known = CATALOG.get(cell.fit.backbone)
    return known.dim if known else _model(cell.fit.backbone, cell.fit.image_size)[1]


def _stages(recipe: tuple[Stage, ...], n: int, dim: int, n_views: int) -> list[Cost]:
    """What each stage takes."""
    first, costs = recipe[0], []
    width = min(first.n_components, dim, n - 1) if first.transform == "pca" else dim
    for stage, operations in zip(recipe, _step_operations(_one_step(recipe), width, n_views), strict=True):
        batch = min(stage.batch_size, n)
        steps = Schedule(stage, steps_per_epoch=n // batch).n_steps
        running = operations * first.n_heads * batch * steps
        limit = stage.max_seconds or math.inf
        costs.append(
            Cost(
                cpu=min(limit, running / CPU_SPEED + steps * _CPU_STEP),
                gpu=min(limit, running / GPU_FITTING_SPEED + steps * _GPU_STEP),
            )
        )
    return costs


class _Steps(tuple[Stage, ...]):
    """Stages of one step each, told apart by all they say, as a cache needs it."""

    def __hash__(self) -> int:
        return hash(repr(self))


def _one_step(recipe: tuple[Stage, ...]) -> _Steps:
    off: dict[str, Any] = {
        "warmup": 0,
        "freeze_last_layer": 0,
        "patience": 0,
        "max_seconds": 0.0,
        "checkpoint_every": 0,
    }
    return _Steps(
        replace(stage, n_heads=1, n_clusters=recipe[0].n_clusters, batch_size=_ROWS, unit="steps", length=1, **off)
        for stage in recipe
    )


@cache
def _step_operations(stages: _Steps, width: int, n_views: int) -> tuple[float, ...]:
    """Operations a head and row of one training step of each stage, counted while taking it on random numbers."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1 + n_views, _ROWS, width, generator=generator)
    neighbors = torch.randint(_ROWS, (_ROWS, 1), generator=generator)
    samples = Samples((rows[0],), neighbors, (rows[1:],) if n_views else ())
    trained: Any = None
    counts = []
    for position, stage in enumerate(stages):
        start = None if trained is None else trained.heads
        with FlopCounterMode(display=False) as counter:
            trained = train_stage(stage, samples, seed=0, start=start, position=position)
        counts.append(counter.get_total_flops() / _ROWS)
    return tuple(counts)
