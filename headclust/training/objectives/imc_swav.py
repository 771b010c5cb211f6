"""IMC-SwAV: prototypes by swapped prediction, clusters by their mutual information with the prototypes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.seeding import OBJECTIVE_STREAM, torch_generator
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import batch_mean, entropy, log_probs, marginal_entropy, sinkhorn

_TERMS = ("swapped", "information", "excess")


class ImcSwav(nn.Module):
    """The IMC-SwAV objective for all heads at once, each with a projection and prototypes of its own.

    For a view v of the batch, u_v the cosines between its projected features and the prototypes, and y_v the head's
    logits:

        q_i      = Sinkhorn(u_i / code_temperature), for the first n_codes views, without gradient
        swapped  = mean over i and views p other than i of - sum_k q_i log softmax(u_p / prototype_temperature)
        P_ji     = joint distribution of cluster and prototype over the batch, from softmax(y_j) and
                   softmax(u_i / prototype_temperature), the latter without gradient
        loss     = swapped + mean over all j and i of H(Y_j | U_i) - balance H(Y_j)
                   + logit_weight mean over samples and views of sum_c max(|y_c| - logit_bound, 0)

    The projection and the prototypes learn from `swapped` alone, the heads from the rest alone.

    Paper: Ntelemis, Jin and Thomas, "Information Maximization Clustering via Multi-View Self-Labelling", 2021
    (https://arxiv.org/abs/2103.07368). Author code: https://github.com/foiv0s/imc-swav-pub (model.py, costs.py).

    Deviations: the first view is the plain image, which the author code never trains on, and codes come from it and
    the augmented views that follow, where the author code has two large crops. A projection and prototypes a head,
    where the author code has one head. Entropies in log space: a joint that holds exact zeros is no NaN; equal to
    rounding wherever that code is finite. The swapped prediction has no floor of 1e-17 under its logarithm, which
    cosines at a temperature of 0.1 do not reach.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters a head.
        feature_dims: Dimension of the features: one space.
        seed: The fit's seed; projection and prototypes of head h start from their own stream of it.
        n_augmented: Augmented views a sample, beside its plain one.
        n_partners: Neighbors a sample that are taken for further views of it; not in the authors' code.
        n_codes: Views, from the first on, that are given Sinkhorn codes, which the other views predict.
        n_prototypes: Prototypes a head.
        projection_dim: Dimension that features are projected to, to be compared with prototypes.
        code_temperature: Entropy weight of the Sinkhorn codes: the smaller, the nearer to one-hot.
        code_iterations: Sinkhorn iterations.
        prototype_temperature: Temperature of the softmax over prototypes.
        balance: Weight of the entropy of the clusters' marginal: the higher, the more alike in size.
        logit_bound: Size up to which a logit is free.
        logit_weight: Weight of what logits exceed it by.
        freeze_prototypes: Share of the training in which the prototypes stay as they are, in [0, 1].

    Raises:
        SettingError: A value is out of its range.
    """

    uses_teacher = False
    temperature = 1.0

    def __init__(
        self,
        *,
        n_heads: int,
        n_clusters: int,
        feature_dims: tuple[int, ...],
        seed: int,
        n_augmented: int = 5,
        n_partners: int = 0,
        n_codes: int = 2,
        n_prototypes: int = 1000,
        projection_dim: int = 128,
        code_temperature: float = 0.05,
        code_iterations: int = 3,
        prototype_temperature: float = 0.1,
        balance: float = 4.0,
        logit_bound: float = 5.0,
        logit_weight: float = 1e-2,
        freeze_prototypes: float = 0.005,
    ) -> None:
        super().__init__()
        _check_counts(n_augmented=n_augmented, n_partners=n_partners, n_codes=n_codes)
        _check_positive(n_prototypes=n_prototypes, projection_dim=projection_dim, code_iterations=code_iterations)
        _check_positive(code_temperature=code_temperature, prototype_temperature=prototype_temperature)
        _check_weights(balance=balance, logit_bound=logit_bound, logit_weight=logit_weight)
        if not 0 <= freeze_prototypes <= 1:
            raise SettingError(f"freeze_prototypes is {freeze_prototypes}: wanted 0 to 1.")
        self.views = ("plain", *("augmented",) * n_augmented, *("neighbor",) * n_partners)
        self.n_codes, self.freeze_prototypes = n_codes, freeze_prototypes
        self.code_temperature, self.code_iterations = code_temperature, code_iterations
        self.prototype_temperature = prototype_temperature
        self.balance, self.logit_bound, self.logit_weight = balance, logit_bound, logit_weight
        if len(feature_dims) != 1:
            raise SettingError(f"imc-swav takes one feature file: found {len(feature_dims)}.")
        (feature_dim,) = feature_dims
        self.mixing_weight = nn.Parameter(torch.empty(n_heads, feature_dim, feature_dim))
        self.mixing_bias = nn.Parameter(torch.empty(n_heads, feature_dim))
        self.projection_weight = nn.Parameter(torch.empty(n_heads, projection_dim, feature_dim))
        self.projection_bias = nn.Parameter(torch.empty(n_heads, projection_dim))
        self.prototypes = nn.Parameter(torch.empty(n_heads, n_prototypes, projection_dim))
        self._start(seed)
        self._totals: dict[str, Tensor] = {}
        self._n_batches = 0

    @torch.no_grad()
    def _start(self, seed: int) -> None:
        """Every layer as torch.nn.Linear starts it, which the author code leaves as it is."""
        tensors = (self.mixing_weight, self.mixing_bias, self.projection_weight, self.projection_bias, self.prototypes)
        fans = [self.mixing_weight.shape[-1]] * 4 + [self.prototypes.shape[-1]]
        for head in range(len(self.prototypes)):
            generator = torch_generator(seed, OBJECTIVE_STREAM, head)
            for tensor, fan in zip(tensors, fans, strict=True):
                nn.init.uniform_(tensor[head], -(fan**-0.5), fan**-0.5, generator=generator)

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,); in training mode the prototypes are set to unit length first.

        Args:
            batch: Its features carry no gradient.
            student: Logits (views, heads, batch, clusters) of the same views; carries the gradient.
            teacher: Not used.
            progress: Prototypes get no gradient before it reaches `freeze_prototypes`.
        """
        assert batch is not None
        if self.training:
            with torch.no_grad():
                self.prototypes.copy_(F.normalize(self.prototypes, dim=-1))
        scores = self.scores(batch.features[0], freeze=progress < self.freeze_prototypes)
        log_u = log_probs(scores, self.prototype_temperature)
        codes = sinkhorn(scores[: self.n_codes], epsilon=self.code_temperature, n_iterations=self.code_iterations)
        swapped = swapped_prediction(log_u, codes)
        information = weighted_information(student.logits, log_u.detach(), balance=self.balance)
        excess = logit_excess(student.logits, self.logit_bound)
        if self.training:
            self._record(swapped, information, excess)
        return swapped + information + self.logit_weight * excess

    def scores(self, features: Tensor, *, freeze: bool = False) -> Tensor:
        """Cosines between features (views, batch, dim) and prototypes: (views, heads, batch, prototypes).

        The two layers of the projection have no nonlinearity between them, so they are multiplied first.
        """
        views, batch, dim = features.shape
        heads, width, _ = self.projection_weight.shape
        weight = torch.bmm(self.projection_weight, self.mixing_weight)
        bias = torch.baddbmm(self.projection_bias[..., None], self.projection_weight, self.mixing_bias[..., None])
        rows = F.linear(features.reshape(views * batch, dim), weight.view(heads * width, dim), bias.view(-1))
        embedding = F.normalize(rows.view(views * batch, heads, width).transpose(0, 1), dim=-1)
        prototypes = self.prototypes.detach() if freeze else self.prototypes
        # Of unit length already where training has set them so: the gradient is that of a plain product, as theirs is.
        prototypes = prototypes / prototypes.detach().norm(dim=-1, keepdim=True)
        scores = torch.bmm(embedding, prototypes.transpose(1, 2))
        return scores.view(heads, views, batch, -1).transpose(0, 1)

    def summary(self) -> dict[str, Tensor]:
        """Means of the loss's three terms over the batches since the last call, before they are weighted."""
        means = {name: total / self._n_batches for name, total in self._totals.items()}
        self._totals, self._n_batches = {}, 0
        return means

    def _record(self, *terms: Tensor) -> None:
        for name, term in zip(_TERMS, terms, strict=True):
            self._totals[name] = self._totals.get(name, torch.zeros_like(term)) + term.detach()
        self._n_batches += 1


def swapped_prediction(log_u: Tensor, codes: Tensor) -> Tensor:
    """Cross entropy between the codes of the first views and what each other view predicts, a mean over the pairs.

    Args:
        log_u: Log probabilities of prototypes (views, heads, batch, prototypes), at least two views.
        codes: Codes of the first views, (codes, heads, batch, prototypes).

    Returns:
        Shape (heads,).
    """
    n_codes, n_views = len(codes), len(log_u)
    # All pairs of a code and a view, less those of a view with itself.
    agreement = (codes.sum(0) * log_u.sum(0)).sum(-1) - (codes * log_u[:n_codes]).sum((0, -1))
    return -batch_mean(agreement, dims=(1,)) / (n_codes * (n_views - 1))


def weighted_information(logits: Tensor, log_u: Tensor, *, balance: float) -> Tensor:
    """H(Y_j | U_i) - balance H(Y_j), a mean over all pairs of views j of the logits and i of the prototypes.

    With balance 1 it is minus the mutual information; each 1 more adds a reward of the marginal's entropy.

    Args:
        logits: Logits of clusters, (views, heads, batch, clusters).
        log_u: Log probabilities of prototypes, (views, heads, batch, prototypes); carries no gradient.
        balance: Weight of the entropy of the clusters' marginal.

    Returns:
        Shape (heads,).
    """
    log_y = log_probs(logits, 1.0)
    n_clusters, n_prototypes = log_y.shape[-1], log_u.shape[-1]
    views, heads, batch, _ = log_y.shape
    # The joints of all pairs of views are one matrix product a head.
    clusters = log_y.exp().permute(1, 0, 3, 2).reshape(heads, views * n_clusters, batch)
    prototypes = log_u.exp().permute(1, 2, 0, 3).reshape(heads, batch, -1)
    joints = torch.bmm(clusters, prototypes) / batch
    joints = joints.view(heads, views, n_clusters, -1, n_prototypes).transpose(2, 3).flatten(3)
    # A cell that holds nothing adds nothing, to the entropy or to a gradient.
    together = entropy(joints.clamp_min(torch.finfo(joints.dtype).tiny).log()).mean((1, 2))
    return together - marginal_entropy(log_u).mean(0) - balance * marginal_entropy(log_y).mean(0)


def logit_excess(logits: Tensor, bound: float) -> Tensor:
    """What logits exceed the bound by in size, summed over clusters: a mean over views and samples, (heads,)."""
    return batch_mean(torch.relu(logits.abs() - bound).sum(-1), dims=(0, 2))


def _check_counts(*, n_augmented: int, n_partners: int, n_codes: int) -> None:
    _check_weights(n_augmented=n_augmented, n_partners=n_partners)
    views = 1 + n_augmented + n_partners
    if views < 2:
        raise SettingError("n_augmented and n_partners are 0: wanted a view to predict beside the plain one.")
    if not 1 <= n_codes <= views:
        raise SettingError(f"n_codes is {n_codes}: wanted 1 to {views}, the number of views.")


def _check_positive(**settings: float) -> None:
    for name, value in settings.items():
        if not value > 0:
            raise SettingError(f"{name} is {value}: wanted more than 0.")


def _check_weights(**settings: float) -> None:
    for name, value in settings.items():
        if not value >= 0:
            raise SettingError(f"{name} is {value}: wanted 0 or more.")
