"""Self-labeling: a head's confident predictions in the plain view are the targets of a strong view."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headclust.group import ALONE
from headclust.model.heads import HeadOutput
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import RunningMean, batch_mean, log_probs
from headclust.training.parts import SelfLabelSettings


class SelfLabel(nn.Module):
    """SCAN's second stage for all heads at once: cross-entropy with a head's own confident predictions.

    For head h, a sample is confident if its largest probability in the plain view is above the threshold; that cluster
    is its label, to be predicted from the strong view:

        loss_h = weighted mean over confident samples of - log p(label | strong view)

    With class balancing, the weight of a sample is one over the number of confident samples of the batch with its
    label, so that every cluster present counts the same. No gradient flows through the plain view. A head without a
    confident sample in a batch has loss 0 and gradient 0; momentum and weight decay of the optimizer still apply.

    Paper: Van Gansbeke et al., "SCAN: Learning to Classify Images without Labels", ECCV 2020
    (https://arxiv.org/abs/2005.12320). Author code: https://github.com/wvangansbeke/Unsupervised-Classification
    (losses/losses.py, ConfidenceBasedCE).

    Deviations: the author code raises an error if no sample of a batch is confident.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters per head.
        settings: Those of `parts.SelfLabelSettings`.

    Raises:
        SettingError: A value is out of its range.
    """

    batch_group = head_group = ALONE

    def __init__(self, *, n_heads: int, n_clusters: int, **settings: Any) -> None:
        super().__init__()
        self.settings = SelfLabelSettings(**settings)
        self.views, self.uses_teacher, self.temperature, _ = self.settings.traits
        self._confident = RunningMean(n_heads)

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,); counts confident samples in training mode.

        Args:
            batch: Not used.
            student: Logits (2, heads, batch, clusters), plain views first; the strong ones carry the gradient.
            teacher: Not used.
            progress: Not used, the schedule is constant.
        """
        # Log probabilities of both views, (heads, batch, clusters); the plain one gives labels and no gradient.
        plain, strong = (log_probs(view, self.temperature) for view in (student.logits[0].detach(), student.logits[1]))
        # The largest probability and its cluster, (heads, batch) each.
        confidence, label = plain.exp().max(-1)
        # One-hot labels of the confident samples, rows of zeros for the others, (heads, batch, clusters).
        targets = F.one_hot(label, plain.shape[-1]) * (confidence > self.settings.threshold)[..., None]
        # Share of the batch with each label, and its summed cross-entropy over the batch size, (heads, clusters).
        shares = batch_mean(targets.to(strong.dtype), dims=(1,), group=self.batch_group)
        sums = batch_mean(-strong * targets, dims=(1,), group=self.batch_group)
        if self.training:
            self._confident.add(shares.sum(-1))
        if self.settings.balance:
            # sums / shares is the mean cross-entropy per label; then the mean over the labels present.
            return (sums / _nonzero(shares)).sum(-1) / _nonzero((shares > 0).sum(-1))
        # Mean over the confident samples.
        return sums.sum(-1) / _nonzero(shares.sum(-1))

    def summary(self) -> dict[str, Tensor]:
        """`confident`: share of confident samples over the training steps since the last call, (heads,)."""
        return {"confident": self._confident.take()}


def _nonzero(divisors: Tensor) -> Tensor:
    """Divisors with 1 in place of 0: without confident samples the numerator is 0, and so is the quotient."""
    return torch.where(divisors > 0, divisors, torch.ones_like(divisors))
