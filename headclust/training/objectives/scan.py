"""SCAN: neighbors agree on a cluster, and the mean prediction over the batch uses all clusters."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from headclust.group import ALONE
from headclust.model.heads import HeadOutput
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import RunningMean, batch_mean, log_agreement, log_probs, marginal_entropy
from headclust.training.parts import ScanSettings


class Scan(nn.Module):
    """The SCAN objective for all heads at once.

    For head h with probabilities p (softmax without a temperature), anchors x, their neighbors x' and the mean m_h of
    p over the batch's anchors:

        loss_h = - mean over pairs of log sum_c p(c|x) p(c|x') - entropy_weight * H(m_h)

    Gradients flow through anchors and neighbors; there is no teacher.

    Paper: Van Gansbeke et al., "SCAN: Learning to Classify Images without Labels", ECCV 2020
    (https://arxiv.org/abs/2005.12320). Author code: https://github.com/wvangansbeke/Unsupervised-Classification
    (losses/losses.py, SCANLoss).

    Deviations: in log space, where the author code takes the logarithm of a product, clamped at -100, and clamps the
    mean prediction at 1e-8. Equal up to rounding above that.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters per head.
        settings: Those of `parts.ScanSettings`.

    Raises:
        SettingError: A value is out of its range.
    """

    batch_group = head_group = ALONE

    def __init__(self, *, n_heads: int, n_clusters: int, **settings: Any) -> None:
        super().__init__()
        self.settings = ScanSettings(**settings)
        self.views, self.uses_teacher, self.temperature, _ = self.settings.traits
        self._consistency, self._entropy = RunningMean(n_heads), RunningMean(n_heads)

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,); adds its terms to the summary in training mode.

        Args:
            batch: Not used.
            student: Logits (2, heads, batch, clusters), anchors first; carries the gradient.
            teacher: Not used.
            progress: Not used, the schedule is constant.
        """
        # log p, (2, heads, batch, clusters).
        log_p = log_probs(student.logits, self.temperature)
        # Mean over pairs of -log sum_c p(c|x) p(c|x'), (heads,).
        consistency = -batch_mean(log_agreement(log_p[0], log_p[1]), dims=(1,), group=self.batch_group)
        # H(m), (heads,), of the anchors only, as in the author code.
        entropy = marginal_entropy(log_p[0], self.batch_group)
        if self.training:
            self._consistency.add(consistency)
            self._entropy.add(entropy)
        # Minus: the entropy is maximal when all clusters have the same share of the batch.
        return consistency - self.settings.entropy_weight * entropy

    def summary(self) -> dict[str, Tensor]:
        """Means of both terms over the training steps since the last call, each (heads,); zeros after none."""
        return {"consistency": self._consistency.take(), "entropy": self._entropy.take()}
