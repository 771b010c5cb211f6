"""Stage 1: images x frozen backbone -> feature file (`embed.embed_images`), or an estimate of its cost."""

from __future__ import annotations

from headclust.embedding.settings import EmbedSettings

__all__ = ["EmbedSettings"]
