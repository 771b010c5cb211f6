"""Numbers of groups that features support: a range, from curves over the number of clusters, and levels in it."""

from __future__ import annotations

from headclust.granularity.suggestion import FEWEST, Curves, GroupOfLevel, Level, Suggestion

__all__ = ["FEWEST", "Curves", "GroupOfLevel", "Level", "Suggestion"]
