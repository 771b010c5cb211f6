"""Kinds of trained heads by name, as their settings alone: no library is loaded to list, change or check them.

`model/heads/` has the modules that take these settings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from headclust.errors import check_ranges

_FROM_ONE = (1, math.inf)


@dataclass(frozen=True, kw_only=True)
class MlpSettings:
    """Settings of TEMI's heads.

    Args:
        hidden_dim: Width of the hidden layer.
        bottleneck_dim: Dimension of the normalized embedding.

    Raises:
        SettingError: A value is out of its range.
    """

    hidden_dim: int = 512
    bottleneck_dim: int = 256
    several_spaces: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_ranges(self, dict.fromkeys(("hidden_dim", "bottleneck_dim"), _FROM_ONE))


@dataclass(frozen=True, kw_only=True)
class BatchNormSettings:
    """Settings of IMC-SwAV's heads.

    Args:
        hidden_dim: Width of a head's first hidden layer.
        second_dim: Width of a head's second hidden layer.

    Raises:
        SettingError: A value is out of its range.
    """

    hidden_dim: int = 1024
    second_dim: int = 1024
    several_spaces: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_ranges(self, dict.fromkeys(("hidden_dim", "second_dim"), _FROM_ONE))


@dataclass(frozen=True, kw_only=True)
class LinearSettings:
    """SCAN's heads have no settings."""

    several_spaces: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """TURTLE's heads have no settings."""

    several_spaces: ClassVar[bool] = True


HEAD_SETTINGS: dict[str, Any] = {
    "mlp": MlpSettings,
    "linear": LinearSettings,
    "batchnorm": BatchNormSettings,
    "task": TaskSettings,
}
