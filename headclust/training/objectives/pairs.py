"""The likelihood of pairs: samples that belong together are in one cluster."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from headclust.group import ALONE
from headclust.model.heads import HeadOutput
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import batch_mean, log_batch_mean, log_probs
from headclust.training.parts import PairsSettings


class Pairs(nn.Module):
    """The log-likelihood of pairs for all heads at once.

    A pair is two samples x, x' of one cluster, p(x, x') = sum_c m(c) p(x|c) p(x'|c), or, for a share of pairs, two
    independent ones, p(x) p(x'). For head h with probabilities p(c|x) = m(c) p(x|c) / p(x) and their mean m over the
    batch, the likelihood of both kinds over that of independent samples gives

        loss_h = - mean over pairs of log ((1 - noise) sum_c p(c|x) p(c|x') / m(c) + noise)

    The sum is the pointwise mutual information of TEMI with beta = 1, without teacher, weights and temperatures, and
    with the gradient through both samples and the marginal. As a mixture model of pairs: Hofmann, "Probabilistic Latent
    Semantic Analysis", UAI 1999 (https://arxiv.org/abs/1301.6705). A likelihood has no weight between agreement and
    balance: clusters of equal size are preferred only as far as pairs support them.

    Args:
        n_heads: Number of heads; heads do not interact.
        n_clusters: Number of clusters per head.
        settings: Those of `parts.PairsSettings`.

    Raises:
        SettingError: A value is out of its range.
    """

    batch_group = head_group = ALONE

    def __init__(self, *, n_heads: int, n_clusters: int, **settings: Any) -> None:
        super().__init__()
        self.settings = PairsSettings(**settings)
        self.views, self.uses_teacher, self.temperature, _ = self.settings.traits

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,).

        Args:
            batch: Not used.
            student: Logits (2, heads, batch, clusters), the first samples of the pairs first; carries the gradient.
            teacher: Not used.
            progress: Not used, the schedule is constant.
        """
        # log p, (2, heads, batch, clusters).
        log_p = log_probs(student.logits, self.temperature)
        # log m over both samples of all pairs, (heads, 1, clusters).
        log_marginal = log_batch_mean(log_p, dims=(0, 2), group=self.batch_group)[:, None]
        # log sum_c p(c|x) p(c|x') / m(c), (heads, batch): a sum of exponents does not underflow.
        log_ratio = torch.logsumexp(log_p[0] + log_p[1] - log_marginal, dim=-1)
        if noise := self.settings.noise:
            # log (a + noise) = log noise + log (1 + a / noise).
            log_odds = log_ratio + math.log(1 - noise) - math.log(noise)
            log_ratio = math.log(noise) + torch.nn.functional.softplus(log_odds)
        return -batch_mean(log_ratio, dims=(1,), group=self.batch_group)

    def summary(self) -> dict[str, Tensor]:
        """Nothing beside the loss."""
        return {}
