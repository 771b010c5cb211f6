"""The default under constraints: the heads of an earlier run, changed by what a person has fixed, and only by that.

1. The heads go on from those of the run (`_continued`): groups that were merged add their probabilities, a new group
   starts as a faint copy of the group that its images come from, and a group that is split gets a discriminant of its
   parts. Without a run to go on from, they are one discriminant of the groups.
2. The fixes change the heads (`_evidence`): a Bayesian logistic regression with the heads as its prior. Without a fix
   the change is zero.
3. The images of fixes get groups that satisfy all of them (`_keep`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust.features import Features
from headclust.group import current
from headclust.methods.consensus.pair_whitening import space_transform
from headclust.methods.consensus.partitions import Partitions, neighbors_within_cluster
from headclust.methods.consensus.splitting import split_groups
from headclust.methods.constraints import Constraints
from headclust.methods.result import FitResult, conclude
from headclust.progress import note
from headclust.seeding import BATCH_STREAM, stream_seed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from headclust.model.heads.linear import LinearHeads

_TEMPERATURE = 3.0  # of the softmax over the logits of a discriminant, which is overconfident
_VARIANCE = 10.0  # of the change of an average image's logit that is expected before any fix is seen
_FAINT = 2.0  # log of a group's probability over that of a new group that starts as its copy
_PINNED = 8_192  # pinned samples that the change is fitted to, at most
_STEPS = 100  # of L-BFGS
_LEAST = 1e-6  # of the probability that two samples do not share a group


def refit(
    spaces: tuple[Features, ...],
    fitted: tuple[Features, ...],
    stages: tuple[Any, ...],
    seed: int,
    device: torch.device,
    constraints: Constraints,
    own: Constraints,
) -> FitResult:
    """The result of a fit under constraints.

    Args:
        spaces: Feature spaces of the same samples.
        fitted: Those of the samples that are fitted.
        stages: Both stages of the default.
        seed: The fit's seed, of the cuts of groups that are split.
        device: Where to compute.
        constraints: What a person has fixed.
        own: The part of it that is about the fitted samples.

    Raises:
        DataError: A group cannot be split.
    """
    from headclust.graph.neighbors import shared_neighbors
    from headclust.model import ClusterModel, side_by_side

    stage: Partitions = stages[0]
    start = None if own.start is None else own.start.to(device)
    transforms = start.transforms if start else tuple(space_transform(space, stage, device) for space in fitted)
    pairs = zip(transforms, fitted, strict=True)
    rows = side_by_side([transform.rows(space, device=device) for transform, space in pairs])
    temperature = start.temperature if start else stages[1].traits.temperature
    own = split_groups(rows, own, stage, seed)
    heads, group_of = _continued(start, rows, own, stage, temperature)
    used = start.used_heads if start else (0,)
    outputs = tuple(tuple(np.flatnonzero(group_of == group).tolist()) for group in range(own.n_groups))
    model = ClusterModel(transforms, heads, used, temperature, outputs)
    k = neighbors_within_cluster(stage.n_neighbors, len(rows), own.n_groups)
    change, record = _evidence(model, fitted, rows, shared_neighbors(rows, k, current()).indices, own, seed)
    _add_(heads, change[group_of] * temperature, rows.mean(0))
    losses = [0.0] * len(heads.weight)
    model = replace(model.renumbered(range(own.n_groups), own.n_groups), exponent=start.exponent if start else 1.0)
    result = conclude(model, *spaces, losses=losses, history=[record])
    return _keep(result, spaces, constraints)


def _continued(
    start: Any, rows: Tensor, own: Constraints, stage: Partitions, temperature: float
) -> tuple[LinearHeads, NDArray[np.int64]]:
    """Heads that go on from those of the run, and the group of each of their outputs, int64 (n_outputs,).

    Args:
        start: The run's model; None without one.
        rows: Transformed rows of the fitted samples.
        own: Constraints of these samples, with their splits done.
        stage: The settings of the discriminants.
        temperature: Of the softmax over the logits.
    """
    import torch

    from headclust.model.heads.linear import LinearHeads

    if start is None:
        has_group = torch.from_numpy(np.flatnonzero(own.groups >= 0))
        groups = torch.from_numpy(own.groups)[has_group][None].to(rows.device)
        heads = LinearHeads.discriminant(
            rows[has_group.to(rows.device)],
            groups,
            own.n_groups,
            shrinkage=stage.shrinkage,
            temperature=_TEMPERATURE / temperature,
        )
        return heads.requires_grad_(False).eval(), np.arange(own.n_groups)
    weight, bias = start.heads.weight.detach(), start.heads.cluster_bias.detach()
    outputs = start.outputs or tuple((output,) for output in range(start.heads.n_clusters))
    # Outputs of each group, and what is added to their logits: (group, output, weight (dim,), bias).
    own_outputs: dict[int, list[int]] = {group: [] for group in range(own.n_groups)}
    for cluster, group in enumerate(own.group_of):
        if group >= 0:
            own_outputs[group] += outputs[cluster]
    zero = torch.zeros_like(weight[0, 0])
    parts = [(group, output, zero, 0.0) for group, several in own_outputs.items() for output in several]
    for group, numbers in own.splits.items():
        parts = [part for part in parts if part[0] != group]
        weights, biases = _divided(rows, own.groups, numbers, stage, temperature)
        for place, number in enumerate(numbers):
            parts += [(number, output, weights[place], biases[place]) for output in own_outputs[group]]
    for group in sorted(set(range(own.n_groups)) - {part[0] for part in parts}):
        # The group that most of the new group's images come from, by the run's heads.
        pinned = torch.from_numpy(np.flatnonzero(own.pinned == group)).to(rows.device)
        probs = torch.softmax(start.heads(rows[pinned][None]).logits[0] / temperature, -1)[list(start.used_heads)]
        totals = probs.mean((0, 1)).tolist()
        source = max((g for g in own_outputs if own_outputs[g]), key=lambda g: sum(totals[o] for o in own_outputs[g]))
        parts += [(group, output, zero, -_FAINT * temperature) for output in own_outputs[source]]
    chosen = [output for _, output, _, _ in parts]
    state = {
        "weight": weight[:, chosen] + torch.stack([added for *_, added, _ in parts]),
        "cluster_bias": bias[:, chosen] + torch.tensor([added for *_, added in parts], device=bias.device),
    }
    return LinearHeads.from_state(state).requires_grad_(False).eval(), np.array([part[0] for part in parts])


def _divided(
    rows: Tensor, groups: NDArray[np.int64], numbers: Sequence[int], stage: Partitions, temperature: float
) -> tuple[Tensor, list[float]]:
    """Weights (n_parts, dim) and biases that divide the logit of a group among its parts.

    They are a discriminant of the parts. An average image of the group gets as much probability for all parts together
    as it had for the group.
    """
    import torch

    from headclust.model.heads.linear import LinearHeads

    members = torch.from_numpy(np.flatnonzero(np.isin(groups, numbers)))
    parts = torch.from_numpy(np.searchsorted(numbers, groups[members.numpy()]))[None].to(rows.device)
    own = rows[members.to(rows.device)]
    heads = LinearHeads.discriminant(
        own, parts, len(numbers), shrinkage=stage.shrinkage, temperature=_TEMPERATURE / temperature
    )
    logits = heads(own[None]).logits[0, 0].detach()
    level = temperature * torch.logsumexp(logits / temperature, 1).mean()
    return heads.weight[0].detach(), (heads.cluster_bias[0].detach() - level).tolist()


def _evidence(
    model: Any, fitted: tuple[Features, ...], rows: Tensor, neighbors: Tensor, own: Constraints, seed: int
) -> tuple[Tensor, dict[str, Any]]:
    """The change of the weights that follows from the fixes, in units of the temperature, (n_groups, dim).

    With p(g|x) by the model, the changed probabilities are q(g|x) ~ p(g|x) exp(<v_g, x - mean>), and v has a normal
    prior. Its mode minimizes the cross-entropy of pinned samples, and of the pairs -log sum_g q(g|x) q(g|x') together
    and -log(1 - sum_g q(g|x) q(g|x')) apart that the model does not satisfy (Hsu and Kira, "Neural network-based
    clustering using pairwise constraints", 2016, https://arxiv.org/abs/1511.06321), plus |v|^2 / 2 in the prior.

    Args:
        model: The heads before the change, its clusters the groups.
        fitted: Feature spaces of the fitted samples.
        rows: Their transformed rows, (n_fitted, dim).
        neighbors: Their neighbors, (n_fitted, k).
        own: Their constraints.
        seed: The fit's seed; of very many pinned samples, some are drawn.

    Returns:
        The change, float32, and a record for the history of the fit.
    """
    import torch

    pinned = np.flatnonzero(own.pinned >= 0)
    if len(pinned) > _PINNED:
        generator = np.random.default_rng(stream_seed(seed, BATCH_STREAM, 2))
        pinned = np.sort(generator.choice(pinned, _PINNED, replace=False))
    pairs = np.concatenate((own.together, own.apart))
    chosen = np.union1d(pinned, pairs.ravel())
    if not len(chosen):
        return torch.zeros(own.n_groups, rows.shape[1], device=rows.device), {"stage": "fixes", "pinned": 0, "pairs": 0}
    # log p, (n_chosen, n_groups).
    log_p = model.mean_probs(*(space.select(chosen) for space in fitted)).double().clamp_min(1e-12).log()
    best = log_p.argmax(1).numpy()
    first, second = np.searchsorted(chosen, pairs).T
    is_together = np.arange(len(pairs)) < len(own.together)
    open_ = np.flatnonzero((best[first] == best[second]) != is_together)
    n_together = int(is_together[open_].sum())
    first, second = torch.from_numpy(first[open_]), torch.from_numpy(second[open_])
    # Targets of pinned samples, (n_pinned, n_groups): their group, or p itself of those that the run has learned from.
    place = torch.from_numpy(np.searchsorted(chosen, pinned))
    targets = torch.nn.functional.one_hot(torch.from_numpy(own.pinned[pinned]), own.n_groups).double()
    is_old = (
        torch.zeros(len(pinned), dtype=torch.bool) if own.learned is None else torch.from_numpy(own.learned[pinned])
    )
    targets = torch.where(is_old[:, None], log_p[place].softmax(1), targets)
    basis = _prior(rows, neighbors)
    points = (rows[torch.from_numpy(chosen).to(rows.device)] - rows.mean(0)).double().cpu() @ basis
    values = torch.zeros(own.n_groups, points.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([values], max_iter=_STEPS, line_search_fn="strong_wolfe")
    losses: list[float] = []

    def loss() -> Tensor:
        optimizer.zero_grad()
        # log q, (n_chosen, n_groups).
        log_q = torch.log_softmax(log_p + points @ values.T, 1)
        same = torch.logsumexp(log_q[first] + log_q[second], 1)
        other = torch.log1p(-same[n_together:].exp().clamp_max(1 - _LEAST))
        fit = -(targets * log_q[place]).sum() - same[:n_together].sum() - other.sum()
        total = fit + values.square().sum() / 2
        total.backward()  # type: ignore[no-untyped-call]
        losses.append(float(fit.detach()))
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    record = {"stage": "fixes", "pinned": int((~is_old).sum()), "pairs": len(open_), "loss": [losses[0], losses[-1]]}
    return (values.detach() @ basis.T).to(rows), record


def _prior(rows: Tensor, neighbors: Tensor) -> Tensor:
    """The root of the prior covariance of a change of the weights, (dim, dim): change = root @ standard normal.

    The covariance is the square root of that between samples and their neighbors: a fix says more about what neighbors
    have in common than about what a single image has. It is scaled such that the change of an average sample's logit
    has the variance `_VARIANCE`.
    """
    import torch

    centered = rows - rows.mean(0)
    means = torch.zeros_like(centered)
    for column in neighbors.T:
        means += centered[column.long().to(rows.device)] / neighbors.shape[1]
    # Covariance between samples and the means of their neighbors, symmetric, (dim, dim); negative directions are noise.
    between = (centered.T @ means / len(rows)).double().cpu()
    values, vectors = torch.linalg.eigh((between + between.T) / 2)
    root: Tensor = vectors * values.clamp_min(0) ** 0.25
    variance = (centered.double().cpu() @ root).square().sum(1).mean()
    return root * math.sqrt(_VARIANCE / max(float(variance), 1e-12))


def _add_(heads: LinearHeads, change: Tensor, mean: Tensor) -> None:
    """Add <change, x - mean> to the logits of all heads; `change` is (n_outputs, dim)."""
    import torch

    with torch.no_grad():
        heads.weight.add_(change)
        heads.cluster_bias.sub_(change @ mean)


def _keep(result: FitResult, spaces: tuple[Features, ...], constraints: Constraints) -> FitResult:
    """A result whose assignments satisfy the constraints: pinned samples have their group, with confidence 1."""
    is_pinned, rows = constraints.pinned >= 0, constraints.paired
    assignments, confidence = result.assignments.copy(), result.confidence.copy()
    if len(rows):
        probs = result.model.mean_probs(*(space.select(rows) for space in spaces)).numpy()
        groups, n_broken = constraints.settle(probs, rows)
        if n_broken:
            note(f"warning: {n_broken} images have no group left that no image apart from them is in.")
        assignments[rows], confidence[rows] = groups, probs[np.arange(len(rows)), groups]
    assignments[is_pinned], confidence[is_pinned] = constraints.pinned[is_pinned], 1
    return replace(result, assignments=assignments, confidence=confidence)
