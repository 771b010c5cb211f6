"""CLC, a reconstruction: one contrastive loss over a categorical part under equipartition and an instance part."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from headclust.errors import SettingError
from headclust.group import ALONE, Group
from headclust.model.heads import HeadOutput
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import RunningMean, batch_mean, log_probs, sinkhorn
from headclust.training.parts import ClcSettings


class Clc(nn.Module):
    """A reconstruction of the CLC (later: CDC) objective for all heads at once.

    For head h, a sample i of one view and the samples j of the other, with z the head's embedding, p the probabilities
    and q the Sinkhorn codes of the clusters (no gradient):

        s_h(i, j) = (<z_i, z_j> + category_weight <p_i, q_j>) / contrast_temperature
        loss_h    = mean over i, and over both directions, of log sum_j exp s_h(i, j) - s_h(i, i)

    It is one contrastive loss over the concatenations [z; sqrt(category_weight) p] and [z; sqrt(category_weight) q].
    The gradient of a negative j has the weight softmax_j s_h(i, j), which grows with its categorical similarity: the
    negatives of the sample's own cluster are the hard ones. docs/methods/clc.md derives why this leads to clusters.

    Paper: Ding et al., "Contrastive Representation Disentanglement for Clustering" (first version: "CLC: Cluster
    Assignment via Contrastive Representation Learning"), 2023 (https://arxiv.org/abs/2306.05439). The authors
    published no code.

    Deviations: the abstract states a categorical part under an equipartition constraint, an instance part, one
    contrastive loss over both, and larger weights on harder negatives. Everything else is our reconstruction; we had
    no access to the paper's formulas.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters per head.
        settings: Those of `parts.ClcSettings`.

    Raises:
        SettingError: A value is out of its range.
    """

    batch_group = head_group = ALONE

    def __init__(self, *, n_heads: int, n_clusters: int, **settings: Any) -> None:
        super().__init__()
        self.settings = ClcSettings(**settings)
        self.views, self.uses_teacher, self.temperature, _ = self.settings.traits
        self._category, self._instance = RunningMean(n_heads), RunningMean(n_heads)

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,); adds to the summary in training mode.

        Args:
            batch: Not used.
            student: Logits (2, heads, batch, clusters) and embeddings of both views; carries the gradient.
            teacher: Not used.
            progress: Not used, the schedule is constant.

        Raises:
            SettingError: The heads have no embedding.
        """
        # z of unit length, (2, heads, batch, dim), and the logits, (2, heads, batch, clusters).
        z, logits = student.embedding, student.logits
        if z is None:
            raise SettingError(
                "clc needs the heads' embedding for its instance part, which these heads do not have: use head=mlp."
            )
        # p = softmax(logits / cluster_temperature), of the same shape.
        p = log_probs(logits, self.settings.cluster_temperature).exp()
        # q, of the same shape: Sinkhorn balances the clusters over the batch of each view and head; no gradient.
        codes = sinkhorn(
            logits,
            epsilon=self.settings.code_temperature,
            n_iterations=self.settings.code_iterations,
            group=self.batch_group,
        )
        # [z; root p] and [z; root q], (2, heads, batch, dim + clusters): their inner products are
        # <z_i, z_j> + category_weight <p_i, q_j>. flip(0) pairs each view with the other one.
        root = math.sqrt(self.settings.category_weight)
        keys = torch.cat((z, root * codes), -1).flip(0)
        loss = contrast(torch.cat((z, root * p), -1) / self.settings.contrast_temperature, keys, self.batch_group)
        # Means of <p_i, q_i> and <z_i, z_i> over positive pairs, for the summary.
        if self.training:
            self._record(self._category, p, codes)
            self._record(self._instance, z, z)
        # Mean over both directions and the batch.
        return batch_mean(loss, dims=(0, 2), group=self.batch_group)

    def summary(self) -> dict[str, Tensor]:
        """Mean similarity of positive pairs over the training steps since the last call, each (heads,).

        `category` is <p, q>, from 1 / clusters (uniform predictions) to 1; `instance` is <z, z'>, a cosine.
        """
        return {"category": self._category.take(), "instance": self._instance.take()}

    @torch.no_grad()
    def _record(self, mean: RunningMean, queries: Tensor, keys: Tensor) -> None:
        """Add the mean inner product of positive pairs, of (2, heads, batch, dim) each."""
        mean.add(batch_mean((queries * keys.flip(0)).sum(-1), dims=(0, 2), group=self.batch_group))


def contrast(queries: Tensor, keys: Tensor, group: Group = ALONE) -> Tensor:
    """InfoNCE: minus the log softmax over all keys, at the key of the query's own row.

    No key of the batch is left out, the positive included: codes are balanced over the whole batch only.

    Args:
        queries: Shape (..., batch, dim), divided by the temperature.
        keys: Of the same shape; row i is the positive of query i.
        group: The processes that share the batch; the keys of all are compared with.

    Returns:
        Shape (..., batch).
    """
    # The keys of the whole batch, (..., dim, whole batch), and the position of the first of these queries among them.
    first = group.first(keys.shape[-2])
    whole = group.gather(keys.movedim(-2, 0)).movedim(0, -1)
    # s(i, j), (..., batch, whole batch), then log sum_j exp s(i, j) - s(i, i).
    similarities = queries @ whole
    return torch.logsumexp(similarities, dim=-1) - similarities.diagonal(first, dim1=-2, dim2=-1)
