"""Terms that objectives share: pure functions in log space, and a running mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headclust.group import ALONE, Group

_FEW = 32  # clusters up to which a softmax is faster with samples on the last axis: 16 times with 10 clusters


def log_probs(logits: Tensor, temperature: float) -> Tensor:
    """Log of the softmax over clusters (last axis) of logits / temperature, (..., batch, clusters)."""
    scaled = logits / temperature
    if scaled.shape[-1] > _FEW:
        return torch.log_softmax(scaled, dim=-1)
    # Same shape, but in memory samples are next to each other, here and in all that is computed from it.
    return torch.log_softmax(scaled.transpose(-1, -2), dim=-2).transpose(-1, -2)


def batch_mean(values: Tensor, *, dims: tuple[int, ...], group: Group) -> Tensor:
    """Mean over the axes that hold samples.

    Every mean over the batch, losses and marginals alike, is computed here or in `log_batch_mean`, with the group of
    the processes that share the batch. Sums that are not means of tensors (products over the batch, all pairs) use
    the group themselves.
    """
    return group.mean(values, dims=dims)


def log_batch_mean(log_values: Tensor, *, dims: tuple[int, ...], group: Group, keepdim: bool = False) -> Tensor:
    """Log of the mean of exp(log_values) over the axes that hold samples; see `batch_mean`.

    Finite, with a finite gradient, even where the mean itself underflows in float32: a cluster without samples.
    """
    return group.log_mean(log_values, dims=dims, keepdim=keepdim)


def log_agreement(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Log probability that independent draws from p and q are the same cluster: log sum_c p(c) q(c).

    (..., clusters) in, (...) out.
    """
    # p q is exp(log p + log q), so the sum over clusters is a log-sum-exp, which does not underflow.
    return torch.logsumexp(log_p + log_q, dim=-1)


def entropy(log_p: Tensor) -> Tensor:
    """Entropy -sum_c p(c) log p(c) in nats of distributions given as logs: (..., clusters) in, (...) out.

    A log of minus infinity counts as probability zero, with a gradient of zero.
    """
    # The clamp replaces 0 * -inf, which is NaN, by 0 * (the lowest float).
    return -(log_p.exp() * log_p.clamp_min(torch.finfo(log_p.dtype).min)).sum(-1)


def marginal_entropy(log_p: Tensor, group: Group) -> Tensor:
    """Entropy in nats of the mean distribution over the batch: (..., batch, clusters) in, (...) out.

    From 0, if all samples are certain of one cluster, to log(clusters).
    """
    return entropy(log_batch_mean(log_p, dims=(-2,), group=group))


@torch.no_grad()
def sinkhorn(scores: Tensor, *, epsilon: float = 0.05, n_iterations: int = 3, group: Group = ALONE) -> Tensor:
    """Codes: the softmax of scores / epsilon, moved towards clusters of equal mass.

    Each iteration gives every cluster the same mass over the batch, then every sample a mass of one. Rows, normalized
    last, sum to one exactly; the masses of clusters are only approximately equal, more closely after more iterations.
    There is no gradient.

    Paper: Cuturi, "Sinkhorn Distances", NeurIPS 2013 (https://arxiv.org/abs/1306.0895); as a clustering target: Caron
    et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS 2020
    (https://arxiv.org/abs/2006.09882). Author code: https://github.com/foiv0s/imc-swav-pub (utils.py).

    Deviations: in log space, where the author code exponentiates scores / epsilon directly and replaces what
    overflows.

    Args:
        scores: Shape (..., batch, clusters); each of the leading axes (views, heads) is solved separately.
        epsilon: Weight of the entropy: the smaller, the nearer to one-hot.
        n_iterations: At least 1.
        group: The processes that share the batch.

    Returns:
        Codes of the same shape.
    """
    log_codes = scores / epsilon
    for _ in range(n_iterations):
        # Columns: divide by the cluster's mean over the batch. Textbooks divide by its sum; the constant factor
        # cancels in the next line.
        log_codes = log_codes - log_batch_mean(log_codes, dims=(-2,), group=group, keepdim=True)
        # Rows: divide by the sample's sum over clusters.
        log_codes = torch.log_softmax(log_codes, dim=-1)
    return log_codes.exp()


class RunningMean(nn.Module):
    """Mean per head of a quantity since the last `take()`.

    Args:
        n_heads: Number of heads.
    """

    total: Tensor
    count: Tensor

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(n_heads))
        self.register_buffer("count", torch.zeros(n_heads, dtype=torch.int64))

    def add(self, value: Tensor) -> None:
        """Add the value of one training step, shape (heads,); it is detached."""
        self.total = self.total.to(value) + value.detach()
        self.count += 1

    def take(self) -> Tensor:
        """The mean of the values added since the last call, shape (heads,), or zeros without values; then reset."""
        mean = self.total / self.count.clamp_min(1)
        self.total, self.count = torch.zeros_like(self.total), torch.zeros_like(self.count)
        return mean
