"""TEMI, and its relatives WMI and PMI: pointwise mutual information between neighbors, and how much a pair counts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import batch_mean, log_probs


class Temi(nn.Module):
    """The TEMI objective for all heads at once.

    For head h with student probabilities p, teacher probabilities q and the teacher's running marginal m, and for an
    anchor x and its neighbor x':

        pmi_h(x, x') = log sum_c (p(c|x) q(c|x'))^beta / m(c)
        w(x, x')     = mean over heads of sum_c q(c|x) q(c|x')
        loss_h       = -1/2 mean over pairs of w (pmi_h(x, x') + pmi_h(x', x))

    Gradients flow through p alone. The marginal takes in the current batch before it is used.

    Paper: Adaloglou et al., "Exploring the Limits of Deep Image Clustering using Pretrained Models", BMVC 2023
    (https://arxiv.org/abs/2303.17896). Author code: https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (losses/).

    Deviations: computed as a log-sum-exp, where the author code takes the logarithm of a product that underflows in
    float32 when both sides are confident; equal to rounding wherever that code is finite. The marginal is kept from
    reaching zero by the smallest normal float32, so that nothing is divided by a cluster long dead.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters a head.
        beta: Exponent in [0.5, 1]. 1 rewards confidence and balance alike, lower values tolerate unequal clusters;
            at 0.5 nothing pulls away from the uniform answer.
        student_temperature: Temperature of the student's softmax.
        teacher_temperature: Temperature of the teacher's softmax.
        marginal_momentum: Momentum of the running marginal, in [0, 1).

    Raises:
        SettingError: A value is out of its range.
    """

    views = ("anchor", "neighbor")
    uses_teacher = True
    marginal: Tensor

    def __init__(
        self,
        *,
        n_heads: int,
        n_clusters: int,
        beta: float = 0.6,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.1,
        marginal_momentum: float = 0.9,
    ) -> None:
        super().__init__()
        if not 0.5 <= beta <= 1:
            raise SettingError(f"beta is {beta}: wanted 0.5 to 1.")
        if not (student_temperature > 0 and teacher_temperature > 0):
            found = f"student_temperature is {student_temperature}, teacher_temperature {teacher_temperature}"
            raise SettingError(f"{found}: wanted more than 0.")
        if not 0 <= marginal_momentum < 1:
            raise SettingError(f"marginal_momentum is {marginal_momentum}: wanted 0 or more, and less than 1.")
        self.beta = beta
        self.student_temperature = student_temperature
        self.temperature = teacher_temperature  # the teacher predicts
        self.marginal_momentum = marginal_momentum
        self.register_buffer("marginal", torch.full((n_heads, n_clusters), 1 / n_clusters))

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,); updates the marginal in training mode.

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
            q = log_q.exp()
            if self.training:
                self.marginal.lerp_(batch_mean(q, dims=(0, 2)), 1 - self.marginal_momentum)
            weights = self.weights(q)
            log_marginal = self.marginal.clamp_min(torch.finfo(torch.float32).tiny).log()
        # flip(0) sets each student view against the teacher of the other one.
        pmi = torch.logsumexp(self.beta * (log_p + log_q.flip(0)) - log_marginal[:, None], dim=-1)
        return -batch_mean(weights * pmi, dims=(0, 2))

    def weights(self, q: Tensor) -> Tensor:
        """How much each pair counts, (heads or 1, batch), for teacher probabilities (2, heads, batch, clusters)."""
        return _agreement(q).mean(0, keepdim=True)

    def summary(self) -> dict[str, Tensor]:
        """Nothing beside the loss."""
        return {}


class Wmi(Temi):
    """TEMI's objective with each head's own weights: w_h(x, x') = sum_c q_h(c|x) q_h(c|x').

    Everything else, settings included, is `Temi`'s. The heads have nothing to do with each other, so each trains as it
    would alone. Paper and author code (losses/mi.py) are TEMI's.
    """

    def weights(self, q: Tensor) -> Tensor:
        """How much each pair counts for each head, (heads, batch), by the head's own teacher."""
        return _agreement(q)


class Pmi(Temi):
    """TEMI's objective without weights: every pair counts one, w(x, x') = 1.

    Everything else, settings included, is `Temi`'s. The heads have nothing to do with each other, so each trains as it
    would alone. Paper and author code (losses/mi.py) are TEMI's.
    """

    def weights(self, q: Tensor) -> Tensor:
        """One for every pair of every head, (heads, batch)."""
        return torch.ones_like(q[0, ..., 0])


def _agreement(q: Tensor) -> Tensor:
    """Probability that a head's teacher puts both of a pair into one cluster, (heads, batch)."""
    return (q[0] * q[1]).sum(-1)
