"""CLC, a reconstruction: one contrastive loss over a categorical part under equipartition and an instance part."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import batch_mean, log_probs, sinkhorn

POSITIVES = {"augmented": ("augmented", "augmented"), "neighbor": ("anchor", "neighbor")}


class Clc(nn.Module):
    """A reconstruction of the CLC (later: CDC) objective for all heads at once.

    For head h, a sample i of one view and the samples j of the other, with z the head's embedding, p the probabilities
    and q the Sinkhorn codes of the clusters (no gradient):

        s_h(i, j) = (<z_i, z_j> + category_weight <p_i, q_j>) / contrast_temperature
        loss_h    = mean over i, and over both ways round, of log sum_j exp s_h(i, j) - s_h(i, i)

    It is one contrastive loss over the concatenations [z; sqrt(category_weight) p] and [z; sqrt(category_weight) q].
    Of a negative j comes a gradient of weight softmax_j s_h(i, j), which grows with its categorical similarity: the
    negatives of the own cluster are the hard ones. docs/methods/clc.md derives why clusters come of it.

    Paper: Ding et al., "Contrastive Representation Disentanglement for Clustering" (first version: "CLC: Cluster
    Assignment via Contrastive Representation Learning"), 2023 (https://arxiv.org/abs/2306.05439). There is no code of
    the authors.

    Deviations: everything but what the abstract says (a categorical part under an equipartition constraint, an
    instance part, one contrastive loss over both, harder negatives weigh more) is our reconstruction; the paper's
    formulas have not been seen.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters a head.
        positive: What belongs together: two augmented views of a sample (augmented), or a sample and one of its
            neighbors (neighbor). Our reconstruction, as is every setting below.
        category_weight: Weight of the categorical part beside the instance part in the similarity.
        contrast_temperature: Temperature of the contrast between samples. Lower values let the instance part tell
            samples apart alone, and leave nothing to learn for the clusters.
        cluster_temperature: Temperature of the softmax over clusters.
        code_temperature: Entropy weight of the Sinkhorn codes: the smaller, the nearer to one-hot.
        code_iterations: Sinkhorn iterations: the more, the more equal the clusters' mass in a batch's codes.

    Raises:
        SettingError: A value is out of its range.
    """

    uses_teacher = False

    def __init__(
        self,
        *,
        n_heads: int,
        n_clusters: int,
        positive: str = "augmented",
        category_weight: float = 4.0,
        contrast_temperature: float = 1.0,
        cluster_temperature: float = 0.1,
        code_temperature: float = 0.05,
        code_iterations: int = 3,
    ) -> None:
        super().__init__()
        if positive not in POSITIVES:
            raise SettingError(f"positive is {positive!r}: wanted one of {', '.join(POSITIVES)}.")
        temperatures = {
            "contrast_temperature": contrast_temperature,
            "cluster_temperature": cluster_temperature,
            "code_temperature": code_temperature,
        }
        for name, value in temperatures.items():
            if not 0 < value < math.inf:
                raise SettingError(f"{name} is {value}: wanted more than 0.")
        if not 0 <= category_weight < math.inf:
            raise SettingError(f"category_weight is {category_weight}: wanted 0 or more.")
        if not code_iterations >= 1:
            raise SettingError(f"code_iterations is {code_iterations}: wanted 1 or more.")
        self.views = POSITIVES[positive]
        self.temperature = cluster_temperature
        self.category_weight = category_weight
        self.contrast_temperature = contrast_temperature
        self.code_temperature, self.code_iterations = code_temperature, code_iterations
        self._totals = {"category": torch.zeros(n_heads), "instance": torch.zeros(n_heads)}
        self._n_batches = 0

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
        z, logits = student.embedding, student.logits
        if z is None:
            raise SettingError(
                "clc takes its instance part from the heads' embedding, which these heads lack: head=mlp."
            )
        p = log_probs(logits, self.temperature).exp()
        codes = sinkhorn(logits, epsilon=self.code_temperature, n_iterations=self.code_iterations)
        root = math.sqrt(self.category_weight)
        # flip(0) sets each view against the other one.
        keys = torch.cat((z, root * codes), -1).flip(0)
        loss = contrast(torch.cat((z, root * p), -1) / self.contrast_temperature, keys)
        if self.training:
            self._record(category=p * codes.flip(0), instance=z * z.flip(0))
        return batch_mean(loss, dims=(0, 2))

    def summary(self) -> dict[str, Tensor]:
        """Mean similarity of what belongs together over the training steps since the last call, each (heads,).

        `category` is <p, q>, from 1 / clusters (nothing is sure) to 1; `instance` is <z, z'>, a cosine.
        """
        means = {name: total / max(1, self._n_batches) for name, total in self._totals.items()}
        self._totals = {name: torch.zeros_like(total) for name, total in self._totals.items()}
        self._n_batches = 0
        return means

    @torch.no_grad()
    def _record(self, **products: Tensor) -> None:
        for name, product in products.items():
            self._totals[name] = self._totals[name].to(product) + batch_mean(product.sum(-1), dims=(0, 2))
        self._n_batches += 1


def contrast(queries: Tensor, keys: Tensor) -> Tensor:
    """Minus the log of how much of the softmax over keys each query gives to the key of its own row.

    The whole batch of keys is contrasted, the own one included: over it, and over nothing less, codes are balanced.

    Args:
        queries: Shape (..., batch, dim), divided by the temperature.
        keys: Of the same shape; row i belongs to query i.

    Returns:
        Shape (..., batch).
    """
    similarities = queries @ keys.transpose(-1, -2)
    return torch.logsumexp(similarities, dim=-1) - similarities.diagonal(dim1=-2, dim2=-1)
