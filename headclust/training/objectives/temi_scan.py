"""SCAN as implemented by the authors of TEMI: with a teacher and with temperatures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from headclust.group import ALONE
from headclust.model.heads import HeadOutput
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import batch_mean, log_agreement, log_probs, marginal_entropy
from headclust.training.parts import TemiScanSettings


class TemiScan(nn.Module):
    """The student-teacher variant of SCAN that TEMI is compared with, for all heads at once.

    For head h with student probabilities p and teacher probabilities q, an anchor x and its neighbor x', and the mean
    m_h(view) of p over the batch, which has two views (anchors and neighbors):

        loss_h = -1/2 mean over pairs of (log sum_c p(c|x) q(c|x') + log sum_c p(c|x') q(c|x))
                 - entropy_weight * mean over views of H(m_h(view))

    Gradients flow through p alone. SCAN itself (objective `scan`) has no teacher and no temperature, and uses the
    entropy of the anchors only.

    Paper: Adaloglou et al., "Exploring the Limits of Deep Image Clustering using Pretrained Models", BMVC 2023
    (https://arxiv.org/abs/2303.17896). Author code: https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (losses/mi.py,
    class SCAN).

    Deviations: both terms in log space, where the author code takes logarithms of products and means that underflow in
    float32; equal up to rounding where that code is finite.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters per head.
        settings: Those of `parts.TemiScanSettings`.

    Raises:
        SettingError: A value is out of its range.
    """

    batch_group = head_group = ALONE

    def __init__(self, *, n_heads: int, n_clusters: int, **settings: Any) -> None:
        super().__init__()
        self.settings = TemiScanSettings(**settings)
        self.views, self.uses_teacher, self.temperature, _ = self.settings.traits

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,).

        Args:
            batch: Not used.
            student: Logits (2, heads, batch, clusters), anchors first; carries the gradient.
            teacher: Logits of the same shape; detached here.
            progress: Not used, the schedule is constant.
        """
        assert teacher is not None
        # log p and log q, (2, heads, batch, clusters).
        log_p = log_probs(student.logits, self.settings.student_temperature)
        with torch.no_grad():
            log_q = log_probs(teacher.logits, self.settings.teacher_temperature)
        # Mean over both directions and the batch of log sum_c p q, (heads,). flip(0) pairs each student view with the
        # teacher of the other one.
        agreement = batch_mean(log_agreement(log_p, log_q.flip(0)), dims=(0, 2), group=self.batch_group)
        # Entropy of the batch's mean prediction per view, (2, heads), then the mean over both views.
        return -agreement - self.settings.entropy_weight * marginal_entropy(log_p, self.batch_group).mean(0)

    def summary(self) -> dict[str, Tensor]:
        """Nothing beside the loss."""
        return {}
