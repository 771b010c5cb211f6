"""Pure functions that objectives share. Log space, float32."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_probs(logits: Tensor, temperature: float) -> Tensor:
    """Log of the softmax over clusters (last axis) of logits / temperature."""
    return torch.log_softmax(logits / temperature, dim=-1)


def batch_mean(values: Tensor, *, dims: tuple[int, ...]) -> Tensor:
    """Mean over the axes that hold samples.

    Every sum over the batch that later becomes nonlinear (marginals, entropies, Sinkhorn) goes through here or through
    `log_batch_mean`, so that several processes can one day share a batch.
    """
    return values.mean(dim=dims)


def log_batch_mean(log_values: Tensor, *, dims: tuple[int, ...], keepdim: bool = False) -> Tensor:
    """Log of the mean over the axes that hold samples of what `log_values` are logs of; see `batch_mean`.

    Stays finite, and so does its gradient, where the mean itself is below float32: a cluster that nothing chooses.
    """
    n = math.prod(log_values.shape[dim] for dim in dims)
    return torch.logsumexp(log_values, dim=dims, keepdim=keepdim) - math.log(n)


def log_agreement(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Log of the probability that two independent draws name the same cluster, log sum_c p(c) q(c): (..., clusters) in,
    (...) out."""
    return torch.logsumexp(log_p + log_q, dim=-1)


def entropy(log_p: Tensor) -> Tensor:
    """Entropy in nats of the distributions on the last axis, given as logs: (..., clusters) in, (...) out.

    A log of minus infinity counts as probability zero, with a gradient of zero.
    """
    return -(log_p.exp() * log_p.clamp_min(torch.finfo(log_p.dtype).min)).sum(-1)


def marginal_entropy(log_p: Tensor) -> Tensor:
    """Entropy in nats of the mean distribution over the batch: (..., batch, clusters) in, (...) out.

    From 0, where all samples are sure of one cluster, to log(clusters).
    """
    return entropy(log_batch_mean(log_p, dims=(-2,)))


@torch.no_grad()
def sinkhorn(scores: Tensor, *, epsilon: float = 0.05, n_iterations: int = 3) -> Tensor:
    """Codes: the softmax of scores / epsilon, moved towards clusters of equal mass.

    An iteration gives every cluster the same mass over the batch, then every sample a mass of one. So the last word is
    the samples': rows sum to one exactly, clusters have only nearly equal mass, the more nearly, the more iterations.
    There is no gradient.

    Paper: Cuturi, "Sinkhorn Distances", NeurIPS 2013 (https://arxiv.org/abs/1306.0895); as a clustering target: Caron
    et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS 2020
    (https://arxiv.org/abs/2006.09882). Author code: https://github.com/foiv0s/imc-swav-pub (utils.py).

    Deviations: in log space, where the author code exponentiates scores / epsilon as they are and replaces what
    overflows.

    Args:
        scores: Shape (..., batch, clusters); each of the leading axes (views, heads) on its own.
        epsilon: Weight of the entropy: the smaller, the nearer to one-hot.
        n_iterations: At least 1.

    Returns:
        Codes of the same shape.
    """
    log_codes = scores / epsilon
    for _ in range(n_iterations):
        # A mean where textbooks sum: the constant is gone once rows sum to one.
        log_codes = log_codes - log_batch_mean(log_codes, dims=(-2,), keepdim=True)
        log_codes = torch.log_softmax(log_codes, dim=-1)
    return log_codes.exp()
