"""Optimizers by name, each over tensors that are decayed and tensors that are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from headclust.errors import SettingError

Parameters = Sequence[nn.Parameter]


def adamw(
    decayed: Parameters, others: Parameters, *, lr: float, weight_decay: float = 1e-4, beta1: float = 0.9
) -> torch.optim.Optimizer:
    """AdamW (https://arxiv.org/abs/1711.05101).

    Args:
        decayed: What weight decay is for.
        others: What it is not for: biases.
        lr: Learning rate.
        weight_decay: Weight decay; biases have none.
        beta1: Momentum of the running mean of the gradient, in [0, 1).
    """
    _check(weight_decay=weight_decay, beta1=beta1)
    return torch.optim.AdamW(_groups(decayed, others, weight_decay), lr=lr, betas=(beta1, 0.999), fused=True)


def adam(
    decayed: Parameters, others: Parameters, *, lr: float, weight_decay: float = 0.0, beta1: float = 0.9
) -> torch.optim.Optimizer:
    """Adam (https://arxiv.org/abs/1412.6980), its weight decay a part of the gradient, on biases too.

    Args:
        decayed: Tensors to train.
        others: Biases, which are not treated differently.
        lr: Learning rate.
        weight_decay: Weight decay, added to the gradient of every tensor.
        beta1: Momentum of the running mean of the gradient, in [0, 1).
    """
    _check(weight_decay=weight_decay, beta1=beta1)
    return torch.optim.Adam([*decayed, *others], lr=lr, betas=(beta1, 0.999), weight_decay=weight_decay)


def sgd(
    decayed: Parameters, others: Parameters, *, lr: float, weight_decay: float = 0.0, sgd_momentum: float = 0.9
) -> torch.optim.Optimizer:
    """Gradient descent with momentum.

    Args:
        decayed: Tensors to train.
        others: Biases, which are not treated differently.
        lr: Learning rate.
        weight_decay: Weight decay, added to the gradient of every tensor.
        sgd_momentum: Share of the last step that is kept, in [0, 1).
    """
    _check(weight_decay=weight_decay, sgd_momentum=sgd_momentum)
    # Not fused: torch 2.14's fails over parameters without a gradient in the first step, those that are frozen then.
    return torch.optim.SGD([*decayed, *others], lr=lr, momentum=sgd_momentum, weight_decay=weight_decay)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": adamw, "adam": adam, "sgd": sgd}


def _groups(decayed: Parameters, others: Parameters, weight_decay: float) -> list[dict[str, object]]:
    return [{"params": list(decayed), "weight_decay": weight_decay}, {"params": list(others), "weight_decay": 0.0}]


def _check(*, weight_decay: float, **momenta: float) -> None:
    if not 0 <= weight_decay < float("inf"):
        raise SettingError(f"weight_decay is {weight_decay}: wanted 0 or more.")
    for name, value in momenta.items():
        if not 0 <= value < 1:
            raise SettingError(f"{name} is {value}: wanted 0 or more, and less than 1.")
