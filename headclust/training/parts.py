"""Objectives by name, as their settings alone: no library is loaded to list, change or check them.

`training/objectives/` has the modules that take these settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from headclust.errors import ABOVE_ZERO, BELOW_ONE, FINITE, SettingError, check_choices, check_ranges

_POSITIVE, _FROM_ZERO, _FROM_ONE = (ABOVE_ZERO, math.inf), (0, FINITE), (1, math.inf)
CACHED = ("augmented", "strong")  # names of views that are cached in the feature file


class Traits(NamedTuple):
    """Facts about an objective that follow from its settings, known before it is built.

    Attributes:
        views: Views to sample, in the order of the views axis: "anchor", "neighbor", "plain", "augmented" or "strong",
            as `sampling.sample_batches` defines them.
        uses_teacher: True if the objective is given a teacher's output; then the teacher predicts.
        temperature: Temperature of the softmax that turns the predicting heads' logits into probabilities.
        reports_confidence: True if `summary()` has "confident", the share of confident samples.
    """

    views: tuple[str, ...]
    uses_teacher: bool = False
    temperature: float = 1.0
    reports_confidence: bool = False


def needs_neighbors(names: Sequence[str], *, has_views: bool) -> bool:
    """True if views of these names need neighbor lists: for neighbors, or as substitutes for missing cached views."""
    return "neighbor" in names or (not has_views and any(name in CACHED for name in names))


@dataclass(frozen=True, kw_only=True)
class TemiSettings:
    """Settings of TEMI, WMI and PMI.

    Args:
        beta: Exponent in [0.5, 1]. 1 rewards confidence and balance equally, lower values tolerate unequal clusters;
            at 0.5 uniform predictions have the same loss as confident, balanced ones.
        student_temperature: Temperature of the student's softmax.
        teacher_temperature: Temperature of the teacher's softmax.
        marginal_momentum: Momentum of the running marginal, in [0, 1).

    Raises:
        SettingError: A value is out of its range.
    """

    beta: float = 0.6
    student_temperature: float = 0.1
    teacher_temperature: float = 0.1
    marginal_momentum: float = 0.9

    def __post_init__(self) -> None:
        temperatures = {"student_temperature": _POSITIVE, "teacher_temperature": _POSITIVE}
        check_ranges(self, {"beta": (0.5, 1), **temperatures, "marginal_momentum": (0, BELOW_ONE)})

    @property
    def traits(self) -> Traits:
        """The teacher predicts, with its own temperature."""
        return Traits(("anchor", "neighbor"), uses_teacher=True, temperature=self.teacher_temperature)


@dataclass(frozen=True, kw_only=True)
class TemiScanSettings:
    """Settings of SCAN as implemented by the authors of TEMI.

    Args:
        entropy_weight: Weight of the entropy of the mean prediction, 0 or more; the authors' alpha. The higher, the
            more equal the clusters.
        student_temperature: Temperature of the student's softmax.
        teacher_temperature: Temperature of the teacher's softmax.

    Raises:
        SettingError: A value is out of its range.
    """

    entropy_weight: float = 5.0
    student_temperature: float = 0.1
    teacher_temperature: float = 0.1

    def __post_init__(self) -> None:
        temperatures = {"student_temperature": _POSITIVE, "teacher_temperature": _POSITIVE}
        check_ranges(self, {"entropy_weight": _FROM_ZERO, **temperatures})

    @property
    def traits(self) -> Traits:
        """The teacher predicts, with its own temperature."""
        return Traits(("anchor", "neighbor"), uses_teacher=True, temperature=self.teacher_temperature)


@dataclass(frozen=True, kw_only=True)
class ScanSettings:
    """Settings of SCAN.

    Args:
        entropy_weight: Weight of the entropy of the mean prediction, 0 or more. The higher, the more equal the
            clusters.

    Raises:
        SettingError: A value is out of its range.
    """

    entropy_weight: float = 5.0
    traits: ClassVar[Traits] = Traits(("anchor", "neighbor"))

    def __post_init__(self) -> None:
        check_ranges(self, {"entropy_weight": _FROM_ZERO})


@dataclass(frozen=True, kw_only=True)
class PairsSettings:
    """Settings of the likelihood of pairs.

    Args:
        noise: Share of the pairs, in [0, 1), that is expected to be of samples with nothing in common. It bounds the
            loss of a pair, so that a few wrong ones do not decide.

    Raises:
        SettingError: A value is out of its range.
    """

    noise: float = 0.1
    traits: ClassVar[Traits] = Traits(("anchor", "neighbor"))

    def __post_init__(self) -> None:
        check_ranges(self, {"noise": (0, BELOW_ONE)})


@dataclass(frozen=True, kw_only=True)
class SelfLabelSettings:
    """Settings of self-labeling.

    Args:
        threshold: Probability above which a prediction becomes a label, in [0, 1).
        balance: If true, every cluster present in a batch counts the same.

    Raises:
        SettingError: A value is out of its range.
    """

    threshold: float = 0.99
    balance: bool = True
    traits: ClassVar[Traits] = Traits(("plain", "strong"), reports_confidence=True)

    def __post_init__(self) -> None:
        check_ranges(self, {"threshold": (0, BELOW_ONE)})


@dataclass(frozen=True, kw_only=True)
class ClcSettings:
    """Settings of CLC.

    Args:
        positive: Positive pairs: two augmented views of a sample (augmented), or a sample and one of its neighbors
            (neighbor). Our reconstruction, as is every setting below.
        category_weight: Weight of the categorical part relative to the instance part in the similarity.
        contrast_temperature: Temperature of the contrast between samples. With lower values the instance part alone
            distinguishes samples, and nothing is left to learn for the clusters.
        cluster_temperature: Temperature of the softmax over clusters.
        code_temperature: Entropy weight of the Sinkhorn codes: the smaller, the nearer to one-hot.
        code_iterations: Sinkhorn iterations: the more, the more equal the clusters' mass in a batch's codes.

    Raises:
        SettingError: A value is out of its range.
    """

    positive: str = "augmented"
    category_weight: float = 4.0
    contrast_temperature: float = 1.0
    cluster_temperature: float = 0.1
    code_temperature: float = 0.05
    code_iterations: int = 3
    positives: ClassVar[dict[str, tuple[str, str]]] = {
        "augmented": ("augmented", "augmented"),
        "neighbor": ("anchor", "neighbor"),
    }

    def __post_init__(self) -> None:
        check_choices(self, {"positive": tuple(self.positives)})
        temperatures = ("contrast_temperature", "cluster_temperature", "code_temperature")
        check_ranges(self, {"category_weight": _FROM_ZERO, **dict.fromkeys(temperatures, (ABOVE_ZERO, FINITE))})
        check_ranges(self, {"code_iterations": _FROM_ONE})

    @property
    def traits(self) -> Traits:
        """The positive pairs decide which views are sampled."""
        return Traits(self.positives[self.positive], temperature=self.cluster_temperature)


@dataclass(frozen=True, kw_only=True)
class TurtleSettings:
    """Settings of TURTLE.

    Args:
        gamma: Weight of the entropy of the clusters' shares, so that all clusters are used.
        inner_steps: Steps of Adam that fit the inner classifiers in each training step.
        inner_lr: Learning rate of the inner steps.
        warm_start: Start from the inner classifiers of the previous step; otherwise they are drawn again.

    Raises:
        SettingError: A value is out of its range.
    """

    gamma: float = 10.0
    inner_steps: int = 10
    inner_lr: float = 1e-3
    warm_start: bool = False
    traits: ClassVar[Traits] = Traits(("plain",))

    def __post_init__(self) -> None:
        check_ranges(self, {"gamma": _FROM_ZERO, "inner_steps": _FROM_ONE, "inner_lr": (ABOVE_ZERO, FINITE)})


@dataclass(frozen=True, kw_only=True)
class ImcSwavSettings:
    """Settings of IMC-SwAV.

    Args:
        n_augmented: Augmented views per sample, in addition to the plain one.
        n_partners: Neighbors per sample that are used as further views of it; not in the authors' code.
        n_codes: Number of views, from the first, that get Sinkhorn codes; the other views predict these.
        n_prototypes: Prototypes per head.
        projection_dim: Dimension of the projected features, which are compared with prototypes.
        code_temperature: Entropy weight of the Sinkhorn codes: the smaller, the nearer to one-hot.
        code_iterations: Sinkhorn iterations.
        prototype_temperature: Temperature of the softmax over prototypes.
        balance: Weight of the entropy of the clusters' marginal: the higher, the more equal the cluster sizes.
        logit_bound: Absolute value of a logit above which it is penalized.
        logit_weight: Weight of the excess of logits over logit_bound.
        freeze_prototypes: Share of the training, from its start, in which prototypes are not trained, in [0, 1].

    Raises:
        SettingError: A value is out of its range.
    """

    n_augmented: int = 5
    n_partners: int = 0
    n_codes: int = 2
    n_prototypes: int = 1000
    projection_dim: int = 128
    code_temperature: float = 0.05
    code_iterations: int = 3
    prototype_temperature: float = 0.1
    balance: float = 4.0
    logit_bound: float = 5.0
    logit_weight: float = 1e-2
    freeze_prototypes: float = 0.005

    def __post_init__(self) -> None:
        from_zero = ("n_augmented", "n_partners", "balance", "logit_bound", "logit_weight")
        check_ranges(self, {**dict.fromkeys(from_zero, (0, math.inf)), "freeze_prototypes": (0, 1)})
        check_ranges(self, dict.fromkeys(("n_prototypes", "projection_dim", "code_iterations"), _FROM_ONE))
        check_ranges(self, dict.fromkeys(("code_temperature", "prototype_temperature"), _POSITIVE))
        n_views = len(self.traits.views)
        if n_views < 2:
            raise SettingError("n_augmented and n_partners are 0: expected a view to predict beside the plain one.")
        if not 1 <= self.n_codes <= n_views:
            raise SettingError(f"n_codes is {self.n_codes}: expected 1 to {n_views}, the number of views.")

    @property
    def traits(self) -> Traits:
        """The plain view, then augmented ones, then neighbors."""
        return Traits(("plain", *("augmented",) * self.n_augmented, *("neighbor",) * self.n_partners))


OBJECTIVE_SETTINGS: dict[str, Any] = {
    "temi": TemiSettings,
    "wmi": TemiSettings,
    "pmi": TemiSettings,
    "temi-scan": TemiScanSettings,
    "scan": ScanSettings,
    "pairs": PairsSettings,
    "self-label": SelfLabelSettings,
    "clc": ClcSettings,
    "turtle": TurtleSettings,
    "imc-swav": ImcSwavSettings,
}
