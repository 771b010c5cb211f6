"""IMC-SwAV: prototypes by swapped prediction, clusters by their mutual information with the prototypes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headclust.errors import SettingError
from headclust.group import ALONE, Group
from headclust.model.heads import HeadOutput
from headclust.seeding import OBJECTIVE_STREAM, torch_generator
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import (
    RunningMean,
    batch_mean,
    entropy,
    log_probs,
    marginal_entropy,
    sinkhorn,
)
from headclust.training.parts import ImcSwavSettings


class ImcSwav(nn.Module):
    """The IMC-SwAV objective for all heads at once, each with its own projection and prototypes.

    For a view v of the batch, u_v the cosines between its projected features and the prototypes, and y_v the head's
    logits:

        q_i      = Sinkhorn(u_i / code_temperature), for the first n_codes views, without gradient
        swapped  = mean over i and views p other than i of - sum_k q_i log softmax(u_p / prototype_temperature)
        P_ji     = joint distribution of cluster and prototype over the batch, from softmax(y_j) and
                   softmax(u_i / prototype_temperature), the latter without gradient
        loss     = swapped + mean over all j and i of H(Y_j | U_i) - balance H(Y_j)
                   + logit_weight mean over samples and views of sum_c max(|y_c| - logit_bound, 0)

    The projection and the prototypes learn from `swapped` alone, the heads from the other terms alone.

    Paper: Ntelemis, Jin and Thomas, "Information Maximization Clustering via Multi-View Self-Labelling", 2021
    (https://arxiv.org/abs/2103.07368). Author code: https://github.com/foiv0s/imc-swav-pub (model.py, costs.py).

    Deviations: the first view is the plain image, which the author code never trains on, and codes come from it and
    the augmented views that follow, where the author code has two large crops. One projection and one set of
    prototypes per head; the author code has one head. Entropies in log space: exact zeros in the joint distribution do
    not give NaN; equal up to rounding where that code is finite. The swapped prediction has no floor of 1e-17 under
    its logarithm, which cosines at a temperature of 0.1 do not reach.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters per head.
        feature_dims: Dimension of the features: one space.
        seed: The fit's seed; projection and prototypes of head h are drawn from their own stream of it.
        first_head: Number of the first of these heads, of those that several processes train.
        settings: Those of `parts.ImcSwavSettings`.

    Raises:
        SettingError: A value is out of its range.
    """

    batch_group = head_group = ALONE

    def __init__(
        self,
        *,
        n_heads: int,
        n_clusters: int,
        feature_dims: tuple[int, ...],
        seed: int,
        first_head: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.settings = ImcSwavSettings(**settings)
        self.views, self.uses_teacher, self.temperature, _ = self.settings.traits
        if len(feature_dims) != 1:
            raise SettingError(f"imc-swav takes one feature file: found {len(feature_dims)}.")
        (feature_dim,) = feature_dims
        self.mixing_weight = nn.Parameter(torch.empty(n_heads, feature_dim, feature_dim))
        self.mixing_bias = nn.Parameter(torch.empty(n_heads, feature_dim))
        width, n_prototypes = self.settings.projection_dim, self.settings.n_prototypes
        self.projection_weight = nn.Parameter(torch.empty(n_heads, width, feature_dim))
        self.projection_bias = nn.Parameter(torch.empty(n_heads, width))
        self.prototypes = nn.Parameter(torch.empty(n_heads, n_prototypes, width))
        self._initialize_(seed, first_head)
        self._swapped, self._information, self._excess = (RunningMean(n_heads) for _ in range(3))

    @torch.no_grad()
    def _initialize_(self, seed: int, first_head: int) -> None:
        """Draw every layer as torch.nn.Linear does, which is the author code's initialization."""
        tensors = (self.mixing_weight, self.mixing_bias, self.projection_weight, self.projection_bias, self.prototypes)
        fans = [self.mixing_weight.shape[-1]] * 4 + [self.prototypes.shape[-1]]
        for head in range(len(self.prototypes)):
            generator = torch_generator(seed, OBJECTIVE_STREAM, first_head + head)
            for tensor, fan in zip(tensors, fans, strict=True):
                nn.init.uniform_(tensor[head], -(fan**-0.5), fan**-0.5, generator=generator)

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,); in training mode the prototypes are scaled to unit length first.

        Args:
            batch: Its features carry no gradient.
            student: Logits (views, heads, batch, clusters) of the same views; carries the gradient.
            teacher: Not used.
            progress: Prototypes get no gradient before it reaches `freeze_prototypes`.
        """
        assert batch is not None
        if self.training:
            # In place and outside of autograd, at every forward, as in the author code.
            with torch.no_grad():
                self.prototypes.copy_(F.normalize(self.prototypes, dim=-1))
        # u and log softmax(u / t), (views, heads, batch, prototypes).
        scores = self.scores(batch.features[0], freeze=progress < self.settings.freeze_prototypes)
        log_u = log_probs(scores, self.settings.prototype_temperature)
        # q of the first n_codes views, (n_codes, heads, batch, prototypes), without gradient.
        codes = sinkhorn(
            scores[: self.settings.n_codes],
            epsilon=self.settings.code_temperature,
            n_iterations=self.settings.code_iterations,
            group=self.batch_group,
        )
        # The three terms, (heads,) each. `detach` keeps the heads' loss from the projection and the prototypes.
        group = self.batch_group
        swapped = swapped_prediction(log_u, codes, group)
        information = weighted_information(student.logits, log_u.detach(), balance=self.settings.balance, group=group)
        excess = logit_excess(student.logits, self.settings.logit_bound, group)
        if self.training:
            self._swapped.add(swapped)
            self._information.add(information)
            self._excess.add(excess)
        return swapped + information + self.settings.logit_weight * excess

    def scores(self, features: Tensor, *, freeze: bool = False) -> Tensor:
        """Cosines between features (views, batch, dim) and prototypes: (views, heads, batch, prototypes)."""
        views, batch, dim = features.shape
        heads, width, _ = self.projection_weight.shape
        # Two linear layers without a nonlinearity between them: W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2), so the
        # layers are multiplied first. Weight (heads, projection_dim, dim), bias (heads, projection_dim, 1).
        weight = torch.bmm(self.projection_weight, self.mixing_weight)
        bias = torch.baddbmm(self.projection_bias[..., None], self.projection_weight, self.mixing_bias[..., None])
        # The input is shared, so the projection of all heads is one matrix product; then unit length,
        # (heads, views * batch, projection_dim).
        rows = F.linear(features.reshape(views * batch, dim), weight.view(heads * width, dim), bias.view(-1))
        embedding = F.normalize(rows.view(views * batch, heads, width).transpose(0, 1), dim=-1)
        prototypes = self.prototypes.detach() if freeze else self.prototypes
        # The norm is a constant for the gradient, which is that of a plain product with unit prototypes, as in the
        # author code.
        prototypes = prototypes / prototypes.detach().norm(dim=-1, keepdim=True)
        scores = torch.bmm(embedding, prototypes.transpose(1, 2))
        return scores.view(heads, views, batch, -1).transpose(0, 1)

    def summary(self) -> dict[str, Tensor]:
        """Means of the three unweighted terms over the training steps since the last call, each (heads,)."""
        means = {"swapped": self._swapped, "information": self._information, "excess": self._excess}
        return {name: mean.take() for name, mean in means.items()}


def swapped_prediction(log_u: Tensor, codes: Tensor, group: Group = ALONE) -> Tensor:
    """Mean cross-entropy between the codes of the first views and the predictions of every other view.

    Args:
        log_u: Log probabilities of prototypes (views, heads, batch, prototypes), at least two views.
        codes: Codes of the first views, (codes, heads, batch, prototypes).
        group: The processes that share the batch.

    Returns:
        Shape (heads,).
    """
    n_codes, n_views = len(codes), len(log_u)
    # sum over i and p != i of <q_i, log u_p> = <sum_i q_i, sum_p log u_p> - sum_i <q_i, log u_i>, (heads, batch).
    agreement = (codes.sum(0) * log_u.sum(0)).sum(-1) - (codes * log_u[:n_codes]).sum((0, -1))
    # Each code has n_views - 1 views that predict it.
    return -batch_mean(agreement, dims=(1,), group=group) / (n_codes * (n_views - 1))


def weighted_information(logits: Tensor, log_u: Tensor, *, balance: float, group: Group = ALONE) -> Tensor:
    """H(Y_j | U_i) - balance H(Y_j), mean over all pairs of a view j of the logits and a view i of the prototypes.

    It equals -I(Y_j; U_i) - (balance - 1) H(Y_j).

    Args:
        logits: Logits of clusters, (views, heads, batch, clusters).
        log_u: Log probabilities of prototypes, (views, heads, batch, prototypes); carries no gradient.
        balance: Weight of the entropy of the clusters' marginal.
        group: The processes that share the batch.

    Returns:
        Shape (heads,).
    """
    log_y = log_probs(logits, 1.0)  # (views, heads, batch, clusters)
    n_clusters, n_prototypes = log_y.shape[-1], log_u.shape[-1]
    views, heads, batch, _ = log_y.shape
    # P_ji(c, k) = mean over the batch of p(c | y_j) p(k | u_i). The joints of all pairs of views are one matrix
    # product per head: (views * clusters, batch) x (batch, views * prototypes).
    clusters = log_y.exp().permute(1, 0, 3, 2).reshape(heads, views * n_clusters, batch)
    prototypes = log_u.exp().permute(1, 2, 0, 3).reshape(heads, batch, -1)
    joints = group.sum(torch.bmm(clusters, prototypes)) / group.total(batch)
    # (heads, views j, views i, clusters * prototypes).
    joints = joints.view(heads, views, n_clusters, -1, n_prototypes).transpose(2, 3).flatten(3)
    # H(Y_j, U_i), mean over pairs of views, (heads,). With the clamp, empty cells add nothing to the entropy and
    # its gradient; 0 log 0 would be NaN.
    joint_entropy = entropy(joints.clamp_min(torch.finfo(joints.dtype).tiny).log()).mean((1, 2))
    # H(Y | U) = H(Y, U) - H(U).
    prototype_entropy, cluster_entropy = (marginal_entropy(logs, group).mean(0) for logs in (log_u, log_y))
    return joint_entropy - prototype_entropy - balance * cluster_entropy


def logit_excess(logits: Tensor, bound: float, group: Group = ALONE) -> Tensor:
    """sum_c max(|y_c| - bound, 0), mean over views and samples, (heads,), of logits (views, heads, batch, clusters)."""
    return batch_mean(torch.relu(logits.abs() - bound).sum(-1), dims=(0, 2), group=group)
