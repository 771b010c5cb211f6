"""Processes that share one fit: sums, means and lists over all of them. A fit in one process uses ALONE.

Every process runs the same program on its own part of the samples or of the heads, and all call the same functions of
a `Group` in the same order. Each function that returns a tensor can be differentiated: its gradient is that of the sum
of the processes' losses, so that gradients of parameters are summed over the processes too.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headclust.errors import SettingError
from headclust.shards import Shard

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class Group:
    """One of the processes that share a fit.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    def share(self, n_items: int) -> range:
        """The items of this process, of `n_items` in contiguous shares whose lengths differ by 1 at most."""
        return Shard(self.rank + 1, self.size).range(n_items)

    def split(self, n_heads: int) -> tuple[Group, Group]:
        """The processes that share the heads of an ensemble, and those that share each batch; one of them is ALONE.

        Heads over processes need almost no messages, so they are preferred if every process gets a head.
        """
        return (self, ALONE) if n_heads >= self.size else (ALONE, self)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the processes of tensors of one shape; every process gets the same bits."""
        if self.size == 1:
            return values
        from headclust.collectives import summed

        return summed(values)

    def stack(self, values: Tensor) -> Tensor:
        """The tensors of all processes, of one shape, along a new first axis: (size, ...)."""
        if self.size == 1:
            return values[None]
        from headclust.collectives import stacked

        return stacked(values)

    def gather(self, values: Tensor) -> Tensor:
        """The tensors of all processes, of any lengths, joined along the first axis in the order of the ranks."""
        if self.size == 1:
            return values
        import torch

        lengths = self._counts(len(values))
        # Messages have one shape: the shorter parts are padded, (size, longest, ...).
        padding = values.new_zeros(max(lengths) - len(values), *values.shape[1:])
        parts = self.stack(torch.cat((values, padding)))
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def first(self, count: int) -> int:
        """Number of the first item of this process, if it has `count` of them and those of lower ranks come before."""
        return 0 if self.size == 1 else sum(self._counts(count)[: self.rank])

    def gather_arrays(self, *arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """`gather` of arrays."""
        if self.size == 1:
            return arrays
        import torch

        return tuple(self.gather(torch.from_numpy(array)).numpy() for array in arrays)

    def total(self, count: int) -> int:
        """Sum over the processes of a count."""
        return count if self.size == 1 else sum(self._counts(count))

    def any(self, flag: bool) -> bool:
        """True if the flag is true in any process."""
        return self.total(int(flag)) > 0

    def wait(self) -> None:
        """Wait until all processes have called this."""
        self.total(0)

    def mean(self, values: Tensor, *, dims: tuple[int, ...], keepdim: bool = False) -> Tensor:
        """Mean over axes, of which the processes hold parts."""
        if self.size == 1:
            return values.mean(dim=dims, keepdim=keepdim)
        import torch

        # Sum and count of this process in one message: [sum of values (n,), count].
        own = values.sum(dim=dims, keepdim=keepdim)
        count = values.new_tensor([math.prod(values.shape[dim] for dim in dims)])
        total = self.sum(torch.cat((own.flatten(), count)))
        return total[:-1].view_as(own) / total[-1]

    def log_mean(self, log_values: Tensor, *, dims: tuple[int, ...], keepdim: bool = False) -> Tensor:
        """Log of the mean of exp(log_values) over axes, of which the processes hold parts."""
        import torch

        # log (1/n) sum_i exp(l_i) = logsumexp_i l_i - log n.
        own = torch.logsumexp(log_values, dim=dims, keepdim=keepdim)
        count = math.prod(log_values.shape[dim] for dim in dims)
        if self.size == 1:
            return own - math.log(count)
        # Log-sum-exp and count of each process, (size, n + 1), and the log-sum-exp of these.
        parts = self.stack(torch.cat((own.flatten(), log_values.new_tensor([count]))))
        return (torch.logsumexp(parts[:, :-1], dim=0) - parts[:, -1].sum().log()).view_as(own)

    def broadcast_(self, values: Tensor, source: int) -> Tensor:
        """Overwrite a contiguous tensor with that of the process `source`; return it. It has no gradient."""
        if self.size == 1:
            return values
        from headclust.collectives import broadcast_

        return broadcast_(values, source)

    def check_same(self, what: str, text: str) -> None:
        """Raise if a text differs between processes.

        Args:
            what: Its content, for the message.
            text: The text.

        Raises:
            SettingError: It differs.
        """
        import torch

        digest = hashlib.sha256(text.encode()).digest()
        digests = self.stack(torch.frombuffer(bytearray(digest), dtype=torch.uint8))
        if not (digests == digests[0]).all():
            raise SettingError(f"the processes differ in {what}: start all with the same command and files.")

    def _counts(self, count: int) -> list[int]:
        import torch

        counts: list[int] = self.stack(torch.tensor(count)).tolist()
        return counts


ALONE = Group()

_current: ContextVar[Group] = ContextVar("the processes that share the fit", default=ALONE)


def current() -> Group:
    """The processes that share the fit that runs; ALONE outside of `join`."""
    return _current.get()


@contextmanager
def use(group: Group) -> Iterator[Group]:
    """Share the fits in the context among the processes of a group, which torch.distributed has connected."""
    outer = _current.set(group)
    try:
        yield group
    finally:
        _current.reset(outer)
