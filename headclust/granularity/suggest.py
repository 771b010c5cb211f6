"""A range of numbers of clusters for features: cuts of the default's graph, scored and compared with a null."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headclust.features import Features
from headclust.features.rows import distinct_rows
from headclust.granularity import choice
from headclust.granularity.suggestion import FEWEST, GroupOfLevel, Level, Suggestion
from headclust.progress import note
from headclust.seeding import BATCH_STREAM, OBJECTIVE_STREAM, stream_seed, torch_generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_MOST = 5_000  # samples that are looked at
_NEIGHBORS = 10
_TRIES, _SPLITS = 3, 4  # starts of k-means, pairs of halves
_NULLS = 2
_ALWAYS, _ALWAYS_NULL = 60, 8  # clusters up to which all numbers are tried, as images may group well at two levels
_TYPICAL = 12
_EIGENGAPS = 3


def suggest(spaces: Sequence[Features], seed: int, *, device: torch.device) -> Suggestion:
    """Suggest a range of numbers of clusters for features. Labels are not read.

    Copies and slight variants of a row count once. Of more than 5,000 rows a part is drawn at random. A line on stderr
    tells of each.

    Args:
        spaces: Feature spaces of the same samples.
        seed: Seed of all draws.
        device: Where to compute.

    Raises:
        DataError: All rows of a space point the same way.
    """
    from headclust.granularity.cuts import cut
    from headclust.granularity.space import PairSpace, shuffled, whitened

    first, _ = distinct_rows(*spaces)
    drawn = _draw(first, spaces[0].n_samples, seed)
    used = _without_variants(drawn, spaces, device)
    sha256 = [space.sha256 for space in spaces]
    n_distinct = round(len(first) * len(used) / len(drawn))
    result = Suggestion(spaces[0].n_samples, n_distinct, len(used), seed, sha256)
    if len(used) < FEWEST:
        return replace(result, reason=f"{len(used)} different rows are too few: expected at least {FEWEST}")
    n_neighbors = min(_NEIGHBORS, math.isqrt(len(used)))
    pairs = [PairSpace.of(space.select(used), n_neighbors, device) for space in spaces]
    rows, counts = whitened(pairs), choice.grid(len(used))
    cut_at = partial(cut, n_neighbors=n_neighbors, seed=seed, tries=_TRIES, splits=_SPLITS)
    real = cut_at(rows, counts, partial(choice.is_enough, at_least=_ALWAYS))
    curves = choice.curves(real.scores)
    generators = [torch_generator(seed, OBJECTIVE_STREAM, number) for number in range(_NULLS)]
    is_enough = partial(choice.is_enough, at_least=_ALWAYS_NULL)
    nulls = [choice.curves(cut_at(shuffled(pairs, generator), counts, is_enough).scores) for generator in generators]
    null = max(nulls, key=lambda null: max(null.score))
    eigengaps = _eigengaps(real.eigenvalues[: curves.n_clusters[-1] + 1])
    result = replace(result, curves=curves, null=null, eigengaps=eigengaps)
    if not choice.exceeds(curves, nulls):
        return replace(result, reason="shuffled columns group as well as the images do")
    low, best, high = choice.best_range(curves)
    ids = [spaces[0].sample_ids[row] for row in used.tolist()]
    levels = [Level(count, _groups(rows, real.assignments[count], ids)) for count in choice.levels(low, best, high)]
    return replace(result, range=(low, high), levels=levels)


def _draw(rows: NDArray[np.int64], n_samples: int, seed: int) -> NDArray[np.int64]:
    """The rows to look at: all, or as many as are looked at, at random and in order."""
    if len(rows) < n_samples:
        note(f"{n_samples - len(rows):,} of {n_samples:,} rows are copies of others: each different row counts once.")
    if len(rows) <= _MOST:
        return rows
    note(f"looking at {_MOST:,} of {len(rows):,} rows, drawn at random.")
    generator = np.random.default_rng(stream_seed(seed, BATCH_STREAM))
    return np.sort(generator.choice(rows, _MOST, replace=False))


def _without_variants(rows: NDArray[np.int64], spaces: Sequence[Features], device: torch.device) -> NDArray[np.int64]:
    """The rows that are not slight variants of earlier ones, so that each image counts once.

    Larger groups of variants may be clusters: numbers are tried up to that of clusters of as many rows.
    """
    from headclust.graph.bursts import find_bursts

    bursts = find_bursts(
        *(space.select(rows) for space in spaces), n_clusters=1, largest=choice.PER_CLUSTER - 1, device=device
    )
    images = np.unique(bursts)
    if len(images) < len(rows):
        count = f"{len(rows) - len(images):,} of {len(rows):,} rows"
        note(f"{count} are slight variants of others: each image counts once.")
    return rows[images]


def _eigengaps(values: Tensor) -> list[int]:
    """Numbers of clusters k, 2 or more, with the largest differences of the eigenvalues k and k + 1."""
    gaps = values[1:-1] - values[2:]
    return [place + 2 for place in gaps.argsort(descending=True, stable=True)[:_EIGENGAPS].tolist()]


def _groups(rows: Tensor, clusters: NDArray[np.int64], ids: Sequence[str]) -> list[GroupOfLevel]:
    """The groups of a cut, the largest first; typical are the samples nearest to the mean of their group."""
    groups = []
    for cluster in np.argsort(-np.bincount(clusters), kind="stable").tolist():
        members = np.flatnonzero(clusters == cluster)
        if len(members):
            own = rows[members]
            order = (own @ own.mean(0)).argsort(descending=True, stable=True)[:_TYPICAL].cpu().numpy()
            groups.append(GroupOfLevel(len(members), [ids[row] for row in members[order].tolist()]))
    return groups
