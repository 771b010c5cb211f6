"""SCAN as the authors of TEMI have it: with a teacher and with temperatures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import batch_mean, log_agreement, log_probs, marginal_entropy


class TemiScan(nn.Module):
    """The student-teacher variant of SCAN that TEMI is compared with, for all heads at once.

    For head h with student probabilities p and teacher probabilities q, an anchor x and its neighbor x', and the mean
    m_h(view) of p over the batch, which has two views (anchors and neighbors):

        loss_h = -1/2 mean over pairs of (log sum_c p(c|x) q(c|x') + log sum_c p(c|x') q(c|x))
                 - entropy_weight * mean over views of H(m_h(view))

    Gradients flow through p alone. SCAN itself (objective `scan`) has no teacher and no temperature, and takes the
    entropy of the anchors only.

    Paper: Adaloglou et al., "Exploring the Limits of Deep Image Clustering using Pretrained Models", BMVC 2023
    (https://arxiv.org/abs/2303.17896). Author code: https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (losses/mi.py,
    class SCAN).

    Deviations: both terms in log space, where the author code takes logarithms of products and means that underflow in
    float32; equal to rounding wherever that code is finite.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters a head.
        entropy_weight: Weight of the entropy of the mean prediction, 0 or more; the authors' alpha. The higher, the
            more equal the clusters.
        student_temperature: Temperature of the student's softmax.
        teacher_temperature: Temperature of the teacher's softmax.

    Raises:
        SettingError: A value is out of its range.
    """

    views = ("anchor", "neighbor")
    uses_teacher = True

    def __init__(
        self,
        *,
        n_heads: int,
        n_clusters: int,
        entropy_weight: float = 5.0,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0 <= entropy_weight < float("inf"):
            raise SettingError(f"entropy_weight is {entropy_weight}: wanted 0 or more.")
        if not (student_temperature > 0 and teacher_temperature > 0):
            found = f"student_temperature is {student_temperature}, teacher_temperature {teacher_temperature}"
            raise SettingError(f"{found}: wanted more than 0.")
        self.entropy_weight = entropy_weight
        self.student_temperature = student_temperature
        self.temperature = teacher_temperature  # the teacher predicts

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,).

        Args:
            batch: Not used.
            student: Logits (2, heads, batch, clusters), anchors first; carries the gradient.
            teacher: Logits of the same shape; detached here.
            progress: Not used, the schedule is constant.
        """
        assert teacher is not None
        log_p = log_probs(student.logits, self.student_temperature)
        with torch.no_grad():
            log_q = log_probs(teacher.logits, self.temperature)
        # flip(0) sets each student view against the teacher of the other one.
        agreement = batch_mean(log_agreement(log_p, log_q.flip(0)), dims=(0, 2))
        return -agreement - self.entropy_weight * marginal_entropy(log_p).mean(0)

    def summary(self) -> dict[str, Tensor]:
        """Nothing beside the loss."""
        return {}
