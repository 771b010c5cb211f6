"""When a training ends before its last step: a time limit, and early stopping per head."""

from __future__ import annotations

import math
import time

from torch import Tensor, nn

from headclust.group import Group
from headclust.model.heads import select

_GROWTH = 1e-3  # increase in the share of confident samples below which a head has stopped improving


class TimeLimit:
    """Time limit of a training that several processes share: it is over for all of them at the same step.

    Args:
        seconds: The limit; 0 for none.
        group: The processes.
        before: Seconds of it that were spent before now.

    Attributes:
        passed: True after `is_over` has returned True.
    """

    def __init__(self, seconds: float, group: Group, *, before: float = 0.0) -> None:
        self.passed = False
        self._end = time.monotonic() + seconds - before if seconds else math.inf
        self._group = group

    def is_over(self) -> bool:
        """True if the limit has passed in any process; all call this at the same steps."""
        if self._end < math.inf:
            self.passed = self._group.any(time.monotonic() >= self._end)
        return self.passed


class PerHeadEarlyStopping:
    """Early stopping per head, when its share of confident samples no longer grows.

    Heads are trained together, so a stopped head is still updated with the others; at the end the tensors that it had
    when it stopped are restored, which gives the same head as training it alone.

    Args:
        patience: Records without growth after which a head stops; 0 for never.
        n_heads: Number of heads.
    """

    def __init__(self, patience: int, n_heads: int) -> None:
        self.patience = patience
        self.best = [-math.inf] * n_heads
        self.flat = [0] * n_heads
        self.stopped: dict[int, dict[str, Tensor]] = {}

    def all_stopped(self, confident: list[float] | None, heads: nn.Module) -> bool:
        """Record the share of confident samples of every head; return True if all heads have stopped."""
        if not self.patience or confident is None:
            return False
        for head, share in enumerate(confident):
            self.flat[head] = 0 if share > self.best[head] + _GROWTH else self.flat[head] + 1
            self.best[head] = max(self.best[head], share)
            if self.flat[head] >= self.patience and head not in self.stopped:
                self.stopped[head] = select(heads.state_dict(), head)
        return len(self.stopped) == len(self.best)

    def restore_(self, heads: nn.Module) -> None:
        """Give each stopped head the tensors it had when it stopped."""
        state = heads.state_dict()
        for head, tensors in self.stopped.items():
            for name, tensor in tensors.items():
                state[name][head] = tensor[0]
