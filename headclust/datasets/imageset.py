"""ImageSet: what every source of images becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from headclust.errors import SettingError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that can be read one by one, in a fixed order. Row i of everything made from it is `sample_ids[i]`.

    Attributes:
        dataset: Short name: the folder's, or the source's ("digits").
        split: "train", "test", the split folder's name, or "all" where there are no splits.
        source: Where the images can be opened again: `open_source(source, split)` gives the same rows. An absolute
            folder (sample ids are paths relative to it), "fashion-mnist:" and an absolute folder, or "digits".
        sample_ids: Path relative to `source`, with "/" (names that are not UTF-8 hold surrogate escapes, as from
            `os.fsdecode`), or the row's index as text.
        labels: int64 (n,), -1 where unknown; None without labels. Only ever used to score.
        class_names: Name of each label; empty without labels.
        stamps: (size in bytes, modification time in ns) of each sample's file; (0, 0) where there is none.
        read: Decodes row i to an RGB image. Safe to call from several threads; raises DataError with a one-line reason.
    """

    dataset: str
    split: str
    source: str
    sample_ids: tuple[str, ...]
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    stamps: tuple[tuple[int, int], ...]
    read: Callable[[int], Image.Image]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def subset(self, limit: int, seed: int) -> ImageSet:
        """`limit` images drawn without looking at labels, in the order they had; all of them when `limit` is enough.

        Args:
            limit: How many images, at least 1.
            seed: The same seed over the same list draws the same images.

        Raises:
            SettingError: `limit` is below 1.
        """
        if limit < 1:
            raise SettingError(f"limit {limit}: wanted at least 1 image.")
        if limit >= len(self):
            return self
        rows = np.sort(np.random.default_rng(seed).permutation(len(self))[:limit])
        return self._take(rows)

    def _take(self, rows: np.ndarray) -> ImageSet:
        """The given rows, in the order given."""
        read = self.read
        return replace(
            self,
            sample_ids=tuple(self.sample_ids[i] for i in rows),
            labels=None if self.labels is None else self.labels[rows],
            stamps=tuple(self.stamps[i] for i in rows),
            read=lambda i: read(int(rows[i])),
        )
