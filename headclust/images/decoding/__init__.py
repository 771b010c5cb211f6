"""Decoding in processes of its own, because a decoder that hangs or crashes can be ended only from outside."""

from __future__ import annotations

from headclust.images.decoding.pool import AHEAD, decoded_batches, n_workers
from headclust.images.decoding.worker import took_too_long

__all__ = ["AHEAD", "decoded_batches", "n_workers", "took_too_long"]
