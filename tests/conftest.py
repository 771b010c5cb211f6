"""Synthetic data and small settings that tests of stage 2 share."""

import os

# As headclust.cli has it: threads that spin while they wait would make a busy machine crawl.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# The shapes here are small: a second thread costs more than it saves, and the other core runs other tests. Tests of
# results that must repeat take the fixture two_threads. Read by numpy, faiss and torch when they are loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from hypothesis import settings

from headclust import write_features

# No power fails in the middle of a test: only CI waits until bytes are on the disk, and processes that tests start.
if not os.environ.get("CI"):
    os.fsync = lambda descriptor: None

# Shells start what runs in the background with Ctrl-C ignored, and processes that tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Two busy cores: a slow example is no failure.
settings.register_profile("headclust", deadline=None)
settings.load_profile("headclust")


def pytest_itemcollected(item) -> None:
    """Mark the tests of all methods as slow where the method uses UMAP, which each process compiles for seconds."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    if any(isinstance(value, str) and value == "umap-kmeans" for value in values):
        item.add_marker(pytest.mark.slow)


def pytest_collection_modifyitems(config, items) -> None:
    """Skip the tests marked slow, unless CI is set or an expression with -m chooses the tests."""
    if os.environ.get("CI") or config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with CI=true, or alone with pytest -m slow"))


class Blobs(NamedTuple):
    features: np.ndarray
    labels: np.ndarray


def make_blobs(n_samples=120, n_clusters=4, dim=12, distance=2.0, seed=0) -> Blobs:
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(77).normal(size=(n_clusters, dim)) * distance
    labels = generator.permutation(np.arange(n_samples) % n_clusters)
    return Blobs((centers[labels] + generator.normal(size=(n_samples, dim))).astype(np.float32), labels)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their length."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def varied(rows: np.ndarray, times: int | np.ndarray, noise: float = 0.2, seed: int = 0) -> np.ndarray:
    """Unit rows, each `times` in a row: once as it is, then with noise, as slight variants of an image are.

    The length of the noise is this share of the usual distance of a row to the nearest other one.
    """
    plain, counts = unit(rows), np.broadcast_to(times, len(rows))
    distances = np.sqrt(np.maximum(2 - 2 * plain @ plain.T, 0)) + 9 * np.eye(len(rows))
    many = np.repeat(plain, counts, axis=0)
    added = np.random.default_rng(seed).normal(size=many.shape)
    added *= noise * np.median(distances.min(1)) / np.sqrt(many.shape[1])
    added[np.cumsum(counts) - counts] = 0
    return (many + added).astype(np.float32)


@pytest.fixture(scope="session")
def blobs() -> Blobs:
    """120 rows of four Gaussian blobs in 12 dimensions, the same object for all tests: not to be changed."""
    made = make_blobs()
    made.features.setflags(write=False)
    return made


@pytest.fixture(scope="session")
def halves() -> tuple[Blobs, Blobs]:
    """Two spaces of 160 samples of four groups, of which one tells the first two from the last two, the other even
    from odd: not to be changed."""
    generator, labels = np.random.default_rng(0), np.arange(160) % 4
    centers = np.random.default_rng(5).normal(size=(2, 2, 10)) * 1.5
    made = [
        Blobs((centers[space][side] + generator.normal(size=(160, 10))).astype(np.float32), labels)
        for space, side in enumerate((labels // 2, labels % 2))
    ]
    for one in made:
        one.features.setflags(write=False)
    return made[0], made[1]


@pytest.fixture
def two_threads():
    """Two threads for torch and faiss, in which sums could be of another order from one time to the next."""
    import faiss
    import torch

    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(2)
    faiss.omp_set_num_threads(2)
    yield
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])


@pytest.fixture
def write(tmp_path):
    """Writes a feature file below the test's own folder: write(name, features, labels=None, **more) -> path."""

    def write_file(name: str, features, labels=None, **more) -> Path:
        more.setdefault("sample_ids", [f"image-{row}.png" for row in range(len(features))])
        described = {"dataset": "blobs", "backbone": "gauss", **more}
        return write_features(tmp_path / name, features, labels=labels, **described)

    return write_file


def put_nan(path: Path, row: int) -> None:
    """Puts NaN into a feature file, as another program might have written it."""
    with h5py.File(path, "r") as file:
        table = file["features"]
        offset = table.id.get_offset() + row * table.shape[1] * table.dtype.itemsize
        nan = np.array(np.nan, table.dtype).tobytes()
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(nan)


def as_version_3(run: Path) -> Path:
    """Makes of a run folder one of a version that wrote no checksums; returns it."""
    (run / "checksums.sha256").unlink()
    file = run / "config.json"
    file.write_text(file.read_text().replace('"format_version": 4', '"format_version": 3'))
    return run


@pytest.fixture
def nan_file(write, blobs) -> Path:
    """A feature file of the blobs whose row 17 is not finite."""
    path = write("nan.h5", blobs.features, blobs.labels)
    put_nan(path, 17)
    return path


@pytest.fixture
def blob_file(write, blobs) -> Path:
    """A labelled feature file of the blobs."""
    return write("blobs.h5", blobs.features, blobs.labels)


_SHORT = {
    "n_heads": 3,
    "tries": 2,
    "hidden_dim": 24,
    "second_dim": 16,
    "bottleneck_dim": 12,
    "projection_dim": 8,
    "n_prototypes": 16,
    "batch_size": 64,
    "length": 30,
    "warmup": 3,
    "inner_steps": 3,
}


def short(method: str) -> dict[str, int]:
    """Settings of a fit of a tenth of a second."""
    from headclust.methods import PRESETS
    from headclust.methods.settings import list_settings

    names = [setting.name for setting in list_settings(PRESETS[method]["ours"])]
    return {name: _SHORT[name.rpartition(".")[2]] for name in names if name.rpartition(".")[2] in _SHORT}


@pytest.fixture
def tf32():
    """PyTorch's two switches for TF32: a function that reads them. They are set back afterwards."""
    import torch

    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    yield lambda: tuple(backend.allow_tf32 for backend in backends)
    for backend, value in zip(backends, before, strict=True):
        backend.allow_tf32 = value


@pytest.fixture
def quick() -> dict[str, int]:
    """The same for TEMI, whatever its preset."""
    return {
        name: _SHORT[name] for name in ("n_heads", "hidden_dim", "bottleneck_dim", "batch_size", "length", "warmup")
    }
