"""Objectives by name, one per file."""

from __future__ import annotations

from typing import Any

from headclust.training.objectives.batch import Batch, Objective
from headclust.training.objectives.clc import Clc
from headclust.training.objectives.imc_swav import ImcSwav
from headclust.training.objectives.pairs import Pairs
from headclust.training.objectives.scan import Scan
from headclust.training.objectives.self_label import SelfLabel
from headclust.training.objectives.temi import Pmi, Temi, Wmi
from headclust.training.objectives.temi_scan import TemiScan
from headclust.training.objectives.turtle import Turtle

OBJECTIVES: dict[str, Any] = {
    "temi": Temi,
    "wmi": Wmi,
    "pmi": Pmi,
    "temi-scan": TemiScan,
    "scan": Scan,
    "pairs": Pairs,
    "self-label": SelfLabel,
    "clc": Clc,
    "turtle": Turtle,
    "imc-swav": ImcSwav,
}

__all__ = ["OBJECTIVES", "Batch", "Objective"]
