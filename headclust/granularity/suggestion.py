"""The result of `headclust suggest`: a range of numbers of clusters, levels in it, and the curves behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headclust.errors import FileFormatError

FORMAT, FORMAT_VERSION = "headclust-suggestion", 1
FEWEST = 10  # samples, below which nothing is suggested


@dataclass(frozen=True)
class Curves:
    """Scores of one cut of the neighbor graph per number of clusters; all lists have the length of `n_clusters`.

    Attributes:
        n_clusters: Numbers of clusters that were tried, ascending.
        modularity: Share of the edge weight inside clusters minus that expected by chance, in [-0.5, 1].
        prediction_strength: Mean share of pairs in a cluster that centroids of other samples keep together, corrected
            for chance: 0 for chance, 1 for all.
        silhouette: Mean silhouette with cosine distances in the whitened space, in [-1, 1].
        score: Weighted geometric mean of the three, smoothed over neighboring numbers, at least 0.
    """

    n_clusters: Sequence[int]
    modularity: Sequence[float]
    prediction_strength: Sequence[float]
    silhouette: Sequence[float]
    score: Sequence[float]


@dataclass(frozen=True)
class GroupOfLevel:
    """One group: its size among the samples that were looked at, and the ids of its typical samples, first the most."""

    size: int
    typical: Sequence[str]


@dataclass(frozen=True)
class Level:
    """One number of clusters in the range.

    Attributes:
        n_clusters: The number.
        groups: The groups, the largest first.
    """

    n_clusters: int
    groups: Sequence[GroupOfLevel]


@dataclass(frozen=True)
class Suggestion:
    """Numbers of clusters that features support.

    Attributes:
        n_samples: Rows of the features.
        n_distinct: Rows that differ from each other by more than slight variants do.
        n_used: Such rows that were looked at, drawn at random if there are more.
        seed: Seed of all draws.
        features: sha256 of each feature file.
        reason: Reason why no structure was found, in one line; empty if it was.
        range: The smallest and the largest number; None if no structure was found.
        levels: Up to three numbers in the range with their groups, from coarse to fine: the ends and the best between.
        curves: The curves behind the range; None with too few samples.
        null: The curves of shuffled columns, up to a smaller number of clusters; None with too few samples.
        eigengaps: Numbers of clusters after which the eigenvalues of the graph fall most, the largest fall first.
    """

    n_samples: int
    n_distinct: int
    n_used: int
    seed: int
    features: Sequence[str]
    reason: str = ""
    range: tuple[int, int] | None = None
    levels: Sequence[Level] = ()
    curves: Curves | None = None
    null: Curves | None = None
    eigengaps: Sequence[int] = ()

    def __repr__(self) -> str:
        counts = [level.n_clusters for level in self.levels]
        return f"Suggestion(range={self.range}, levels={counts}, n_samples={self.n_samples})"

    def as_json(self) -> dict[str, Any]:
        """The suggestion as JSON values; `from_json` reads them."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, "structure": self.range is not None, **asdict(self)}

    @classmethod
    def from_json(cls, value: Any) -> Suggestion:
        """The suggestion that `as_json` wrote.

        Raises:
            FileFormatError: The value is something else.
        """
        try:
            if value["format"] != FORMAT or value["format_version"] != FORMAT_VERSION:
                raise ValueError("not of this format or version")
            fields = {name: value[name] for name in cls.__dataclass_fields__}
            fields["range"] = value["range"] and (int(value["range"][0]), int(value["range"][1]))
            fields["levels"] = [_level(level) for level in value["levels"]]
            fields |= {name: value[name] and Curves(**value[name]) for name in ("curves", "null")}
            return cls(**fields)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(f"this is no suggestion of headclust suggest ({error}).") from error


def _level(value: Mapping[str, Any]) -> Level:
    return Level(int(value["n_clusters"]), [GroupOfLevel(**group) for group in value["groups"]])
