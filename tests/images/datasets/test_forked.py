"""What `ImageSet.read` promises: it works in a forked process that has closed all it was given."""

import os
import traceback
from pathlib import Path

import numpy as np
import pytest
from cifar_files import cifar10_files, cifar100_files, write, write_tar
from PIL import Image

from headclust.images.datasets import ImageSet, open_source


def read_in_a_fork(images: ImageSet, out: Path) -> list[bytes]:
    """Every row's pixels, read in a child process without any descriptor but standard error."""
    child = os.fork()
    if not child:
        status = 1
        try:
            os.closerange(3, 4096)
            pixels = [images.read(row).tobytes() for row in range(len(images))]
            np.savez(out, *[np.frombuffer(values, np.uint8) for values in pixels])
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    with np.load(out) as saved:
        return [saved[f"arr_{row}"].tobytes() for row in range(len(images))]


def folder(root: Path) -> str:
    for name in ("cat/a.png", "dog/b.png"):
        (root / name).parent.mkdir(parents=True)
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 256, (5, 4, 3), np.uint8)).save(root / name)
    return str(root)


def stl10(root: Path) -> str:
    data = np.random.default_rng(0).bytes(2 * 27648)
    write(root, {"train_X.bin": data, "train_y.bin": b"\1\2", "unlabeled_X.bin": data[::-1]})
    return f"stl10:{root}"


@pytest.mark.parametrize(
    ("make", "split"),
    [
        (folder, None),
        (lambda root: "digits", "test"),
        (lambda root: f"cifar10:{write(root, cifar10_files())}", "train"),
        (lambda root: f"cifar100:{write_tar(root.with_suffix('.tar.gz'), cifar100_files())}", "train"),
        (stl10, "train+unlabeled"),
    ],
    ids=["folder", "digits", "cifar10", "cifar100 archive", "stl10"],
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_reading_in_a_forked_process(tmp_path, make, split):
    images = open_source(make(tmp_path / "data"), split)
    here = [images.read(row).tobytes() for row in range(len(images))]
    assert read_in_a_fork(images, tmp_path / "pixels.npz") == here
