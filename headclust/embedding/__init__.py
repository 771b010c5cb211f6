"""Stage 1: images x frozen backbone -> feature file."""

from __future__ import annotations

from headclust.embedding.embed import embed_images

__all__ = ["embed_images"]
