"""The queue of questions: the images and pairs of images of which the run is least sure."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headclust import runs
from headclust.device import resolve_device
from headclust.errors import HeadclustError, one_line
from headclust.features import Features
from headclust.features.rows import unit_length
from headclust.features.source import row_blocks
from headclust.review.session import Session
from headclust.review.space import Space

if TYPE_CHECKING:
    import torch

    from headclust.model import ClusterModel

N_LIKELY = 4  # clusters per image that are candidates
_LIKELY_SHARE = 0.02  # least probability of a candidate
_AGAIN = 0.9  # factor of an image's value per image between the same two groups before it
_DOUBTFUL = 20_000  # images, the most doubtful ones, that are compared with each other ...
_NEIGHBORS = 10  # ... and nearest ones of each
_GROUP_PAIRS = 200  # pairs of clusters, the most confused first
_BORDER = 192  # images on either side of a border that are compared
_PAIRS = 4  # pairs of images per border


@dataclass(frozen=True, eq=False)
class Doubts:
    """Images and borders that the heads are not sure of, by the clusters of the fit.

    Attributes:
        likely: Most probable clusters of each image, the most probable first, int64 (n_samples, n_likely).
        probs: Their probabilities, float32, of the same shape.
        typical: Number of doubtful images that have each image among their nearest, plus 1, as a share of the largest,
            float32 (n_samples,); 0 for images without much doubt. An answer about an outlier teaches about no other.
        pairs: (row, row) of similar images on two sides of a border, the most confused borders first.
    """

    likely: NDArray[np.int64]
    probs: NDArray[np.float32]
    typical: NDArray[np.float32]
    pairs: tuple[tuple[int, int], ...]


def find_doubts(
    model: ClusterModel, spaces: Sequence[Features], advance: Callable[[float], None] = lambda share: None
) -> Doubts:
    """The doubts of a model about images.

    Args:
        model: The model of the run.
        spaces: Features of the images, one per space.
        advance: Called with the share of the work that is done.
    """
    n_likely, n_samples = min(N_LIKELY, model.n_clusters), spaces[0].n_samples
    likely = np.empty((n_samples, n_likely), np.int64)
    probs = np.empty((n_samples, n_likely), np.float32)
    # Expected number of images that two clusters share, (clusters, clusters): the sum of p p' over the images.
    shared = np.zeros((model.n_clusters, model.n_clusters))
    for block in row_blocks(n_samples, max(space.feature_dim for space in spaces)):
        means = model.mean_probs(*(space.rows(block).to(model.device) for space in spaces))
        best = means.topk(n_likely)
        likely[block], probs[block] = best.indices.numpy(), best.values.numpy()
        shared += (means.T @ means).double().numpy()
        advance(0.9 * block.stop / n_samples)
    typical = _typical(model, spaces, _doubt(probs))
    return Doubts(likely, probs, typical, tuple(_border_pairs(spaces[0], likely, probs, shared)))


class Questions:
    """The doubts of a run's model, found in a thread of its own, and the questions that follow from them now.

    Args:
        session: The run.
        space: Its features.
    """

    def __init__(self, session: Session, space: Space) -> None:
        self._session, self._space = session, space
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._doubts: Doubts | None = None
        self._progress, self.problem = 0.0, ""

    @property
    def progress(self) -> float:
        """Share of the work that is done, 0 to 1."""
        return 1.0 if self._doubts or self.problem else self._progress

    def start(self) -> None:
        """Begin to look for doubts, unless that has begun."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._find, name="questions", daemon=True)
                self._thread.start()

    def _find(self) -> None:
        try:
            model = runs.read_run(self._session.path).model.to(resolve_device(None))
            self._doubts = find_doubts(model, self._space.open(), self._advance)
        except Exception as error:
            self.problem = one_line(error)
            if not isinstance(error, HeadclustError):
                raise

    def _advance(self, share: float) -> None:
        self._progress = share

    def images(self, n_questions: int) -> list[dict[str, Any]]:
        """Images whose group is least sure, the most valuable answer first, each with the groups it may belong to.

        Without doubts of the model (no feature file) these are the images of lowest confidence, with their own group.

        Args:
            n_questions: Number of images at most.
        """
        session, doubts = self._session, self._doubts
        with session.lock:
            groups, resolved, right = session.groups(), session.resolved, session.right
        open_rows = (resolved.pinned < 0) & ~np.isin(groups.clusters, sorted(right))
        rows = np.flatnonzero(open_rows)
        if doubts is None:
            order = rows[np.argsort(groups.confidence[rows], kind="stable")]
            return [{"row": int(row), "groups": [int(groups.clusters[row])]} for row in order[:n_questions]]
        # The doubt about an image and, in part, about those that it is like, (n_open,).
        doubt = _doubt(doubts.probs[rows]) * doubts.typical[rows]
        order = rows[np.argsort(-doubt, kind="stable")][: 20 * n_questions]
        doubt_of = dict(zip(rows.tolist(), doubt.tolist(), strict=True))
        asked_about: Counter[tuple[int, ...]] = Counter()
        valued = []
        for row in order.tolist():
            candidates = self._candidates(doubts, row, int(groups.clusters[row]), resolved.ended, set(groups.ids))
            border = tuple(sorted(candidates[:2]))
            # An answer teaches about the border between two groups; the next one about the same border teaches less.
            value = doubt_of[row] * _AGAIN ** asked_about[border]
            asked_about[border] += 1
            valued.append((-value, row, candidates))
        valued.sort()
        return [{"row": row, "groups": candidates} for _, row, candidates in valued[:n_questions]]

    def candidates(self, row: int) -> list[int]:
        """The groups that an image may belong to, its own first, as far as they are known."""
        session, doubts = self._session, self._doubts
        with session.lock:
            groups, resolved = session.groups(), session.resolved
        own = int(groups.clusters[row])
        return [own] if doubts is None else self._candidates(doubts, row, own, resolved.ended, set(groups.ids))

    def _candidates(self, doubts: Doubts, row: int, own: int, ended: Any, ids: set[int]) -> list[int]:
        likely = zip(doubts.likely[row].tolist(), doubts.probs[row].tolist(), strict=True)
        groups = [ended.get(cluster, cluster) for cluster, share in likely if share >= _LIKELY_SHARE]
        return list(dict.fromkeys([own, *(group for group in groups if group in ids)]))

    def pairs(self, n_questions: int) -> list[dict[str, Any]]:
        """Pairs of similar images in two groups that the heads confuse, which no fix answers yet.

        Args:
            n_questions: Number of pairs at most.
        """
        session, doubts = self._session, self._doubts
        if doubts is None:
            return []
        with session.lock:
            groups, resolved = session.groups(), session.resolved
        answered = {frozenset(pair) for pair in (*resolved.together, *resolved.apart)}
        questions = []
        for first, second in doubts.pairs:
            own = int(groups.clusters[first]), int(groups.clusters[second])
            is_fixed = resolved.pinned[first] >= 0 and resolved.pinned[second] >= 0
            if own[0] == own[1] or is_fixed or frozenset((first, second)) in answered:
                continue
            questions.append({"rows": [first, second], "groups": list(own)})
            if len(questions) == n_questions:
                break
        return questions


def interleaved(images: list[dict[str, Any]], pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two questions about images, then one about a pair, and so on."""
    questions = []
    images, pairs = list(images), list(pairs)
    while images or pairs:
        questions += [*images[:2], *pairs[:1]]
        images, pairs = images[2:], pairs[1:]
    return questions


def _doubt(probs: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 minus the difference of the two largest probabilities, float32 (n_samples,); `probs` are in that order."""
    second = probs[:, 1] if probs.shape[1] > 1 else np.zeros(len(probs), np.float32)
    doubt: NDArray[np.float32] = 1 - (probs[:, 0] - second)
    return doubt


def _typical(model: ClusterModel, spaces: Sequence[Features], doubt: NDArray[np.float32]) -> NDArray[np.float32]:
    """`Doubts.typical` by the neighbors among the more doubtful half of the images, in the model's space."""
    from headclust.graph.neighbors import nearest_neighbors
    from headclust.model import side_by_side

    count = min(max(2, len(doubt) // 2), _DOUBTFUL, len(doubt))
    rows = np.sort(np.argsort(-doubt, kind="stable")[:count])
    typical = np.zeros(len(doubt), np.float32)
    typical[rows] = 1
    if count > 1:
        pairs = zip(model.transforms, spaces, strict=True)
        points = side_by_side([transform.rows(space.select(rows), device=model.device) for transform, space in pairs])
        neighbors = nearest_neighbors(points.cpu(), min(_NEIGHBORS, count - 1)).indices.numpy()
        typical[rows] += np.bincount(neighbors.ravel(), minlength=count)
    shares: NDArray[np.float32] = typical / typical.max()
    return shares


def _border_pairs(
    space: Features, likely: NDArray[np.int64], probs: NDArray[np.float32], shared: NDArray[np.float64]
) -> list[tuple[int, int]]:
    """Pairs of similar images on two sides of a border, the most confused borders first; each image is in one pair.

    Args:
        space: Features of the images.
        likely: Most probable clusters of each image, int64 (n_samples, n_likely).
        probs: Their probabilities.
        shared: Expected number of images that two clusters share, (clusters, clusters).
    """
    # Confusion: what two clusters share over what each has, 0 to 1, as the cosine of their columns of probabilities.
    own = np.sqrt(np.maximum(np.diag(shared), 1e-12))
    confusion = np.triu(shared / np.outer(own, own), 1)
    borders = np.argsort(-confusion, axis=None, kind="stable")[:_GROUP_PAIRS]
    paired: set[int] = set()
    by_border: list[list[tuple[int, int]]] = []
    for first, second in zip(*np.unravel_index(borders, confusion.shape), strict=True):
        if confusion[first, second] <= 0:
            break
        near, far = _side(likely, probs, first, second), _side(likely, probs, second, first)
        if len(near) and len(far):
            pairs = _similar_pairs(space, near, far, paired)
            paired.update(row for pair in pairs for row in pair)
            by_border.append(pairs)
    # One pair of each border, then the second ones, and so on.
    return [pairs[turn] for turn in range(_PAIRS) for pairs in by_border if turn < len(pairs)]


def _side(likely: NDArray[np.int64], probs: NDArray[np.float32], own: int, other: int) -> NDArray[np.int64]:
    """The images of cluster `own` that are most probably of `other` instead, at most `_BORDER`."""
    rows = np.flatnonzero(likely[:, 0] == own)
    share = (probs[rows] * (likely[rows] == other)).sum(1)
    order = np.argsort(-share, kind="stable")[:_BORDER]
    return rows[order]


def _similar_pairs(
    space: Features, first: NDArray[np.int64], second: NDArray[np.int64], paired: set[int]
) -> list[tuple[int, int]]:
    """The most similar pairs across a border, at most `_PAIRS`, of images that are in no pair yet."""
    sides: list[torch.Tensor] = [unit_length(space.rows(rows)) for rows in (first, second)]
    cosines = (sides[0] @ sides[1].T).numpy()
    pairs: list[tuple[int, int]] = []
    for place in np.argsort(-cosines, axis=None, kind="stable").tolist():
        pair = int(first[place // len(second)]), int(second[place % len(second)])
        if len(pairs) == _PAIRS:
            break
        if paired.isdisjoint(pair):
            paired.update(pair)
            pairs.append(pair)
    return pairs
