"""TEMI, WMI and PMI: pointwise mutual information between neighbors, with three weights of a pair."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from headclust.group import ALONE
from headclust.model.heads import HeadOutput
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import batch_mean, log_probs
from headclust.training.parts import TemiSettings


class Temi(nn.Module):
    """The TEMI objective for all heads at once.

    For head h with student probabilities p, teacher probabilities q and the teacher's running marginal m, and for an
    anchor x and its neighbor x':

        pmi_h(x, x') = log sum_c (p(c|x) q(c|x'))^beta / m(c)
        w(x, x')     = mean over heads of sum_c q(c|x) q(c|x')
        loss_h       = -1/2 mean over pairs of w (pmi_h(x, x') + pmi_h(x', x))

    Gradients flow through p alone. The marginal is updated with the current batch before it is used.

    Paper: Adaloglou et al., "Exploring the Limits of Deep Image Clustering using Pretrained Models", BMVC 2023
    (https://arxiv.org/abs/2303.17896). Author code: https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (losses/).

    Deviations: computed as a log-sum-exp, where the author code takes the logarithm of a product that underflows in
    float32 when both sides are confident; equal up to rounding where that code is finite. The marginal is clamped at
    the smallest normal float32, so that there is no division by the zero of a cluster that has long been unused.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters per head.
        settings: Those of `parts.TemiSettings`.

    Raises:
        SettingError: A value is out of its range.
    """

    batch_group = head_group = ALONE
    marginal: Tensor

    def __init__(self, *, n_heads: int, n_clusters: int, **settings: Any) -> None:
        super().__init__()
        self.settings = TemiSettings(**settings)
        self.views, self.uses_teacher, self.temperature, _ = self.settings.traits
        # m starts uniform, as in the author code; (heads, clusters).
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
        with torch.no_grad():
            # log q and q, (2, heads, batch, clusters).
            log_q = log_probs(teacher.logits, self.settings.teacher_temperature)
            q = log_q.exp()
            if self.training:
                # m <- momentum m + (1 - momentum) mean of q over both views and the batch, (heads, clusters).
                self.marginal.lerp_(
                    batch_mean(q, dims=(0, 2), group=self.batch_group), 1 - self.settings.marginal_momentum
                )
            # w, (heads or 1, batch): the same for (x, x') and (x', x).
            weights = self.weights(q)
            # log m, (heads, clusters), broadcast over the batch axis below.
            log_marginal = self.marginal.clamp_min(torch.finfo(torch.float32).tiny).log()
            # beta log q - log m: flip(0) pairs each student view with the teacher of the other one.
            scores = log_q.flip(0).mul_(self.settings.beta).sub_(log_marginal[:, None])
            del log_q, q  # of thousands of clusters the largest tensors of a step
        # pmi in both directions, (2, heads, batch).
        pmi = _LogSum.apply(student.logits, scores, self.settings.beta, self.settings.student_temperature)
        # The mean over both directions is the 1/2 of the formula.
        return -batch_mean(weights * pmi, dims=(0, 2), group=self.batch_group)

    def weights(self, q: Tensor) -> Tensor:
        """Weight of each pair, (1, batch): the mean of the agreement over heads, of q (2, heads, batch, clusters)."""
        return self.head_group.mean(_agreement(q), dims=(0,), keepdim=True)

    def summary(self) -> dict[str, Tensor]:
        """Nothing beside the loss."""
        return {}


class _LogSum(torch.autograd.Function):
    """log sum_c exp(beta log p(c) + scores(c)), (...), of logits and scores (..., clusters), with its gradient.

    The gradient by the logits has a closed form, and is computed together with the value: half as many passes over
    memory as one per operation, which is what a step of training takes its time for.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, scores: Tensor, beta: float, temperature: float) -> Tensor:
        # log p, then the exponents beta log p + scores, (..., clusters).
        log_p = log_probs(logits, temperature)
        exponents = torch.add(scores, log_p, alpha=beta)
        value = torch.logsumexp(exponents, dim=-1)
        # With r the softmax of the exponents, d value / d log p(c) = beta r(c), and through log p = log softmax(l / t)
        # d value / d l(c) = beta (r(c) - p(c)) / t, as the r(c) sum to 1.
        slope = exponents.sub_(value[..., None]).exp_().sub_(log_p.exp_()).mul_(beta / temperature)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0][..., None] * slope, None, None, None


class Wmi(Temi):
    """TEMI's objective with each head's own weights: w_h(x, x') = sum_c q_h(c|x) q_h(c|x').

    Everything else, settings included, is as in `Temi`. Heads do not interact, so each is trained as it would be
    alone. Paper and author code (losses/mi.py) are TEMI's.
    """

    def weights(self, q: Tensor) -> Tensor:
        """Weight of each pair per head, (heads, batch): the agreement of the head's own teacher."""
        return _agreement(q)


class Pmi(Temi):
    """TEMI's objective without weights: w(x, x') = 1 for every pair.

    Everything else, settings included, is as in `Temi`. Heads do not interact, so each is trained as it would be
    alone. Paper and author code (losses/mi.py) are TEMI's.
    """

    def weights(self, q: Tensor) -> Tensor:
        """One for every pair of every head, (heads, batch)."""
        return torch.ones_like(q[0, ..., 0])


def _agreement(q: Tensor) -> Tensor:
    """Probability that a head's teacher assigns both samples of a pair to one cluster, (heads, batch).

    sum_c q(c|x) q(c|x') for q (2, heads, batch, clusters).
    """
    return (q[0] * q[1]).sum(-1)
