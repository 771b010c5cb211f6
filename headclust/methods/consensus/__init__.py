"""The default method: consensus of many partitions, predicted by linear heads refined with the likelihood of pairs."""

from __future__ import annotations

from headclust.methods.consensus.refinement import PRESETS, fit

__all__ = ["PRESETS", "fit"]
