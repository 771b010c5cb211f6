"""Confidence that is as large as clusters are reliable, judged by agreement: without labels."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from headclust.model import ClusterModel
    from headclust.model.heads.linear import LinearHeads

_SAMPLES, _PROBABILITIES = 10_000, 2_000_000  # on which the exponent is fitted, at most
_POWERS = (0.05, 20.0)
_HALVINGS = 30


def calibrated(model: ClusterModel, rows: Tensor, nearest: Tensor) -> ClusterModel:
    """The model with the power that gives the fitted samples, on average, the confidence that agreement supports.

    A cluster is right at best as often as two heads agree on it, as at most one of two that differ is right; and if
    images that are nearest neighbors are of one kind, as often as both are in one cluster. The mean confidence becomes
    the product of both shares. Only the better half of the heads counts: those of low neighbor information err more
    than the result does. A temperature fitted to agreement, as here, instead of to labels as in Guo et al., "On
    calibration of modern neural networks", ICML 2017 (https://arxiv.org/abs/1706.04599), sees no error that all heads
    make together.

    Args:
        model: Several heads in use, the best first, with common cluster ids; else it stays as it is.
        rows: Transformed rows of the fitted samples, (n_samples, dim).
        nearest: Row number of the nearest neighbor of each, (n_samples,).
    """
    from headclust.model import FeatureTransform

    if len(model.used_heads) < 2:
        return model
    on_rows = replace(model, transforms=(FeatureTransform(),))
    chosen = _spread(len(rows), model.n_clusters)
    samples, neighbors = (on_rows.assign(rows[each.to(rows.device)]) for each in (chosen, nearest[chosen].long()))
    # Share of the pairs of heads that give a sample the same cluster, and of the samples whose neighbor is in theirs.
    votes = samples.by_head[list(model.used_heads[: max(2, len(model.used_heads) // 2)])]
    pairs = [np.mean(first == second) for first, second in itertools.combinations(votes, 2)]
    target = float(np.mean(pairs) * np.mean(samples.clusters == neighbors.clusters))
    log_probs = on_rows.mean_probs(rows[chosen.to(rows.device)]).double().log()
    return replace(model, exponent=_power(log_probs, target))


def temper_(heads: LinearHeads, rows: Tensor, nearest: Tensor) -> None:
    """Divide the logits of each head by the temperature that makes it as confident as it is reliable.

    Its mean confidence becomes the share of samples whose nearest neighbor is in their cluster, a temperature fitted to
    agreement as in `calibrated`. Discriminants are overconfident, and heads that are sure learn little: their gradients
    vanish.

    Args:
        heads: Changed in place.
        rows: Transformed rows of the fitted samples, (n_samples, dim).
        nearest: Row number of the nearest neighbor of each, (n_samples,).
    """
    import torch

    chosen = _spread(len(rows), heads.n_clusters)
    with torch.no_grad():
        # Logits of samples and of their neighbors, (heads, n_chosen, clusters).
        logits, others = (
            heads(rows[each.to(rows.device)][None]).logits[0] for each in (chosen, nearest[chosen].long())
        )
        for head, own in enumerate(logits):
            share = float((own.argmax(1) == others[head].argmax(1)).float().mean())
            power = _power(own.cpu().double(), share)
            heads.weight[head] *= power
            heads.cluster_bias[head] *= power


def _spread(n_samples: int, n_clusters: int) -> Tensor:
    """Numbers of samples at equal distances, (n_chosen,)."""
    import torch

    n_chosen = min(n_samples, _SAMPLES, max(100, _PROBABILITIES // n_clusters))
    return torch.linspace(0, n_samples - 1, n_chosen).round().long()


def _power(logits: Tensor, target: float) -> float:
    """The power a of the probabilities with which their mean confidence is `target`.

    `logits` is log p up to a constant per sample, (n_samples, clusters), float64.
    """
    import torch

    # The mean confidence max p^a / sum p^a rises with the power a: bisection of its logarithm.
    low, high = np.log(_POWERS)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        confidence = float(torch.softmax(np.exp(middle) * logits, 1).amax(1).mean())
        low, high = (middle, high) if confidence < target else (low, middle)
    return float(np.exp((low + high) / 2))
