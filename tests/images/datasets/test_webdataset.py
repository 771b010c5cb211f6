"""Shards as https://github.com/webdataset/webdataset lays them out, written by Python's tarfile."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from headclust.errors import ConflictError, FileFormatError, HeadclustError
from headclust.images.datasets.webdataset import open_webdataset


def png(number: int, form: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (1, 1), (number, 0, 0)).save(data, format=form)
    return data.getvalue()


def shard(path: Path, **files: bytes | str | int) -> Path:
    """A shard of files in the order given; numbers are images of that color, "__" in a name stands for a dot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            data = png(content) if isinstance(content, int) else content
            data = data.encode() if isinstance(data, str) else data
            member = tarfile.TarInfo(name.replace("__", "."))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def numbers(images) -> list[int]:
    return [images.read(i).getpixel((0, 0))[0] for i in range(len(images))]


def refusal(path: Path | str, split: str | None = None) -> str:
    with pytest.raises(HeadclustError) as caught:
        open_webdataset(str(path), split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def shards(tmp_path) -> Path:
    """Two shards of three labeled images each; the third of each has no label."""
    for number in range(2):
        shard(
            tmp_path / "set" / f"{number:03}.tar",
            a__png=10 * number,
            a__cls="0",
            a__json="{}",
            b__cls="1\n",
            b__png=10 * number + 1,
            c__PNG=10 * number + 2,
        )
    return tmp_path / "set"


def test_a_folder_of_shards(shards):
    images = open_webdataset(str(shards), None)
    assert images.sample_ids == ("000/a", "000/b", "000/c", "001/a", "001/b", "001/c")
    assert numbers(images) == [0, 1, 2, 10, 11, 12]
    assert images.labels.tolist() == [0, 1, -1, 0, 1, -1]
    assert images.class_names == ("0", "1")
    assert (images.dataset, images.split, images.source) == ("set", "all", f"webdataset:{shards}")
    assert images.stamps[1] == (len(png(1)), (shards / "000.tar").stat().st_mtime_ns)


@pytest.mark.parametrize(
    ("pattern", "n_images"),
    [("{000..001}.tar", 6), ("*.tar", 6), ("00{0..1}.tar", 6), ("001.tar", 3), ("{000..000}.tar", 3), ("0*1.tar", 3)],
)
def test_patterns(shards, pattern, n_images):
    images = open_webdataset(f"{shards}/{pattern}", None)
    assert len(images) == n_images
    again = open_webdataset(images.source.removeprefix("webdataset:"), images.split)
    assert (again.sample_ids, again.dataset) == (images.sample_ids, images.dataset)
    assert images.dataset == ("001" if pattern == "001.tar" else "set")


def test_brackets_in_a_folder_are_no_pattern(tmp_path):
    shard(tmp_path / "a[1]" / "0.tar", a__png=3)
    assert numbers(open_webdataset(f"{tmp_path}/a[1]/*.tar", None)) == [3]
    assert numbers(open_webdataset(f"{tmp_path}/a[1]/{{0..0}}.tar", None)) == [3]


def test_a_missing_shard_of_a_range(shards):
    assert "002.tar: no such shard" in refusal(f"{shards}/{{000..002}}.tar")
    assert "no such shard" in refusal(f"{shards}/x*.tar")


@pytest.mark.parametrize("pattern", ["{3..1}.tar", "{0..99999999}.tar"])
def test_ranges_that_cannot_be(shards, pattern):
    assert "expected a range that counts up" in refusal(f"{shards}/{pattern}")


@pytest.mark.parametrize("name", ["classnames.txt", "classes.txt"])
@pytest.mark.parametrize("place", [".", ".."])
def test_names_of_classes(shards, name, place):
    (shards / place / name).write_text("fire truck\ncat\n\n")
    assert open_webdataset(str(shards), None).class_names == ("fire truck", "cat")
    (shards / place / name).write_text("cat\n")
    assert "names 1 classes, but a sample has label 1" in refusal(shards)
    (shards / place / name).write_bytes("fire truck\r\nж\r\n".encode("utf-16"))
    assert open_webdataset(str(shards), None).class_names == ("fire truck", "ж")
    (shards / place / name).write_bytes(b"cat\n\xff\n")
    with pytest.raises(FileFormatError, match=f"{name}, line 2 is not UTF-8 text"):
        open_webdataset(str(shards), None)


def test_labels_with_gaps_have_no_names(tmp_path):
    images = open_webdataset(str(shard(tmp_path / "x.tar", a__png=0, a__cls="7", b__png=1, b__cls="0")), None)
    assert (images.labels.tolist(), images.class_names) == ([7, 0], ())


def test_without_labels(tmp_path):
    images = open_webdataset(str(shard(tmp_path / "x.tar", a__png=4, a__txt="a cat")), None)
    assert (images.labels, images.class_names, images.dataset) == (None, (), "x")


def test_splits(tmp_path):
    (tmp_path / "nshards.txt").write_text("1")
    for split in ("train", "test"):
        shard(tmp_path / split / "0.tar", a__png=len(split), a__cls="0")
    (tmp_path / "classnames.txt").write_text("cat\n")
    images = open_webdataset(str(tmp_path), "test")
    assert (numbers(images), images.split, images.class_names) == ([4], "test", ("cat",))
    assert open_webdataset(str(tmp_path), "train").sample_ids == ("0/a",)
    assert open_webdataset(str(tmp_path), None).split == "train"  # as every source with a name
    assert "use --split test or --split train" in refusal(tmp_path, "val")
    assert "no splits" in refusal(tmp_path / "train", "test")
    assert "no splits" in refusal(tmp_path / "train" / "0.tar", "test")
    assert "no splits" in refusal(f"{tmp_path}/train/*.tar", "test")


def test_a_sample_is_a_run_of_files(tmp_path):
    found = refusal(shard(tmp_path / "x.tar", a__png=0, b__png=1, a__cls="0"))
    assert "sample 'a' appears twice, or its files are not consecutive" in found
    assert "sample 'a' has two images" in refusal(shard(tmp_path / "z.tar", a__png=0, a__jpg=png(1, "JPEG")))


def test_shards_of_the_same_name(tmp_path):
    for folder in "ab":
        shard(tmp_path / folder / "0.tar", x__png=0)
    found = refusal(f"{tmp_path}/*/0.tar")
    assert "matches two shards of the same name, " in found
    assert f"{tmp_path}/a/0.tar" in found
    assert f"{tmp_path}/b/0.tar" in found


def test_a_path_that_exists_is_no_pattern(tmp_path):
    shard(tmp_path / "a*{0..1}" / "0*.tar", x__png=3)
    shard(tmp_path / "a*{0..1}" / "01.tar", x__png=4)
    assert numbers(open_webdataset(f"{tmp_path}/a*{{0..1}}/0*.tar", None)) == [3]
    assert numbers(open_webdataset(f"{tmp_path}/a*{{0..1}}", None)) == [3, 4]


def test_a_blank_line_among_the_names_of_classes(shards):
    (shards / "classnames.txt").write_text("cat\n\ndog\n")
    assert "classnames.txt, line 2 is blank: expected one line per class, from 0 on" in refusal(shards)


def test_shards_that_change_while_they_are_read_stop_the_run(shards):
    images = open_webdataset(str(shards), None)
    shard(shards / "001.tar", a__png=1)
    assert images.read(2).size == (1, 1)
    with pytest.raises(ConflictError, match=r"001.tar has changed since its images were listed: start again"):
        images.read(3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list anything")
def test_a_folder_that_may_not_be_listed(shards):
    shards.chmod(0)
    try:
        assert "cannot be listed: Permission denied" in refusal(shards)
    finally:
        shards.chmod(0o700)


def test_keys_keep_their_folders(tmp_path):
    images = open_webdataset(str(shard(tmp_path / "x.tar", **{"a/1__png": 1, "b/1__png": 2, ".h__png": 3})), None)
    assert (images.sample_ids, numbers(images)) == (("x/a/1", "x/b/1"), [1, 2])


def test_an_extension_is_all_behind_the_first_dot(tmp_path):
    images = open_webdataset(str(shard(tmp_path / "x.tar", a__seg__png=1, a__png=2)), None)
    assert (images.sample_ids, numbers(images)) == (("x/a",), [2])
    assert "holds no images: expected samples as KEY.jpg" in refusal(shard(tmp_path / "y.tar", a__seg__png=1))


def test_samples_without_an_image_are_counted(tmp_path, capsys):
    open_webdataset(str(shard(tmp_path / "x.tar", a__png=1, b__txt="x", c__cls="1")), None)
    assert capsys.readouterr().err.endswith("samples left out, because they have no image: 2\n")


@pytest.mark.parametrize("text", ["cat", "", "1.5", "-2", "1 2", "9" * 30, "x" * 10_000])
def test_labels_that_are_no_whole_number(tmp_path, text):
    found = refusal(shard(tmp_path / "x.tar", a__png=0, a__cls=text))
    assert "'a.cls' holds" in found
    assert len(found) < 300


def test_what_is_no_shard(tmp_path, shards):
    assert "holds no shards" in refusal(shards.parent)
    assert "is compressed, but shards are read in place" in refusal(shard(tmp_path / "x.tar.gz", a__png=0))
    (tmp_path / "y.tar").write_bytes(b"no")
    with pytest.raises(FileFormatError, match="cannot be read as a tar file"):
        open_webdataset(str(tmp_path / "y.tar"), None)
    refusal(tmp_path / "gone.tar")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_without_the_parents_files_reads_the_same(shards):
    images = open_webdataset(str(shards), None)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.closerange(3, 10_000)
            status = 0 if numbers(images) == [0, 1, 2, 10, 11, 12] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
