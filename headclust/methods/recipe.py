"""Recipe: a method with all its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from headclust.errors import SettingError, unknown
from headclust.features import Features
from headclust.features.rows import distinct_rows
from headclust.features.source import row_blocks
from headclust.methods.constraints import Constraints, Ints
from headclust.methods.registry import DEFAULT_METHOD, METHODS, PRESETS
from headclust.methods.result import FitResult, check_fit
from headclust.methods.settings import Setting, change_settings, list_settings
from headclust.progress import note
from headclust.training.stages import PARTS

_EXTREME = 1e6  # largest value of a column or row, in units of the usual one, from which on float32 loses the others

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Recipe:
    """A method, the preset it starts from, and its stages with every setting.

    Attributes:
        method: A name in METHODS.
        preset: "ours" or "authors".
        stages: Frozen dataclasses, in the order in which they are fitted.
        asked_for: Names of the settings that `changed` has set. A number of neighbors that the user set must be less
            than the number of samples; that of a preset is reduced if necessary.
    """

    method: str
    preset: str
    stages: tuple[Any, ...]
    asked_for: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        preset = PRESETS.get(self.method, {}).get(self.preset, ())
        usual = {setting.name: setting.value for setting in list_settings(preset)}
        changes = {name: value for name, value in self.values.items() if usual.get(name) != value}
        return f"Recipe.of({self.method!r}, {self.preset!r}{f', {changes}' if changes else ''})"

    @classmethod
    def of(cls, method: str = "default", preset: str = "ours", settings: Mapping[str, Any] | None = None) -> Recipe:
        """The recipe of a preset.

        Args:
            method: A name in METHODS, or "default".
            preset: "ours", or "authors" for the authors' own settings.
            settings: Settings that differ from the preset, as a run records them.

        Raises:
            SettingError: The method, preset or setting does not exist, or a value is out of range.
        """
        name = DEFAULT_METHOD if method == "default" else method
        if name not in METHODS:
            raise unknown("method", method, [*METHODS, "default"])
        if preset == "authors" and preset not in PRESETS[name]:
            raise SettingError(f"{name} has no preset 'authors', as its authors published no code: use ours.")
        if preset not in PRESETS[name]:
            raise unknown("preset", preset, PRESETS[name])
        return cls(name, preset, change_settings(PRESETS[name][preset], settings or {}))

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """The recipe with settings changed.

        Args:
            changes: New values by setting; text is read as the type of the setting.

        Raises:
            SettingError: No stage has the setting, or the value is not of its type or range.
        """
        stages = change_settings(self.stages, changes)
        return replace(self, stages=stages, asked_for=self.asked_for | set(changes))

    def absent(self, settings: Mapping[str, Any]) -> list[str]:
        """Names in `settings` that the recipe lacks, as those of a run that another version has fitted.

        Settings of the head and the optimizer that `settings` names are not absent.
        """
        parts = {
            name: value
            for name, value in settings.items()
            if name.rpartition(".")[2] in PARTS and value in PARTS[name.rpartition(".")[2]] and name in self.values
        }
        return sorted(settings.keys() - self.changed(parts).values.keys())

    def for_features(self, features: Features) -> Recipe:
        """The recipe with the number of clusters resolved: its own, or for 0 the number of classes among the labels.

        Args:
            features: The first feature space that is fitted.

        Raises:
            SettingError: The number of clusters is unknown or above the number of samples, or a number of neighbors
                that the user set is not below the number of samples.
        """
        n_samples, n_clusters = features.n_samples, self.n_clusters
        for name, value in self.values.items():
            if name.rpartition(".")[2] == "n_neighbors" and name in self.asked_for and value >= n_samples:
                raise SettingError(f"{name} is {value}, of {n_samples} samples: expected at most {n_samples - 1}.")
        labels = np.empty(0) if features.labels is None else features.labels[features.labels >= 0]
        if n_clusters == 0 and len(labels) == 0:
            raise SettingError(
                "the features have no labels to count classes by: set the number of clusters with --clusters K, "
                "which headclust suggest helps to choose."
            )
        n_clusters = n_clusters or len(np.unique(labels))
        if n_clusters > n_samples:
            raise SettingError(f"{n_clusters} clusters of {n_samples} samples: expected at most {n_samples}.")
        return replace(self, stages=change_settings(self.stages, {"n_clusters": n_clusters}))

    def fit(
        self,
        spaces: Sequence[Features],
        seed: int,
        *,
        device: torch.device | None = None,
        constraints: Constraints | None = None,
    ) -> FitResult:
        """Fit the method to feature spaces.

        Equal samples get equal clusters. k-means, spherical k-means, mixtures and TURTLE count every copy; the other
        methods are fitted on the first of each group of equal samples, as copies are each other's nearest neighbors,
        which would cut the neighbor graph. Slight variants of a sample, as `find_bursts` finds them, are copies too,
        except for the preset "authors", and where a person has fixed them to different groups. With copies, and no more
        different samples than clusters, each of these is a cluster, whatever the method.

        Args:
            spaces: Feature spaces of the same samples; several if the method takes them.
            seed: Seed of the fit.
            device: Where to compute; the CPU by default.
            constraints: What a person has fixed, if anything; the number of clusters is that of its groups.

        Raises:
            HeadclustError: The features cannot be used, a setting is out of range, or the method keeps no constraints.
        """
        if constraints is not None:
            self.check_constraints(constraints)
        fit, stages = METHODS[self.method], self.stages
        normalization = getattr(stages[0], "normalize", getattr(stages[0], "transform", "l2"))
        for space in spaces:
            _warn_of_extremes(space, normalization)
        first, group = distinct_rows(*spaces)
        n_distinct, n_samples = len(first), len(group)
        trivial = n_distinct <= self.n_clusters and constraints is None
        counts_copies = getattr(stages[0], "counts_copies", False) and not trivial
        if not (trivial or counts_copies or self.preset == "authors"):
            first, group = self._without_variants(spaces, first, group, device, constraints)
        n_fitted = len(first)
        if n_fitted == n_samples or counts_copies:
            options = {} if constraints is None else {"constraints": constraints}
            return fit(tuple(spaces), stages, seed, device=device, **options)
        if trivial:
            check_fit(tuple(spaces), stages, at_least=1)
            note(f"warning: {n_distinct} of {n_samples:,} rows differ: each of them is a cluster, and copies share it.")
            (stage,), fit = PRESETS["kmeans"]["ours"], METHODS["kmeans"]
            stages = (replace(stage, n_clusters=n_distinct, n_heads=1, normalize="none"),)
        else:
            counts = {"copies": n_samples - n_distinct, "slight variants": n_distinct - n_fitted}
            kinds = [kind for kind, count in counts.items() if count]
            note(
                f"{n_samples - n_fitted:,} of {n_samples:,} rows are {' or '.join(kinds)} of others: "
                f"the {n_fitted:,} different rows are fitted, and {' and '.join(kinds)} get the same cluster."
            )
        options = {}
        if constraints is not None:
            options["constraints"] = constraints.of_copies(first, group)
            fixed = constraints.pinned >= 0
            if n_followers := int((np.isin(group, group[fixed]) & ~fixed).sum()):
                note(f"{n_followers:,} copies or variants follow an image that you have put into a group.")
        result = fit(tuple(space.select(first) for space in spaces), stages, seed, device=device, **options)
        assignments = result.assignments[group]
        if constraints is not None:  # copies may be fixed to different groups
            assignments = np.where(constraints.pinned >= 0, constraints.pinned, assignments)
        return replace(
            result,
            assignments=assignments,
            confidence=result.confidence[group],
            head_assignments=result.head_assignments[:, group],
        )

    def _without_variants(
        self,
        spaces: Sequence[Features],
        first: Ints,
        group: Ints,
        device: torch.device | None,
        constraints: Constraints | None,
    ) -> tuple[Ints, Ints]:
        """`first` and `group` of different rows, with the slight variants of each row in its group too."""
        from headclust.graph.bursts import find_bursts

        different = spaces if len(first) == len(group) else [space.select(first) for space in spaces]
        burst = find_bursts(*different, n_clusters=self.n_clusters, device=device)
        if constraints is not None:
            burst = constraints.of_copies(first, group).agreeing(burst)
        heads, burst = np.unique(burst, return_inverse=True)
        return first[heads], burst[group]

    @property
    def keeps_constraints(self) -> bool:
        """True if the method can keep what a person has fixed."""
        return bool(getattr(self.stages[0], "keeps_constraints", False))

    def check_constraints(self, constraints: Constraints) -> None:
        """Raise unless the method can keep these constraints.

        Raises:
            SettingError: It keeps none, or the number of clusters is another one than that of the groups.
        """
        if not self.keeps_constraints:
            raise SettingError(f"{self.method} keeps no fixes: use the default method, {DEFAULT_METHOD}, with --fixes.")
        if self.n_clusters != constraints.n_groups:
            raise SettingError(
                f"{self.n_clusters} clusters, and {constraints.n_groups} groups after the fixes: leave --clusters out, "
                "as splits, merges and new groups change their number."
            )

    @property
    def settings(self) -> list[Setting]:
        """Every setting in order: those of the first stage, then `STAGE.NAME` for those of the others."""
        return list_settings(self.stages)

    @property
    def values(self) -> dict[str, Any]:
        """The value of every setting, by name."""
        return {setting.name: setting.value for setting in self.settings}

    @property
    def n_clusters(self) -> int:
        """Number of clusters; 0 stands for the number of labeled classes."""
        return int(self.stages[0].n_clusters)

    @property
    def several_spaces(self) -> bool:
        """True if the method takes more than one feature space."""
        return bool(getattr(self.stages[0], "several_spaces", False))

    @property
    def over_processes(self) -> bool:
        """True if several processes can share a fit of the method."""
        return bool(getattr(self.stages[0], "over_processes", False))


def _warn_of_extremes(features: Features, normalization: str) -> None:
    """Log if one column or row of features is so large that float32 loses the others."""
    import torch

    from headclust.model.transform import column_limits

    sizes = {}
    if normalization != "standardize":
        least, most = column_limits(features.blocks())
        sizes["column"] = most / 2 - least / 2
    if normalization in ("none", "standardize"):
        sizes["row"] = torch.empty(features.n_samples)
        for block in row_blocks(features.n_samples, features.feature_dim):
            sizes["row"][block] = features.rows(block).abs().amax(1)
    for kind, size in sizes.items():
        if size.max() > _EXTREME * size.median() > 0:
            ratio, other = float(size.max() / size.median()), "standardize" if kind == "column" else "l2"
            note(
                f"warning: {kind} {int(size.argmax())} of the features is {ratio:.0e} times as large as the usual "
                f"{kind}: only it counts. Leave it out, or try --method kmeans --set normalize={other}."
            )
