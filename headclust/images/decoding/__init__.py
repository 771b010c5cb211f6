"""Decoding in worker processes, because a decoder that hangs or crashes can only be ended from outside."""

from __future__ import annotations

from headclust.images.decoding.pool import AHEAD, decoded_batches, n_workers
from headclust.images.decoding.worker import timeout_reason

__all__ = ["AHEAD", "decoded_batches", "n_workers", "timeout_reason"]
