"""SCAN: neighbors agree on a cluster, and the mean over the batch uses all clusters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import batch_mean, log_agreement, log_probs, marginal_entropy


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
    mean prediction at 1e-8. Equal to rounding above that.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters a head.
        entropy_weight: Weight of the entropy of the mean prediction, 0 or more. The higher, the more equal the
            clusters.

    Raises:
        SettingError: A value is out of its range.
    """

    views = ("anchor", "neighbor")
    uses_teacher = False
    temperature = 1.0
    consistency: Tensor
    entropy: Tensor

    def __init__(self, *, n_heads: int, n_clusters: int, entropy_weight: float = 5.0) -> None:
        super().__init__()
        if not 0 <= entropy_weight < float("inf"):
            raise SettingError(f"entropy_weight is {entropy_weight}: wanted 0 or more.")
        self.entropy_weight = entropy_weight
        self.register_buffer("consistency", torch.zeros(n_heads))
        self.register_buffer("entropy", torch.zeros(n_heads))
        self._steps = 0

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,); adds its terms to the summary in training mode.

        Args:
            batch: Not used.
            student: Logits (2, heads, batch, clusters), anchors first; carries the gradient.
            teacher: Not used.
            progress: Not used, the schedule is constant.
        """
        log_p = log_probs(student.logits, self.temperature)
        consistency = -batch_mean(log_agreement(log_p[0], log_p[1]), dims=(1,))
        entropy = marginal_entropy(log_p[0])
        if self.training:
            self.consistency += consistency.detach()
            self.entropy += entropy.detach()
            self._steps += 1
        return consistency - self.entropy_weight * entropy

    def summary(self) -> dict[str, Tensor]:
        """Means of both terms over the training steps since the last call, each (heads,); zeros after none."""
        steps = max(1, self._steps)
        means = {"consistency": self.consistency / steps, "entropy": self.entropy / steps}
        self.consistency.zero_()
        self.entropy.zero_()
        self._steps = 0
        return means
