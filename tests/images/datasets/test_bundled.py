import numpy as np
import pytest
from sklearn.datasets import load_digits

from headclust.errors import SettingError
from headclust.images.datasets.bundled import open_digits


@pytest.mark.parametrize(
    ("split", "rows"), [(None, (0, 1437)), ("train", (0, 1437)), ("test", (1437, 1797)), ("all", (0, 1797))]
)
def test_rows_are_scikit_learns(split, rows):
    digits = load_digits()
    images = open_digits(split)
    assert images.sample_ids == tuple(str(row) for row in range(*rows))
    assert images.labels.tolist() == digits.target[slice(*rows)].tolist()
    assert images.labels.dtype == np.int64
    assert images.class_names == tuple("0123456789")
    assert images.stamps == ((0, 0),) * len(images)
    for row in (0, 1, len(images) - 1):
        found = np.asarray(images.read(row)).astype(int)
        assert found.shape == (8, 8, 3)
        assert np.abs(found - digits.images[rows[0] + row][..., None] / 16 * 255).max() <= 0.5


def test_values_use_the_whole_range():
    assert max(np.asarray(open_digits("all").read(row)).max() for row in range(20)) == 255


def test_unknown_split():
    with pytest.raises(SettingError, match="no split 'val': expected train, test or all"):
        open_digits("val")
