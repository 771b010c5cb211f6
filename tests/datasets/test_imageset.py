import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headclust.datasets import ImageSet
from headclust.errors import SettingError


def numbered(n: int, *, labels: bool = True) -> ImageSet:
    return ImageSet(
        dataset="numbers",
        split="all",
        source="nowhere",
        sample_ids=tuple(f"{i:04d}" for i in range(n)),
        labels=np.arange(n) % 3 if labels else None,
        class_names=("a", "b", "c"),
        stamps=tuple((i, 2 * i) for i in range(n)),
        read=lambda i: Image.new("RGB", (1, 1), (i % 256, i // 256, 0)),
    )


@given(st.integers(1, 400), st.integers(1, 500), st.integers(0, 2**32), st.booleans())
def test_a_subset_keeps_rows_whole_and_in_order(n, limit, seed, labels):
    images = numbered(n, labels=labels).subset(limit, seed)
    assert len(images) == min(n, limit)
    assert list(images.sample_ids) == sorted(set(images.sample_ids))
    for row, name in enumerate(images.sample_ids):
        red, green, _ = images.read(row).getpixel((0, 0))
        assert red + 256 * green == int(name)
        assert images.stamps[row] == (int(name), 2 * int(name))
        assert images.labels is None or images.labels[row] == int(name) % 3


@given(st.integers(0, 2**32))
def test_a_subset_does_not_depend_on_labels(seed):
    assert numbered(50).subset(20, seed).sample_ids == numbered(50, labels=False).subset(20, seed).sample_ids


def test_the_seed_decides():
    images = numbered(300)
    assert images.subset(100, 0).sample_ids == images.subset(100, 0).sample_ids
    assert images.subset(100, 0).sample_ids != images.subset(100, 1).sample_ids


def test_every_row_is_as_likely():
    counts = np.zeros(10)
    for seed in range(2000):
        counts[[int(name) for name in numbered(10).subset(3, seed).sample_ids]] += 1
    assert np.abs(counts / 2000 - 0.3).max() < 0.05


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one(limit):
    with pytest.raises(SettingError, match="wanted at least 1 image"):
        numbered(3).subset(limit, 0)
