"""The features of a run's samples: the images most similar to one of them, or to a text."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headclust.errors import DataError, HeadclustError, one_line
from headclust.features import Features
from headclust.features.rows import unit_length
from headclust.features.source import row_blocks
from headclust.filenames import storable_name
from headclust.review.session import Fitted
from headclust.runs.added import spaces_of

if TYPE_CHECKING:
    import torch

    from headclust.backbones.open_clip_models import Pair

_MOST_CACHED = 64  # lists of similar images


class Space:
    """The feature files of a run, opened when they are first used.

    Args:
        fitted: The run.
    """

    def __init__(self, fitted: Fitted) -> None:
        self._fitted = fitted
        self._lock = threading.Lock()
        self._spaces: tuple[Features, ...] | None = None
        self._rows: NDArray[np.int64] | None = None
        self._similar: OrderedDict[object, NDArray[np.float32]] = OrderedDict()
        self._pair: Pair | None = None

    def open(self) -> tuple[Features, ...]:
        """The features, one per space, in the order of the run's samples.

        Raises:
            HeadclustError: A file is gone, has changed, or holds other samples.
        """
        with self._lock:
            if self._spaces is None:
                self._spaces = tuple(self._ordered(space) for space in spaces_of(self._fitted.record))
            return self._spaces

    def _ordered(self, space: Features) -> Features:
        ids = self._fitted.assigned.sample_ids
        names = list(map(storable_name, space.sample_ids))
        if tuple(names) == ids:
            return space
        row_of = {name: row for row, name in enumerate(names)}
        if row_of.keys() != set(ids):
            raise DataError("the feature file holds other samples than the run: fit again.")
        return space.select(np.array([row_of[name] for name in ids]))

    def similar_to(self, row: int, n_images: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The images most similar to one of them, by cosine similarity in the first space: their rows, and the values.

        Args:
            row: The image, which is not among them.
            n_images: Number of images; fewer if there are fewer.
        """
        (space, *_) = self.open()
        cosines = self._cosines(row, lambda: unit_length(space.rows([row]))[0])
        cosines[row] = -np.inf
        order = _largest(cosines, min(n_images, len(cosines) - 1))
        return order, cosines[order]

    def similar_to_text(self, text: str, n_images: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The images most similar to a text, as `similar_to`.

        Raises:
            HeadclustError: The features have no text tower, or its weights are not on this machine.
        """
        from headclust.backbones import load_pair

        recorded = self._fitted.record.config["features"][0]
        with self._lock:
            if self._pair is None:
                self._pair = load_pair(recorded["backbone"], offline=True)
            pair = self._pair
        if pair.backbone.weights_sha256 != recorded.get("weights_sha256"):
            raise DataError(f"the weights of {recorded['backbone']} on this machine are not those of the features.")
        cosines = self._cosines(text, lambda: pair.embed_words([text])[0])
        order = _largest(cosines, min(n_images, len(cosines)))
        return order, cosines[order]

    def _cosines(self, key: object, query: Callable[[], torch.Tensor]) -> NDArray[np.float32]:
        """Cosine similarity of all images to a query, float32 (n_samples,): a copy."""
        with self._lock:
            cosines = self._similar.get(key)
        if cosines is None:
            (space, *_) = self.open()
            unit, cosines = query(), np.empty(space.n_samples, np.float32)
            for block in row_blocks(space.n_samples, space.feature_dim):
                cosines[block] = (unit_length(space.rows(block)) @ unit).numpy()
            with self._lock:
                self._similar[key] = cosines
                while len(self._similar) > _MOST_CACHED:
                    self._similar.popitem(last=False)
        return cosines.copy()

    @property
    def problem(self) -> str:
        """The reason why the features cannot be used, in one line; empty if they can."""
        try:
            self.open()
        except HeadclustError as error:
            return one_line(error)
        return ""


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Places of the largest values, the largest first; ties: the first."""
    return np.argsort(-values, kind="stable")[:count]
