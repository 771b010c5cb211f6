"""Self-labelling: what a head is sure of in the plain view becomes the target of a strong view."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import batch_mean, log_probs


class SelfLabel(nn.Module):
    """SCAN's second stage for all heads at once: cross-entropy with a head's own confident predictions.

    Head h keeps the samples whose largest probability in the plain view is above the threshold, takes that cluster as
    their label, and predicts it from the strong view:

        loss_h = weighted mean over kept samples of - log p(label | strong view)

    With class balancing a sample weighs the reciprocal of how many samples of the batch were kept with its label, so
    that every cluster present counts the same. No gradient flows through the plain view. A head that keeps no sample
    of a batch has loss 0 and gradient 0; what an optimizer's momentum or weight decay does to it, it still does.

    Paper: Van Gansbeke et al., "SCAN: Learning to Classify Images without Labels", ECCV 2020
    (https://arxiv.org/abs/2005.12320). Author code: https://github.com/wvangansbeke/Unsupervised-Classification
    (losses/losses.py, ConfidenceBasedCE).

    Deviations: the author code raises an error where no sample of a batch is kept.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters a head.
        threshold: Probability above which a prediction becomes a label, in [0, 1).
        balance: Whether every cluster present in a batch counts the same.

    Raises:
        SettingError: A value is out of its range.
    """

    views = ("plain", "strong")
    uses_teacher = False
    temperature = 1.0
    confident: Tensor

    def __init__(self, *, n_heads: int, n_clusters: int, threshold: float = 0.99, balance: bool = True) -> None:
        super().__init__()
        if not 0 <= threshold < 1:
            raise SettingError(f"threshold is {threshold}: wanted 0 or more, and less than 1.")
        self.threshold = threshold
        self.balance = balance
        self.register_buffer("confident", torch.zeros(n_heads))
        self._steps = 0

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,); counts confident samples in training mode.

        Args:
            batch: Not used.
            student: Logits (2, heads, batch, clusters), plain views first; the strong ones carry the gradient.
            teacher: Not used.
            progress: Not used, the schedule is constant.
        """
        plain, strong = (log_probs(view, self.temperature) for view in (student.logits[0].detach(), student.logits[1]))
        confidence, label = plain.exp().max(-1)
        kept = F.one_hot(label, plain.shape[-1]) * (confidence > self.threshold)[..., None]
        shares = batch_mean(kept.to(strong.dtype), dims=(1,))  # (heads, clusters)
        sums = batch_mean(-strong * kept, dims=(1,))
        if self.training:
            self.confident += shares.sum(-1)
            self._steps += 1
        if self.balance:
            return (sums / _nonzero(shares)).sum(-1) / _nonzero((shares > 0).sum(-1))
        return sums.sum(-1) / _nonzero(shares.sum(-1))

    def summary(self) -> dict[str, Tensor]:
        """`confident`: share of samples kept in the training steps since the last call, (heads,); zeros after none."""
        share = self.confident / max(1, self._steps)
        self.confident.zero_()
        self._steps = 0
        return {"confident": share}


def _nonzero(counts: Tensor) -> Tensor:
    """Divisors: where nothing was kept, nothing is divided."""
    return torch.where(counts > 0, counts, torch.ones_like(counts))
