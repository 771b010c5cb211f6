"""ImageSet: the images of any kind of source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from headclust.errors import DataError, SettingError, unknown


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in a fixed order, read one at a time. Row i of all features made from them is `sample_ids[i]`.

    Attributes:
        dataset: Short name: that of the folder, or of the source ("digits").
        split: "train", "test", the name of the split folder, or "all" if there are no splits.
        source: Source to reopen the images: `open_source(source, split)` gives the same rows; for a subset, followed by
            the same `of_classes(class_names)` and `subset(limit, seed)`. An absolute folder or archive (sample ids are
            paths relative to it), the name of a source, ":" and its absolute path, or "digits".
        sample_ids: Path relative to `source`, with "/", or as written in a list; SHARD/KEY; or the row number as text.
            Names that are not UTF-8 hold surrogate escapes, as from `os.fsdecode`.
        labels: int64 (n,), -1 if unknown; None without labels. Used for scores only.
        class_names: Name of each label; empty without labels.
        stamps: Per sample (size in bytes, a number that changes with the content): the modification time of its file in
            ns, or a checksum; (0, 0) if there is neither.
        read: Function that decodes row i to an RGB image. It raises DataError with a one-line reason if the image is
            bad, and ConflictError with a full message if the source is gone or has changed. It is called in worker
            processes forked from the main process, one call at a time per process, which have closed all inherited file
            descriptors. So it must open files itself, per call or once per process (keyed by `os.getpid()`), and never
            use a file object opened before the fork. Arrays, bytes and memory maps made before the fork are fine.
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

    def __repr__(self) -> str:
        counts = f"{len(self)} images, {len(self.class_names)} classes"
        return f"ImageSet({self.source!r}, dataset={self.dataset!r}, split={self.split!r}, {counts})"

    def subset(self, limit: int, seed: int) -> ImageSet:
        """`limit` random images, drawn without labels, in their original order; all if there are at most `limit`.

        Args:
            limit: Number of images, at least 1.
            seed: Seed of the draw; the same seed and list give the same images.

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
        """The images of the given classes, in their original order; `dataset` becomes "NAME-N" for N classes.

        Args:
            ids: Names from `class_names`. Label j of the result is `ids[j]`.

        Raises:
            DataError: There are no classes, or no image belongs to the given ones.
            SettingError: No class is given, or a class is given twice or does not exist.
        """
        if self.labels is None:
            raise DataError(f"{self.dataset} ({self.split}) has no classes to choose from: leave --classes out.")
        if not self.class_names:
            raise DataError(
                f"{self.dataset} ({self.split}) has labels without names, because some numbers up to "
                f"{self.labels.max()} are missing among them: --classes chooses by name, so give them names."
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
        """Index in `class_names` of each of `ids`."""
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
        """The given rows, in the given order."""
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
        SettingError: `split` is none of them.
    """
    if split is None:
        return splits[0]
    if split not in splits:
        raise SettingError(f"{dataset} has no split {split!r}: expected {', '.join(splits[:-1])} or {splits[-1]}.")
    return split
