"""Images that are copies of one another, in groups: found by their features, told from others by their pixels."""

from __future__ import annotations

from headclust.duplicates.find import find_duplicates
from headclust.duplicates.groups import DuplicateGroup, Duplicates
from headclust.duplicates.nearest import NearestImages, find_nearest

__all__ = ["DuplicateGroup", "Duplicates", "NearestImages", "find_duplicates", "find_nearest"]
