import gzip
import tarfile
from pathlib import Path

import numpy as np
import pytest
from cifar_files import cifar10_files, cifar100_files, inside, record, write, write_tar

from headclust.errors import DataError, FileFormatError
from headclust.images.datasets import cifar_binary
from headclust.images.datasets.cifar_binary import CIFAR10, CIFAR100, read_records


def places(root: Path) -> dict[str, Path]:
    """The same files in every way they may lie."""
    official = inside("cifar-10-batches-bin", {"readme.html": b"<html>", **cifar10_files(), "batches.meta.txt": b"x"})
    write_tar(root / "cifar-10-binary.tar.gz", official)
    return {
        "folder": write(root / "a", cifar10_files()),
        "folder above": write(root / "b" / "cifar-10-batches-bin", cifar10_files()).parent,
        "archive": root / "cifar-10-binary.tar.gz",
        "folder of the archive": root,
        "gunzipped": write_tar(root / "x.tar", official, mode="w"),
        "no folder inside, other order": write_tar(root / "y.tgz", dict(reversed(cifar10_files().items()))),
    }


@pytest.mark.parametrize(
    "place",
    ["folder", "folder above", "archive", "folder of the archive", "gunzipped", "no folder inside, other order"],
)
def test_rows_labels_and_pixels(tmp_path, place):
    found = read_records(places(tmp_path)[place], CIFAR10, "train")
    assert found.labels[:, 0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert found.pixels.shape == (10, 3, 32, 32)
    assert found.pixels[:, 0, 0, 0].tolist() == [10, 11, 20, 21, 30, 31, 40, 41, 50, 51]
    assert found.pixels[0, :, 3, 7].tolist() == [(10 + 32 * 3 + 7) % 256, 3, 7]  # red, green: y, blue: x
    assert read_records(places(tmp_path)[place], CIFAR10, "test").labels.tolist() == [[9], [9]]


def test_cifar100_has_the_coarse_byte_first(tmp_path):
    write(tmp_path / "cifar-100-binary", cifar100_files())
    found = read_records(tmp_path, CIFAR100, "train")
    assert found.labels.tolist() == [[0, 9], [1, 19], [2, 29]]
    assert found.pixels[2, :, 31, 0].tolist() == [(2 + 32 * 31) % 256, 31, 0]
    assert read_records(tmp_path, CIFAR100, "test").labels.tolist() == [[19, 99]]


def test_official_sizes():
    # "each file should be exactly 30730000 bytes long"
    assert CIFAR10.n_records["train"] * CIFAR10.record_bytes == 30_730_000
    assert CIFAR100.record_bytes == 3074


def test_stamps_are_those_of_the_files(tmp_path):
    write(tmp_path, cifar10_files() | {"data_batch_2.bin": record([2], 20)})
    stamps = read_records(tmp_path, CIFAR10, "train").stamps
    names = [1, 1, 2, 3, 3, 4, 4, 5, 5]
    found = [(tmp_path / f"data_batch_{i}.bin").stat() for i in names]
    assert stamps == tuple((stat.st_size, stat.st_mtime_ns) for stat in found)


def test_fewer_images_than_official_are_said(tmp_path, capsys):
    read_records(write(tmp_path, cifar100_files()), CIFAR100, "train")
    assert capsys.readouterr().err == f"{tmp_path}: 3 images in the train files; CIFAR-100 has 50000.\n"


def test_a_whole_official_file_is_no_line(tmp_path, capsys):
    write(tmp_path, {"test_batch.bin": np.zeros(30_730_000, np.uint8).tobytes()})
    assert len(read_records(tmp_path, CIFAR10, "test").pixels) == 10_000
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds 0 bytes: expected a whole number of records of 3073 bytes"),
        (record([3], 0)[:-1], "holds 3072 bytes"),
        (record([3], 0) + b"0", "holds 3074 bytes"),
        (record([3], 0) + record([10], 0), r"data_batch_3.bin: label 10 in record 1, expected 0 to 9"),
        (bytes(30_730_001), "holds more than 30730000 bytes: expected at most 10000 records of 3073"),
        (bytes(30_730_000 + 3073), "holds more than 30730000 bytes"),
    ],
)
def test_damaged_files(tmp_path, content, message, packed):
    files = cifar10_files() | {"data_batch_3.bin": content}
    place = write_tar(tmp_path / "a.tar.gz", files) if packed else write(tmp_path, files)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_records(place, CIFAR10, "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"), [([20, 0], "label 20"), ([0, 100], "label 100 in record 1, expected 0 to 99")]
)
def test_labels_of_cifar100(tmp_path, labels, message):
    write(tmp_path, {"train.bin": record([0, 0], 0) + record(labels, 0)})
    with pytest.raises(FileFormatError, match=message):
        read_records(tmp_path, CIFAR100, "train")


@pytest.mark.parametrize("packed", [False, True])
def test_a_missing_file(tmp_path, packed):
    files = cifar10_files()
    del files["data_batch_4.bin"]
    place = write_tar(tmp_path / "a.tar.gz", files) if packed else write(tmp_path, files)
    with pytest.raises(DataError, match=r"holds no data_batch_4.bin: expected .*cifar-10-binary.tar.gz"):
        read_records(place, CIFAR10, "train")
    assert len(read_records(place, CIFAR10, "test").pixels) == 2


def test_the_other_cifar(tmp_path):
    with pytest.raises(DataError, match=r"holds no CIFAR-100: expected SPLIT/CLASS/FILE, or train.bin and"):
        read_records(write(tmp_path, cifar10_files()), CIFAR100, "train")
    with pytest.raises(DataError, match=r"holds no train.bin: expected cifar-100-binary.tar.gz"):
        read_records(write_tar(tmp_path / "a.tar.gz", cifar10_files()), CIFAR100, "train")


@pytest.mark.parametrize(
    ("form", "names"),
    [
        (CIFAR10, ["data_batch_1", "test_batch"]),
        (CIFAR10, ["cifar-10-batches-py/data_batch_1"]),
        (CIFAR10, ["cifar-10-python.tar.gz"]),
        (CIFAR100, ["train", "test", "meta"]),
        (CIFAR100, ["cifar-100-python/train"]),
        (CIFAR100, ["cifar-100-python.tar.gz"]),
    ],
)
def test_the_pickled_version_is_refused(tmp_path, form, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
    message = f"is the pickled version of {form.title}, and unpickling .*: expected the binary version, {form.archive}"
    for place in {tmp_path, *(path for path in [tmp_path / names[0]] if path.is_file() and "/" not in names[0])}:
        with pytest.raises(DataError, match=message):
            read_records(place, form, "train")


@pytest.mark.parametrize(
    ("form", "name"), [(CIFAR10, "cifar-10-batches-py/data_batch_1"), (CIFAR100, "cifar-100-python/train")]
)
def test_the_pickled_archive_by_another_name_is_refused(tmp_path, form, name):
    place = write_tar(tmp_path / "cifar.tar.gz", {name: b"\x80\x02}q\x00."})
    with pytest.raises(DataError, match="is the pickled version of"):
        read_records(place, form, "train")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"no archive",
        lambda data: data[:5],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-20] + bytes(20),
        lambda data: data[:100] + bytes(50) + data[150:],
        lambda data: gzip.compress(b"\0" * 5000),
        lambda data: gzip.compress(b"no tar archive" * 500),
    ],
)
def test_damaged_archives(tmp_path, damage):
    rng = np.random.default_rng(0)
    noisy = {name: b"\1" + rng.bytes(3072) for name in cifar10_files()}
    path = write_tar(tmp_path / "a.tar.gz", noisy)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises((FileFormatError, DataError)) as caught:
        read_records(path, CIFAR10, "test")
    assert "\n" not in str(caught.value)


def test_an_archive_that_inflates_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar_binary, "_MAX_UNPACKED", 2**20)
    place = write_tar(tmp_path / "a.tar.gz", {"padding": bytes(2**21), **cifar10_files()})
    with pytest.raises(FileFormatError, match="reaches beyond the 1048576 bytes it may unpack to"):
        read_records(place, CIFAR10, "train")


def test_links_in_an_archive_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DataError, match=r"holds no test_batch.bin"):
        read_records(tmp_path / "a.tar", CIFAR10, "test")
