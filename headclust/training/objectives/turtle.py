"""TURTLE: the labeling that linear classifiers learn best within a few steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from headclust.group import ALONE
from headclust.model.heads import HeadOutput
from headclust.seeding import OBJECTIVE_STREAM, torch_generator
from headclust.training.objectives.batch import Batch
from headclust.training.objectives.terms import RunningMean, batch_mean, log_probs, marginal_entropy
from headclust.training.parts import TurtleSettings

_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of the inner Adam


class Turtle(nn.Module):
    """The TURTLE objective for all heads at once.

    For a head with probabilities p_s in feature space s and labels tau = mean over spaces of p_s, and with inner
    classifiers w_s fitted to the labels of the batch by a few steps of Adam:

        loss = sum over spaces of mean over the batch of CE(tau, softmax(w_s x_s)) - gamma H(mean over the batch of p_s)

    The classifiers are constants in the loss: gradients flow through the labels alone. They are buffers, and the
    gradient for fitting them is computed in closed form: (softmax(w_s x_s) - tau) x_s, averaged over the batch.

    Paper: Gadetsky, Jiang, Brbic, "Let Go of Your Labels with Unsupervised Transfer", ICML 2024
    (https://arxiv.org/abs/2406.07236). Author code: https://github.com/mlbio-epfl/turtle (run_turtle.py).

    Deviations: entropies are computed from logs, where the gradient of the author code is NaN once a cluster's mean
    probability underflows in float32. Each head's classifiers are drawn from their own stream. In evaluation mode
    classifiers do not change.

    Args:
        n_heads: Number of heads.
        n_clusters: Number of clusters per head.
        feature_dims: Dimension of the features, one per space.
        seed: The fit's seed; head h draws its inner classifiers from its own stream of it.
        first_head: Number of the first of these heads, of those that several processes train.
        settings: Those of `parts.TurtleSettings`.

    Raises:
        SettingError: A value is out of its range.
    """

    batch_group = head_group = ALONE
    inner_updates: Tensor

    def __init__(
        self,
        *,
        n_heads: int,
        n_clusters: int,
        feature_dims: Sequence[int],
        seed: int,
        first_head: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.settings = TurtleSettings(**settings)
        self.views, self.uses_teacher, self.temperature, _ = self.settings.traits
        self._feature_dims = tuple(feature_dims)
        self._streams = [torch_generator(seed, OBJECTIVE_STREAM, first_head + head) for head in range(n_heads)]
        for space, dim in enumerate(self._feature_dims):
            # The classifiers and Adam's two moments; a row is a cluster's weights, then its bias.
            for name in ("classifier", "mean", "square"):
                self.register_buffer(f"space{space}_{name}", torch.zeros(n_heads, n_clusters, dim + 1))
        self.register_buffer("inner_updates", torch.zeros(n_heads, dtype=torch.int64))
        self._error, self._entropy = RunningMean(n_heads), RunningMean(n_heads)
        self._restart_()

    def forward(self, batch: Batch | None, student: HeadOutput, teacher: HeadOutput | None, progress: float) -> Tensor:
        """Loss per head, shape (heads,); fits the inner classifiers in training mode.

        Args:
            batch: Features, one (1, batch, dim) per space.
            student: Logits of each space (1, heads, batch, clusters); carries the gradient.
            teacher: Not used.
            progress: Not used.
        """
        assert batch is not None
        assert student.space_logits is not None
        features = [space[0] for space in batch.features]  # (batch, dim) per space
        # log p_s, (spaces, heads, batch, clusters).
        logs = torch.stack([log_probs(logits[0], 1.0) for logits in student.space_logits])
        # tau, (heads, clusters, batch). Clusters come before samples from here on: matrix products and softmaxes with
        # long rows take half the time.
        labels = logs.exp().mean(0).transpose(1, 2).contiguous()
        if self.training:
            self._fit_inner_(features, labels.detach())
        # sum_s log softmax(w_s x_s), (heads, clusters, batch): the sum over spaces of the cross-entropies with tau is
        # the cross-entropy of tau with this sum.
        predicted = sum(self._inner_logits(space, rows).log_softmax(1) for space, rows in enumerate(features))
        error = -batch_mean((labels * predicted).sum(1), dims=(1,), group=self.batch_group)
        # sum_s H(mean over the batch of p_s), (heads,).
        entropy = marginal_entropy(logs, self.batch_group).sum(0)
        if self.training:
            self._error.add(error)
            self._entropy.add(entropy)
        return error - self.settings.gamma * entropy

    def summary(self) -> dict[str, Tensor]:
        """Means since the last call of `prediction_error` and `share_entropy`, summed over spaces, each (heads,)."""
        return {"prediction_error": self._error.take(), "share_entropy": self._entropy.take()}

    def get_extra_state(self) -> Tensor:
        """State of the streams of the inner classifiers, (heads, bytes)."""
        return torch.stack([stream.get_state() for stream in self._streams])

    def set_extra_state(self, state: Tensor) -> None:
        """Go back to a state of the streams."""
        for stream, own in zip(self._streams, state.cpu(), strict=True):
            stream.set_state(own.clone())  # of a row of a larger tensor, torch 2.14 crashes

    @torch.no_grad()
    def _restart_(self) -> None:
        """Draw the inner classifiers as `torch.nn.Linear` does, and reset Adam's moments."""
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
        """Fit the inner classifiers to labels (heads, clusters, batch), given features (batch, dim) per space."""
        if not self.settings.warm_start:
            self._restart_()
        batch = self.batch_group.total(len(features[0]))
        for _ in range(self.settings.inner_steps):
            self.inner_updates += 1
            for space, rows in enumerate(features):
                # Gradient of the mean cross-entropy by the logits, (softmax(w_s x_s) - tau) / batch,
                # (heads * clusters, batch).
                residual = ((self._inner_logits(space, rows).softmax(1) - labels) / batch).flatten(0, 1)
                # By the weights: its product with x_s; by the bias: its sum. (heads * clusters, dim + 1).
                gradient = self.batch_group.sum(torch.cat((residual @ rows, residual.sum(1, keepdim=True)), dim=1))
                self._adam_(space, gradient.view_as(self._inner(space)[0]))

    def _adam_(self, space: int, gradient: Tensor) -> None:
        """One step of Adam (https://arxiv.org/abs/1412.6980, algorithm 1) on the classifiers of one space."""
        classifier, mean, square = self._inner(space)
        # Moments: m <- beta1 m + (1 - beta1) g and v <- beta2 v + (1 - beta2) g^2, (heads, clusters, dim + 1).
        mean.lerp_(gradient, 1 - _BETAS[0])
        square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        # Bias corrections 1 - beta^t, (heads, 1, 1); expm1 is exact in float32 even where beta^t is close to 1.
        first, second = (-torch.expm1(self.inner_updates * math.log(beta))[:, None, None] for beta in _BETAS)
        # w <- w - lr (m / first) / (sqrt(v / second) + epsilon).
        classifier -= self.settings.inner_lr / first * mean / ((square / second).sqrt() + _EPSILON)

    def _inner_logits(self, space: int, features: Tensor) -> Tensor:
        """Logits (heads, clusters, batch) of the inner classifiers of one space for its features (batch, dim)."""
        classifier = self._inner(space)[0]
        heads, clusters, _ = classifier.shape
        rows = classifier.flatten(0, 1)
        # bias + weights x, (heads * clusters, batch). The input is shared, so all heads are one matrix product.
        return torch.addmm(rows[:, -1:], rows[:, :-1], features.T).view(heads, clusters, len(features))

    def _inner(self, space: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inner classifiers of one space and Adam's moments, each (heads, clusters, dim + 1)."""
        classifier, mean, square = (
            self.get_buffer(f"space{space}_{name}") for name in ("classifier", "mean", "square")
        )
        return classifier, mean, square
