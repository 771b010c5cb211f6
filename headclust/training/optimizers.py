"""Optimizers by name; each takes parameters with weight decay and parameters without."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

from headclust.errors import BELOW_ONE, FINITE, check_ranges

if TYPE_CHECKING:
    import torch
    from torch import nn

    Parameters = Sequence[nn.Parameter]

_RANGES = {"weight_decay": (0, FINITE), "beta1": (0, BELOW_ONE), "sgd_momentum": (0, BELOW_ONE)}


def adamw(
    decayed: Parameters, others: Parameters, *, lr: float, weight_decay: float = 1e-4, beta1: float = 0.9
) -> torch.optim.Optimizer:
    """AdamW (https://arxiv.org/abs/1711.05101).

    Args:
        decayed: Parameters with weight decay.
        others: Parameters without: biases.
        lr: Learning rate.
        weight_decay: Weight decay; biases have none.
        beta1: Momentum of the running mean of the gradient, in [0, 1).
    """
    import torch

    _check(weight_decay=weight_decay, beta1=beta1)
    return torch.optim.AdamW(_groups(decayed, others, weight_decay), lr=lr, betas=(beta1, 0.999), fused=True)


def adam(
    decayed: Parameters, others: Parameters, *, lr: float, weight_decay: float = 0.0, beta1: float = 0.9
) -> torch.optim.Optimizer:
    """Adam (https://arxiv.org/abs/1412.6980), with weight decay as part of the gradient, for biases too.

    Args:
        decayed: Parameters.
        others: Biases, treated like `decayed`.
        lr: Learning rate.
        weight_decay: Weight decay, added to the gradient of every tensor.
        beta1: Momentum of the running mean of the gradient, in [0, 1).
    """
    import torch

    _check(weight_decay=weight_decay, beta1=beta1)
    return torch.optim.Adam([*decayed, *others], lr=lr, betas=(beta1, 0.999), weight_decay=weight_decay)


def sgd(
    decayed: Parameters, others: Parameters, *, lr: float, weight_decay: float = 0.0, sgd_momentum: float = 0.9
) -> torch.optim.Optimizer:
    """Gradient descent with momentum.

    Args:
        decayed: Parameters.
        others: Biases, treated as the others.
        lr: Learning rate.
        weight_decay: Weight decay, added to the gradient of every tensor.
        sgd_momentum: Share of the previous step that is added to the next, in [0, 1).
    """
    import torch

    _check(weight_decay=weight_decay, sgd_momentum=sgd_momentum)
    # Not fused: the fused SGD of torch 2.14 fails if a parameter has no gradient in the first step, as if frozen.
    return torch.optim.SGD([*decayed, *others], lr=lr, momentum=sgd_momentum, weight_decay=weight_decay)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": adamw, "adam": adam, "sgd": sgd}


def check_optimizer(name: str, settings: Mapping[str, float]) -> None:
    """Raise if an optimizer does not take these settings.

    The optimizer is not built: that loads torch's compiler, which takes seconds.
    """
    inspect.signature(OPTIMIZERS[name]).bind([], [], lr=1.0, **settings)
    _check(**settings)


def _groups(decayed: Parameters, others: Parameters, weight_decay: float) -> list[dict[str, object]]:
    return [{"params": list(decayed), "weight_decay": weight_decay}, {"params": list(others), "weight_decay": 0.0}]


def _check(**settings: float) -> None:
    check_ranges(SimpleNamespace(**settings), {name: _RANGES[name] for name in settings})
