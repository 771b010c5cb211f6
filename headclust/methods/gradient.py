"""Any recipe of gradient stages on feature spaces: what TEMI, SCAN, IMC-SwAV, CLC and TURTLE share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from headclust.errors import DataError, SettingError
from headclust.features import Features
from headclust.graph.neighbors import neighbor_list
from headclust.methods.result import FitResult, check_fit, conclude
from headclust.model import ClusterModel, FeatureTransform, ensemble, fit_transform
from headclust.progress import note
from headclust.training.sampling import Samples, needs_neighbors
from headclust.training.stages import Stage, build_objective
from headclust.training.train import Trained, train_stage


def fit(
    spaces: tuple[Features, ...], recipe: tuple[Stage, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Trains the heads of a recipe, stage after stage. The head with the lowest loss of the first stage speaks.

    The first stage's loss, because it is what tells clusterings apart: what a later stage refines is not comparable
    between heads.

    Args:
        spaces: Feature spaces of the same samples: one, or several where the heads take them.
        recipe: Stages, the first one's n_clusters resolved.
        seed: The fit's seed.
        device: Where to compute; the CPU by default.

    Raises:
        SettingError: Too many spaces, or a number of clusters that is not possible.
        DataError: A single sample, which has no neighbors.
    """
    first, *later = recipe
    if first.length == 0:
        raise SettingError("length is 0: expected more than 0. Only a later stage can be left out.")
    recipe = (first, *(stage for stage in later if stage.length))
    check_fit(spaces, recipe, at_least=2)
    device = device or torch.device("cpu")
    plain = tuple(space.all().to(device) for space in spaces)
    transforms = tuple(fit_transform(x, first.transform, n_components=first.n_components) for x in plain)
    samples = Samples(tuple(transform(x) for transform, x in zip(transforms, plain, strict=True)))
    trained: Trained | None = None
    losses: list[float] = []
    history: list[dict[str, Any]] = []
    kept: list[tuple[int, Any]] = []
    steps = 0
    for position, stage in enumerate(recipe):
        samples = _with_partners(samples, spaces, stage, first.n_clusters, transforms)
        start = None if trained is None else trained.heads
        chosen = ensemble.choose(losses) if losses else None
        trained = train_stage(stage, samples, seed=seed, start=start, position=position, chosen=chosen)
        losses = losses or trained.losses
        named = {} if len(recipe) == 1 else {"stage": stage.objective}
        history += [{**named, **record} for record in trained.history]
        kept += [(steps + step, heads) for step, heads in trained.checkpoints]
        steps += trained.history[-1]["step"]
    assert trained is not None
    model = ClusterModel(transforms, trained.heads, (ensemble.choose(losses),), trained.temperature)
    checkpoints = [(step, ClusterModel(transforms, heads, (0,), trained.temperature)) for step, heads in kept]
    return conclude(model, *plain, losses=losses, history=history, checkpoints=checkpoints)


def _with_partners(
    samples: Samples,
    spaces: tuple[Features, ...],
    stage: Stage,
    n_clusters: int,
    transforms: tuple[FeatureTransform, ...],
) -> Samples:
    """The samples with what a stage draws partners from: neighbors, cached views."""
    wanted = build_objective(stage, n_heads=1, n_clusters=2, feature_dims=(1,) * len(spaces), seed=0).views
    cached = any(name in ("augmented", "strong") for name in wanted)
    device = samples.spaces[0].device
    has_views = all(space.n_views for space in spaces)
    if len({space.n_views for space in spaces}) > 1 and (cached or stage.augment):
        raise DataError(
            f"the feature files hold {', '.join(str(space.n_views) for space in spaces)} views: expected equal numbers."
        )
    if has_views and not samples.views and (cached or stage.augment):
        views = (
            torch.stack([transform(space.rows(slice(None), view=view).to(device)) for view in range(space.n_views)])
            for space, transform in zip(spaces, transforms, strict=True)
        )
        samples = replace(samples, views=tuple(views))
    _tell_of_views(stage, sum(name in ("augmented", "strong") for name in wanted), spaces)
    if needs_neighbors(wanted, has_views=has_views):
        if len(spaces) > 1:
            note(f"neighbors are those of the first feature file, in {stage.objective}.")
        k = usable_neighbors(stage.n_neighbors, len(samples), n_clusters)
        listed = neighbor_list(spaces[0], k, stage.neighbor_list, device=device)
        samples = replace(samples, neighbors=listed.to(device))
    return samples


def _tell_of_views(stage: Stage, n_wanted: int, spaces: tuple[Features, ...]) -> None:
    n_views = min(space.n_views for space in spaces)
    if not n_views and (n_wanted or stage.augment):
        without = "neighbors stand in for them" if n_wanted else "anchors and neighbors are the plain images"
        note(f"the features hold no augmented views: {without} in {stage.objective}. For views, embed with --views 2.")
    elif 0 < n_views < n_wanted:
        note(
            f"the features hold {n_views} augmented of the {n_wanted} views of a sample that {stage.objective} wants: "
            f"it sees one twice. For more, embed with --views {n_wanted}."
        )


def usable_neighbors(n_neighbors: int, n_samples: int, n_clusters: int) -> int:
    """`n_neighbors`, or as many as there are; says so when they reach beyond an even cluster."""
    k = min(n_neighbors, n_samples - 1)
    if k > n_samples / n_clusters:
        note(
            f"warning: n_neighbors is {k}, more than the {n_samples // n_clusters} samples of an even "
            "cluster: many pairs will cross clusters. Lower it with --set n_neighbors=K, or try --method kmeans."
        )
    return k
