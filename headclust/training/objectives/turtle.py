"""TURTLE: the labelling that linear classifiers learn best within a few steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.seeding import OBJECTIVE_STREAM, torch_generator
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import batch_mean, log_probs, marginal_entropy

_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of the inner Adam


class Turtle(nn.Module):
    """The TURTLE objective for all heads at once.

    For a head with probabilities p_s in feature space s and labels tau = mean over spaces of p_s, and with inner
    classifiers w_s that a few steps of Adam have fitted to the labels of the batch:

        loss = sum over spaces of mean over the batch of CE(tau, softmax(w_s x_s)) - gamma H(mean over the batch of p_s)

    The classifiers are taken as constants: gradients flow through the labels alone. They are buffers, and their own
    gradient is written out: (softmax(w_s x_s) - tau) x_s, averaged over the batch.

    Paper: Gadetsky, Jiang, Brbic, "Let Go of Your Labels with Unsupervised Transfer", ICML 2024
    (https://arxiv.org/abs/2406.07236). Author code: https://github.com/mlbio-epfl/turtle (run_turtle.py).

    Deviations: entropies are computed from logs, where the gradient of the author code is not a number once a cluster's
    mean probability is below float32. Each head's classifiers are drawn from a stream of their own. In evaluation mode
    classifiers stay as the last step of training left them.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters a head.
        feature_dims: Dimension of the features, one a space.
        seed: The fit's seed; head h draws its inner classifiers from its own stream of it.
        gamma: Weight of the entropy of the clusters' shares, which keeps them in use.
        inner_steps: Steps of Adam that fit the inner classifiers in each step of training.
        inner_lr: Learning rate of these.
        warm_start: Go on with the inner classifiers of the step before; otherwise they are drawn anew.

    Raises:
        SettingError: A value is out of its range.
    """

    views = ("plain",)
    uses_teacher = False
    temperature = 1.0
    inner_updates: Tensor
    totals: Tensor

    def __init__(
        self,
        *,
        n_heads: int,
        n_clusters: int,
        feature_dims: Sequence[int],
        seed: int,
        gamma: float = 10.0,
        inner_steps: int = 10,
        inner_lr: float = 1e-3,
        warm_start: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= gamma < math.inf:
            raise SettingError(f"gamma is {gamma}: wanted 0 or more.")
        if not inner_steps >= 1:
            raise SettingError(f"inner_steps is {inner_steps}: wanted 1 or more.")
        if not 0 < inner_lr < math.inf:
            raise SettingError(f"inner_lr is {inner_lr}: wanted more than 0.")
        self.gamma = gamma
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.warm_start = warm_start
        self._feature_dims = tuple(feature_dims)
        self._streams = [torch_generator(seed, OBJECTIVE_STREAM, head) for head in range(n_heads)]
        for space, dim in enumerate(self._feature_dims):
            # A row is a cluster's weights, then its bias.
            for name in ("classifier", "mean", "square"):
                self.register_buffer(f"space{space}_{name}", torch.zeros(n_heads, n_clusters, dim + 1))
        self.register_buffer("inner_updates", torch.zeros(n_heads, dtype=torch.int64))
        self.register_buffer("totals", torch.zeros(n_heads, 3))
        self._restart_()

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,); fits the inner classifiers in training mode.

        Args:
            batch: Features, one (1, batch, dim) a space.
            student: Logits of each space (1, heads, batch, clusters); carries the gradient.
            teacher: Not used.
            progress: Not used.
        """
        assert batch is not None
        assert student.space_logits is not None
        features = [space[0] for space in batch.features]
        logs = torch.stack([log_probs(logits[0], 1.0) for logits in student.space_logits])
        # Clusters before samples from here on: products and softmaxes over long rows take half the time.
        labels = logs.exp().mean(0).transpose(1, 2).contiguous()
        if self.training:
            self._fit_inner_(features, labels.detach())
        predicted = sum(self._inner_logits(space, rows).log_softmax(1) for space, rows in enumerate(features))
        error = -batch_mean((labels * predicted).sum(1), dims=(1,))
        entropy = marginal_entropy(logs).sum(0)
        if self.training:
            self.totals += torch.stack((error.detach(), entropy.detach(), torch.ones_like(error)), dim=1)
        return error - self.gamma * entropy

    def summary(self) -> dict[str, Tensor]:
        """Means over the batches since it was last asked: `prediction_error`, `share_entropy`, sums over spaces."""
        error, entropy, seen = self.totals.clone().unbind(1)
        self.totals.zero_()
        seen = seen.clamp_min(1)
        return {"prediction_error": error / seen, "share_entropy": entropy / seen}

    @torch.no_grad()
    def _restart_(self) -> None:
        """Draws the inner classifiers as `torch.nn.Linear` does, and forgets their moments."""
        for space, dim in enumerate(self._feature_dims):
            classifier, mean, square = self._inner(space)
            drawn = torch.empty(classifier.shape)
            for head, stream in enumerate(self._streams):
                drawn[head].uniform_(-(dim**-0.5), dim**-0.5, generator=stream)
            classifier.copy_(drawn)
            mean.zero_()
            square.zero_()
        self.inner_updates.zero_()

    @torch.no_grad()
    def _fit_inner_(self, features: Sequence[Tensor], labels: Tensor) -> None:
        """Fits the inner classifiers to labels (heads, clusters, batch) of features (batch, dim), one a space."""
        if not self.warm_start:
            self._restart_()
        for _ in range(self.inner_steps):
            self.inner_updates += 1
            for space, rows in enumerate(features):
                excess = ((self._inner_logits(space, rows).softmax(1) - labels) / len(rows)).flatten(0, 1)
                gradient = torch.cat((excess @ rows, excess.sum(1, keepdim=True)), dim=1)
                self._adam_(space, gradient.view_as(self._inner(space)[0]))

    def _adam_(self, space: int, gradient: Tensor) -> None:
        classifier, mean, square = self._inner(space)
        mean.lerp_(gradient, 1 - _BETAS[0])
        square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        # 1 - beta ** updates, to the last bit of float32.
        first, second = (-torch.expm1(self.inner_updates * math.log(beta))[:, None, None] for beta in _BETAS)
        classifier -= self.inner_lr / first * mean / ((square / second).sqrt() + _EPSILON)

    def _inner_logits(self, space: int, features: Tensor) -> Tensor:
        """Logits (heads, clusters, batch) of the inner classifiers of one space for its features (batch, dim)."""
        classifier = self._inner(space)[0]
        heads, clusters, _ = classifier.shape
        rows = classifier.flatten(0, 1)
        # The input is shared, so all heads and clusters are one matrix product.
        return torch.addmm(rows[:, -1:], rows[:, :-1], features.T).view(heads, clusters, len(features))

    def _inner(self, space: int) -> tuple[Tensor, Tensor, Tensor]:
        classifier, mean, square = (
            self.get_buffer(f"space{space}_{name}") for name in ("classifier", "mean", "square")
        )
        return classifier, mean, square
