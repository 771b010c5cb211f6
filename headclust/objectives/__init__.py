"""Objectives by name, one file each."""

from __future__ import annotations

from typing import Any

from headclust.objectives.batch import Batch, Objective
from headclust.objectives.clc import Clc
from headclust.objectives.imc_swav import ImcSwav
from headclust.objectives.scan import Scan
from headclust.objectives.self_label import SelfLabel
from headclust.objectives.temi import Pmi, Temi, Wmi
from headclust.objectives.temi_scan import TemiScan
from headclust.objectives.turtle import Turtle

OBJECTIVES: dict[str, Any] = {
    "temi": Temi,
    "wmi": Wmi,
    "pmi": Pmi,
    "temi-scan": TemiScan,
    "scan": Scan,
    "self-label": SelfLabel,
    "clc": Clc,
    "turtle": Turtle,
    "imc-swav": ImcSwav,
}

__all__ = ["OBJECTIVES", "Batch", "Objective"]
