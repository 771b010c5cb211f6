"""Gradient stages on feature spaces: the fit that TEMI, SCAN, IMC-SwAV, CLC and TURTLE share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headclust.errors import DataError, SettingError
from headclust.features import Features
from headclust.group import current
from headclust.methods.result import FitResult, check_fit, conclude
from headclust.progress import note
from headclust.training.parts import needs_neighbors
from headclust.training.stages import Stage

if TYPE_CHECKING:
    import torch

    from headclust.model import ClusterModel, FeatureTransform
    from headclust.training.sampling import Samples
    from headclust.training.train import Trained


def fit(
    spaces: tuple[Features, ...], stages: tuple[Stage, ...], seed: int, *, device: torch.device | None = None
) -> FitResult:
    """Train the heads of a recipe, stage after stage. The head with the lowest loss of the first stage is used.

    The loss of the first stage compares clusterings; the losses of later stages are not comparable between heads.

    Args:
        spaces: Feature spaces of the same samples: one, or several if the heads take them.
        stages: Stages of a recipe, n_clusters of the first resolved.
        seed: The fit's seed.
        device: Where to compute; the CPU by default.

    Raises:
        SettingError: Too many spaces, or a number of clusters that is not possible.
        DataError: A single sample, which has no neighbors.
    """
    import torch

    from headclust.model import ClusterModel, ensemble, fit_transform
    from headclust.training.sampling import Samples
    from headclust.training.train import train_stage

    first, *later = stages
    if first.length == 0:
        raise SettingError("length is 0: expected more than 0. Only a later stage can be left out.")
    stages = (first, *(stage for stage in later if stage.length))
    check_fit(spaces, stages, at_least=2)
    device = device or torch.device("cpu")
    transforms = tuple(
        fit_transform(space, first.transform, n_components=first.n_components, device=device, group=current())
        for space in spaces
    )
    # Training needs the transformed rows only; the others are read again at the end.
    pairs = zip(transforms, spaces, strict=True)
    samples = Samples(tuple(transform.rows(space, device=device) for transform, space in pairs))
    trained: Trained | None = None
    losses: list[float] = []
    history: list[dict[str, Any]] = []
    checkpoints: list[tuple[int, ClusterModel]] = []
    steps = 0
    for position, stage in enumerate(stages):
        samples, searched = _with_partners(samples, spaces, stage, first.n_clusters, transforms)
        start = None if trained is None else trained.heads
        chosen = ensemble.choose(losses) if losses else None
        trained = train_stage(stage, samples, seed=seed, start=start, position=position, chosen=chosen, group=current())
        losses = losses or trained.losses
        label = {} if len(stages) == 1 else {"stage": stage.objective}
        history += [{**label, **record} for record in (*searched, *trained.history)]
        checkpoints += [
            (steps + step, ClusterModel(transforms, heads, (0,), trained.temperature))
            for step, heads in trained.checkpoints
        ]
        steps += trained.history[-1]["step"]
    assert trained is not None
    model = ClusterModel(transforms, trained.heads, (ensemble.choose(losses),), trained.temperature)
    return conclude(model, *spaces, losses=losses, history=history, checkpoints=checkpoints)


def _with_partners(
    samples: Samples,
    spaces: tuple[Features, ...],
    stage: Stage,
    n_clusters: int,
    transforms: tuple[FeatureTransform, ...],
) -> tuple[Samples, list[dict[str, Any]]]:
    """The samples with the neighbors and cached views from which a stage draws its views; records of the search."""
    import torch

    from headclust.graph.cached import cached_neighbors
    from headclust.graph.lists import neighbor_list

    stage_views = stage.traits.views
    cached = any(name in ("augmented", "strong") for name in stage_views)
    device = samples.spaces[0].device
    has_views = all(space.n_views for space in spaces)
    if len({space.n_views for space in spaces}) > 1 and (cached or stage.augment):
        raise DataError(
            f"the feature files hold {', '.join(str(space.n_views) for space in spaces)} views: expected equal numbers."
        )
    if has_views and not samples.views and (cached or stage.augment):
        views = (
            torch.stack([transform.rows(space, view=view, device=device) for view in range(space.n_views)])
            for space, transform in zip(spaces, transforms, strict=True)
        )
        samples = replace(samples, views=tuple(views))
    _note_views(stage, sum(name in ("augmented", "strong") for name in stage_views), spaces)
    if needs_neighbors(stage_views, has_views=has_views):
        if len(spaces) > 1:
            note(f"neighbors are those of the first feature file, in {stage.objective}.")
        k = usable_neighbors(stage.n_neighbors, len(samples), n_clusters)
        graph = cached_neighbors(spaces[0], k, search=stage.neighbor_search, device=device, group=current())
        listed = neighbor_list(graph.indices, stage.neighbor_list)
        return replace(samples, neighbors=listed), graph.history
    return samples, []


def _note_views(stage: Stage, n_needed: int, spaces: tuple[Features, ...]) -> None:
    """Log if the features hold fewer cached views than the `n_needed` of a stage."""
    n_views = min(space.n_views for space in spaces)
    if not n_views and (n_needed or stage.augment):
        without = "neighbors stand in for them" if n_needed else "anchors and neighbors are the plain images"
        note(f"the features hold no augmented views: {without} in {stage.objective}. For views, embed with --views 2.")
    elif 0 < n_views < n_needed:
        note(
            f"the features hold {n_views} of the {n_needed} augmented views per sample that {stage.objective} uses: "
            f"one is used twice. For more, embed with --views {n_needed}."
        )


def usable_neighbors(n_neighbors: int, n_samples: int, n_clusters: int) -> int:
    """`n_neighbors`, at most n_samples - 1; warn if that is more than the samples of an even cluster."""
    k = min(n_neighbors, n_samples - 1)
    if k > n_samples / n_clusters:
        note(
            f"warning: n_neighbors is {k}, more than the {n_samples // n_clusters} samples of an even "
            "cluster: many pairs will cross clusters. Lower it with --set n_neighbors=K, or try --method kmeans."
        )
    return k
