"""Objectives by name, one file each."""

from __future__ import annotations

from headclust.objectives.batch import Batch, Objective
from headclust.objectives.temi import Temi

OBJECTIVES = {"temi": Temi}

__all__ = ["OBJECTIVES", "Batch", "Objective"]
