"""ImageSet: what every source of images becomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from headclust.errors import DataError, SettingError, unknown


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that can be read one by one, in a fixed order. Row i of everything made from it is `sample_ids[i]`.

    Attributes:
        dataset: Short name: the folder's, or the source's ("digits").
        split: "train", "test", the split folder's name, or "all" where there are no splits.
        source: Where the images can be opened again: `open_source(source, split)` gives the same rows; for a subset,
            followed by the same `of_classes(class_names)` and `subset(limit, seed)`. An absolute folder or archive
            (sample ids are paths relative to it), a source's name, ":" and its absolute path, or "digits".
        sample_ids: Path relative to `source`, with "/", or as a list writes it; SHARD/KEY; or the row's number as text.
            Names that are not UTF-8 hold surrogate escapes, as from `os.fsdecode`.
        labels: int64 (n,), -1 where unknown; None without labels. Only ever used to score.
        class_names: Name of each label; empty without labels.
        stamps: (size in bytes, a number that changes with the content) of each sample: the modification time of its
            file in ns, or a checksum; (0, 0) where there is neither.
        read: Decodes row i to an RGB image; raises DataError with a one-line reason where the image is bad, and
            ConflictError with a whole line where the source itself has gone or changed. It is called in worker
            processes forked from the main one, one call at a time in each, which have closed every file descriptor they
            were given. So it opens what it needs itself, each time or once a process (keyed by `os.getpid()`), and
            never uses a file object opened before. Arrays, bytes and memory maps made before the fork are fine.
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
            SettingError: `limit` is below 1, or `seed` below 0.
        """
        if limit < 1:
            raise SettingError(f"limit {limit}: expected at least 1 image.")
        if seed < 0:
            raise SettingError(f"seed {seed}: expected 0 or more.")
        if limit >= len(self):
            return self
        rows = np.sort(np.random.default_rng(seed).permutation(len(self))[:limit])
        return self._take(rows)

    def of_classes(self, ids: Sequence[str]) -> ImageSet:
        """The images of the given classes alone, in the order they had; `dataset` becomes "NAME-N" for N classes.

        Args:
            ids: Names out of `class_names`. Label j of the result is `ids[j]`.

        Raises:
            DataError: There are no classes here, or none of these has an image.
            SettingError: No class is named, one is named twice, or one does not exist.
        """
        if self.labels is None:
            raise DataError(f"{self.dataset} ({self.split}) has no classes to choose from: leave --classes out.")
        if not self.class_names:
            raise DataError(
                f"{self.dataset} ({self.split}) has labels without names, as numbers with gaps are (up to "
                f"{self.labels.max()}, not all of them there): --classes chooses by name, so give them names."
            )
        new_label = np.full(len(self.class_names), -1, np.int64)
        new_label[self._indices(ids)] = np.arange(len(ids))
        labels = np.where(self.labels < 0, -1, new_label[self.labels])
        rows = np.flatnonzero(labels >= 0)
        if not len(rows):
            raise DataError(f"{self.dataset} ({self.split}) has no image of the {len(ids)} classes named.")
        name = f"{self.dataset.removesuffix(f'-{len(self.class_names)}')}-{len(ids)}"
        return replace(self._take(rows), dataset=name, labels=labels[rows], class_names=tuple(ids))

    def _indices(self, ids: Sequence[str]) -> list[int]:
        """Where in `class_names` each of `ids` is."""
        if not ids:
            raise SettingError("no class is named: expected at least one.")
        twice = [name for name, count in Counter(ids).items() if count > 1]
        if twice:
            raise SettingError(f"class {twice[0]!r} is named twice: a class can have one label.")
        index = {name: i for i, name in enumerate(self.class_names)}
        for name in ids:
            if name not in index:
                raise unknown(f"class of {self.dataset}", name, index)
        if len(index) < len(self.class_names):
            raise DataError(f"{self.dataset} has several classes of the same name: they cannot be chosen by name.")
        return [index[name] for name in ids]

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


def check_split(dataset: str, split: str | None, splits: Sequence[str]) -> str:
    """`split`, or the first of `splits` when it is None.

    Raises:
        SettingError: It is none of them.
    """
    if split is None:
        return splits[0]
    if split not in splits:
        raise SettingError(f"{dataset} has no split {split!r}: expected {', '.join(splits[:-1])} or {splits[-1]}.")
    return split
