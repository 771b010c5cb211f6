import numpy as np
import pytest

from headclust import load_features, verbs
from headclust.errors import HeadclustError


def test_import_array(here, blobs):
    np.save("my data.npy", blobs.features)
    (here / "ids.txt").write_bytes(b"".join(b"caf\xe9-%d\n" % row for row in range(120)))
    (here / "labels.txt").write_text("\n".join(map(str, blobs.labels)))
    path = verbs.import_array(here / "my data.npy", ids=here / "ids.txt", labels=here / "labels.txt", backbone="a/b")
    assert path.as_posix() == "features/my-data-all/a-b.h5"
    features = load_features(path)
    assert np.array_equal(features.all().numpy(), blobs.features)
    assert features.sample_ids[3] == "caf\udce9-3"
    assert features.labels.tolist() == blobs.labels.tolist()
    assert (features.attributes["dataset"], features.attributes["backbone"]) == ("my data", "a/b")
    assert verbs.verify(path) == []


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((3, 2), np.nan), "0: its features hold NaN or infinity"),
        (np.full((3, 2), np.inf), "0: its features hold NaN or infinity"),
        (np.zeros((0, 4)), "features are float64 of shape"),
        (np.zeros((3, 2, 2)), "features are float64 of shape"),
        (np.float32(3), r"features are float32 of shape \(\)"),  # once a TypeError
        (np.array(["a", "b"]), "features are <U1"),
    ],
)
def test_arrays_that_are_no_features(here, array, message):
    np.save("x.npy", array)
    with pytest.raises(HeadclustError, match=message):
        verbs.import_array(here / "x.npy")
    assert list(here.rglob("*.h5")) == []
