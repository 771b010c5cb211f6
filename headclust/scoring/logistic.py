"""Multinomial logistic regression by L-BFGS, in blocks of rows, on any device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LOGITS = 1 << 24  # logits at once: 64 MB
_STEPS, _MEMORY = 300, 10
_GRADIENT, _CHANGE = 1e-3, 1e-9  # of the mean loss: largest entry of the gradient, and decrease, at which it stops


def fit_logistic(
    rows: Tensor, labels: NDArray[np.intp], n_classes: int, *, device: torch.device | None = None
) -> Callable[[Tensor], NDArray[np.int64]]:
    """A function from rows (n, feature_dim) to their classes, int64 (n,).

    It minimizes the sum of cross-entropies plus half the squared weights, without the biases: C = 1 in scikit-learn's
    LogisticRegression, which stops at the same gradient.

    Args:
        rows: Shape (n_samples, feature_dim), standardized in place; a column that does not vary becomes 0.
        labels: Classes, 0 to n_classes - 1, (n_samples,).
        n_classes: Number of classes.
        device: Where to compute; the CPU by default.
    """
    device = device or torch.device("cpu")
    x, y = rows.to(device), torch.from_numpy(labels).to(device)
    mean, scale = _standardize_(x)
    weights = torch.zeros(x.shape[1] + 1, n_classes, device=device)  # the last row: biases
    weights.grad = torch.zeros_like(weights)
    solver = torch.optim.LBFGS(
        [weights],
        max_iter=_STEPS,
        history_size=_MEMORY,
        tolerance_grad=_GRADIENT,
        tolerance_change=_CHANGE,
        line_search_fn="strong_wolfe",
    )
    with torch.no_grad():
        solver.step(lambda: _set_gradient_(weights, x, y))  # type: ignore[no-untyped-call]

    def predict(others: Tensor) -> NDArray[np.int64]:
        logits = ((others.to(device) - mean) * scale) @ weights[:-1] + weights[-1]
        classes: NDArray[np.int64] = logits.argmax(1).cpu().numpy()
        return classes

    return predict


def _standardize_(x: Tensor) -> tuple[Tensor, Tensor]:
    """Give columns of x (n_samples, dim) mean 0 and variance 1 in place; return their means and factors, (dim,)."""
    mean = x.mean(0)
    x -= mean
    # Population standard deviation per column, as in scikit-learn's StandardScaler.
    spread = torch.stack([column.square().mean() for column in x.T]).sqrt()
    scale = torch.where(spread > 0, 1 / spread, 0.0)
    x *= scale
    return mean, scale


def _set_gradient_(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The loss divided by the number of samples; its gradient becomes `weights.grad`."""
    assert weights.grad is not None
    n_rows = max(1, _LOGITS // weights.shape[1])
    loss = weights[:-1].square().sum() / 2
    weights.grad.zero_()
    weights.grad[:-1] = weights[:-1]
    for block, classes in zip(torch.split(x, n_rows), torch.split(y, n_rows), strict=True):
        log_probs = torch.log_softmax(block @ weights[:-1] + weights[-1], dim=1)
        loss -= log_probs.gather(1, classes[:, None]).sum()
        # Gradient of the cross-entropy in the logits: p - one-hot, (n, classes).
        error = log_probs.exp_()
        error[torch.arange(len(block), device=x.device), classes] -= 1
        weights.grad[:-1] += block.T @ error
        weights.grad[-1] += error.sum(0)
    weights.grad /= len(x)
    return loss / len(x)
