"""Arithmetic over the processes of torch.distributed, with gradients, and its errors in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from headclust.errors import LostProcessError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Raise errors of torch.distributed as one line.

    Raises:
        LostProcessError: Another process has ended, or did not answer in time.
    """
    try:
        yield
    except RuntimeError:
        raise LostProcessError(
            "lost the connection to another process of this fit: it has ended, or did not answer in time. Nothing was "
            "written: start all processes again."
        ) from None


def _total(values: Tensor) -> Tensor:
    total = values.detach().clone(memory_format=torch.contiguous_format)
    with one_line_errors():
        dist.all_reduce(total)
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _total(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # The losses of all processes depend on the sum: its gradient is the sum of their gradients.
        return _total(gradient)


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        parts = values.new_empty(dist.get_world_size(), *values.shape)
        with one_line_errors():
            dist.all_gather(list(parts.unbind()), values.contiguous())
        return parts

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Part r of the gradient, summed over the processes, belongs to process r.
        return _total(gradient)[dist.get_rank()]


def summed(values: Tensor) -> Tensor:
    """Sum over the processes of tensors of one shape, of any number type; every process gets the same bits."""
    total: Tensor = _Sum.apply(values)
    return total


def stacked(values: Tensor) -> Tensor:
    """The tensors of all processes, of one shape, along a new first axis: (processes, ...)."""
    parts: Tensor = _Stack.apply(values)
    return parts


def broadcast_(values: Tensor, source: int) -> Tensor:
    """Overwrite a contiguous tensor with that of the process `source`, and return it; without a gradient."""
    with one_line_errors():
        dist.broadcast(values, source)
    return values
