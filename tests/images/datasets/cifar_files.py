"""CIFAR's binary version in miniature, written as https://www.cs.toronto.edu/~kriz/cifar.html describes it."""

import io
import tarfile
from pathlib import Path


def record(labels: list[int], number: int) -> bytes:
    """One image: a byte a label; 1,024 red, then green, then blue bytes, row after row."""
    red = bytes((number + 32 * y + x) % 256 for y in range(32) for x in range(32))
    green = bytes(y for y in range(32) for _ in range(32))
    blue = bytes(x for _ in range(32) for x in range(32))
    return bytes(labels) + red + green + blue


def cifar10_files(n: int = 2) -> dict[str, bytes]:
    """Batch b holds images 10 b, 10 b + 1, ..., of class b (the test batch: 9)."""
    batches = {f"data_batch_{b}.bin": b for b in range(1, 6)} | {"test_batch.bin": 9}
    return {name: b"".join(record([b], 10 * b + i) for i in range(n)) for name, b in batches.items()}


def cifar100_files(n: int = 3) -> dict[str, bytes]:
    """Image i of train has coarse label i and fine label 10 i + 9; of test 19 and 99."""
    train = b"".join(record([i, 10 * i + 9], i) for i in range(n))
    return {"train.bin": train, "test.bin": record([19, 99], 200)}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_tar(path: Path, files: dict[str, bytes], *, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def inside(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}
