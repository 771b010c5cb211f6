"""A study of blobs: one place with feature files of its own, and fits of a tenth of a second."""

from pathlib import Path

import pytest
from conftest import make_blobs, pytest_collection_modifyitems  # noqa: F401 (pytest finds the hook here)
from study.places import Places
from study.plan import plan
from study.presets import Row, Study

from headclust import write_features

QUICK = {"n_heads": 2, "hidden_dim": 8, "bottleneck_dim": 4, "batch_size": 32, "length": 10, "warmup": 2}
TINY = Study(
    "tiny",
    backbones=("efficientnet_lite0",),
    datasets=("digits",),
    rows=(Row("kmeans", "ours", settings={"n_heads": 2}, seeds=2), Row("temi", "ours", settings=QUICK)),
    curves={"n_heads": (1, 2)},
    curve_row=Row("temi", "ours", settings=QUICK),
    curve_dataset="digits",
)


def write_place(root: Path, backbone: str = "efficientnet_lite0", dataset: str = "digits", *, seed: int = 0) -> None:
    """Train and test features of blobs, where a study of `root` looks for them."""
    for split, n, stream in (("train", 80, 2 * seed), ("test", 40, 2 * seed + 1)):
        blobs = make_blobs(n, n_clusters=3, seed=stream)
        path = root / "features" / f"{dataset}-{split}" / f"{backbone}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_features(
            path,
            blobs.features,
            labels=blobs.labels,
            sample_ids=[f"{split}-{row}" for row in range(n)],
            dataset=dataset,
            backbone=backbone,
            attributes={"split": split},
            overwrite=True,
        )


@pytest.fixture
def places(tmp_path) -> Places:
    """Folders with the features of the tiny study."""
    write_place(tmp_path / "root")
    return Places(tmp_path / "root", tmp_path / "data", offline=True)


@pytest.fixture
def cells():
    """The tiny study: probes, two fits of k-means, one of TEMI."""
    return plan(TINY)
