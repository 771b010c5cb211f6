"""Random streams. headclust never uses a global generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


# Purpose of a stream, the first number after the seed; every purpose has its own.
HEAD_STREAM, BATCH_STREAM, RESTART_STREAM, VIEW_STREAM, OBJECTIVE_STREAM, SEEN_STREAM = 1, 2, 3, 4, 5, 6


def stream_seed(seed: int, *stream: int) -> int:
    """A 63-bit seed of one of many independent streams of `seed`.

    Args:
        seed: The user's seed, >= 0.
        *stream: Numbers that identify the stream, for example (purpose, head). The same numbers give the same seed.
    """
    return int(np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_generator(seed: int, *stream: int) -> torch.Generator:
    """A CPU generator for one stream of `seed`; drawing on the CPU gives the same numbers for every device."""
    import torch

    return torch.Generator().manual_seed(stream_seed(seed, *stream))
