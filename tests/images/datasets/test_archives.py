"""Archives give the rows their unpacked folder would give, whoever wrote them."""

import os
import shutil
import subprocess
import sys
import tarfile

import pytest
from archive_files import CLASSES, MODES, assert_same, numbers, pack, png, refusal, tar, tree, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from headclust.errors import SettingError
from headclust.images.datasets.archives import SUFFIXES, open_archive
from headclust.images.datasets.folder import open_folder

TREES = [
    CLASSES,
    ("a.png", "b.png"),
    ("cat/1.png", "b.png"),
    ("cat/a/1.png", "cat/b/2.png", "dog/c/3.png"),
    ("é/1.png", "z" * 120 + "/" + "y" * 130 + ".png"),
    (*(f"{i}/{j}.png" for i in range(5) for j in range(20)),),
]


@pytest.mark.parametrize("names", TREES, ids=range(len(TREES)))
@pytest.mark.parametrize("suffix", [*MODES, ".zip"])
@pytest.mark.parametrize("top", ["photos", "."])
def test_the_same_rows_as_the_folder(tmp_path, suffix, names, top):
    root = tree(tmp_path / "photos", *names)
    where, base = (tmp_path, "photos") if top == "photos" else (root, ".")
    if suffix == ".zip":
        made = shutil.make_archive(str(tmp_path / "photos"), "zip", where, base)
    else:
        made = tmp_path / f"photos{suffix}"
        with tarfile.open(made, MODES[suffix]) as archive:
            archive.add(where / base, base)
    images = open_archive(str(made), None)
    assert_same(images, open_folder(str(root), None))
    assert (images.dataset, images.split, images.source) == ("photos", "all", str(made))
    assert_same(open_archive(images.source, images.split), images)


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
@pytest.mark.parametrize("form", ["gnu", "pax", "ustar", "v7"])
def test_archives_of_gnu_tar(tmp_path, form):
    root = tree(tmp_path / "photos", *CLASSES, "dog/" + "x" * 80 + ".png")
    made = tmp_path / "photos.tar"
    subprocess.run(["tar", "--format", form, "-cf", made, "-C", tmp_path, "photos"], check=True)
    assert_same(open_archive(str(made), None), open_folder(str(root), None))


@pytest.mark.skipif(shutil.which("zip") is None, reason="needs zip")
def test_archives_of_info_zip(tmp_path):
    root = tree(tmp_path / "photos", *CLASSES, "é/1.png")
    subprocess.run(["zip", "-qr", "photos.zip", "photos"], cwd=tmp_path, check=True)
    assert_same(open_archive(str(tmp_path / "photos.zip"), None), open_folder(str(root), None))


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_splits_as_in_a_folder(tmp_path, suffix):
    names = ("train/ant/1.png", "train/bee/2.png", "train/cat/3.png", "test/ant/4.png", "test/cat/5.png")
    root = tree(tmp_path / "x", *names)
    for inside in ("", "x/"):
        made = pack(tmp_path / f"x{suffix}", *(inside + name for name in names))
        for split in ("train", "test"):
            images = open_archive(str(made), split)
            assert_same(images, open_folder(str(root), split))
            assert images.split == split
        assert open_archive(str(made), "test").class_names == ("ant", "bee", "cat")
        assert "holds test, train, and no split was named: use --split test or --split train" in refusal(made)
        assert "there is no split 'all'" in refusal(made, "all")


def test_an_archive_of_one_split_folder(tmp_path):
    made = tar(tmp_path / "x.tar", "train/a/1.png", "train/b/2.png")
    assert "use --split train" in refusal(made)
    assert open_archive(str(made), "train").sample_ids == ("train/a/1.png", "train/b/2.png")


def test_a_split_of_an_archive_without_splits(tmp_path):
    assert "it has no splits; leave --split out" in refusal(tar(tmp_path / "x.tar", *CLASSES), "train")


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("photos/1.png", "photos/2.png"), ("1.png", "2.png")),
        (("a/b/1.png", "a/b/2.png"), ("b/1.png", "b/2.png")),  # only one folder is taken for the root
        (("photos/1.png", "README.md"), ("photos/1.png",)),
        (("photos/1.png", "__MACOSX/photos/._1.png", ".DS_Store"), ("1.png",)),
        (("photos/1.png", "photos/._1.png", "photos/.cache/2.png", "photos/notes.txt"), ("1.png",)),
        (("./photos//1.png", "./photos/./2.png"), ("1.png", "2.png")),
        (("1.PNG".lower(), "2.png"), ("1.png", "2.png")),
    ],
)
@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip"])
def test_what_counts_as_the_root(tmp_path, names, ids, suffix):
    assert open_archive(str(pack(tmp_path / f"x{suffix}", *names)), None).sample_ids == ids


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip"])
@pytest.mark.parametrize("other", ["README.txt", "annotations/x.json", "__MACOSX/ds/._x", "ds/annotations/x.json"])
def test_what_holds_no_image_hides_neither_splits_nor_classes(tmp_path, suffix, other):
    names = ("ds/train/cat/0.jpg", "ds/train/dog/0.jpg", "ds/test/cat/0.jpg", "ds/test/dog/0.jpg")
    made = pack(tmp_path / f"x{suffix}", other, *names)
    images = open_archive(str(made), "test")
    assert (images.sample_ids, images.class_names) == (("test/cat/0.jpg", "test/dog/0.jpg"), ("cat", "dog"))
    if not other.startswith("ds/"):
        made = pack(tmp_path / f"y{suffix}", other, "ds/cat/0.jpg", "ds/dog/0.jpg")
        assert open_archive(str(made), None).class_names == ("cat", "dog")


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip"])
def test_system_folders_are_left_out_of_archives(tmp_path, suffix, capsys):
    made = pack(tmp_path / f"x{suffix}", "cat/1.png", "dog/2.png", "cat/@eaDir/1.png/T.jpg", "dog/@eaDir/T.jpg")
    assert open_archive(str(made), None).class_names == ("cat", "dog")
    assert capsys.readouterr().err == f"{made}: ignored 2 system folders: 2 @eaDir\n"


def test_what_is_ignored_is_said(tmp_path, capsys):
    open_archive(str(tar(tmp_path / "x.tar", "a.png", "b.doc", "c.txt", "d.txt")), None)
    assert capsys.readouterr().err.endswith("ignored 3 files that are not images by name: 2 .txt, 1 .doc\n")
    open_archive(str(tar(tmp_path / "x.tar", "a.png")), None)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes")
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_names_that_are_not_utf8_in_a_tar(tmp_path, suffix):
    name = os.fsdecode(b"caf\xe9.png")
    root = tree(tmp_path / "photos", name, "é.png")
    made = tmp_path / f"photos{suffix}"
    with tarfile.open(made, MODES[suffix], format=tarfile.GNU_FORMAT) as archive:
        archive.add(root, "photos")
    assert_same(open_archive(str(made), None), open_folder(str(root), None))
    assert name in open_archive(str(made), None).sample_ids


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_names_with_a_colon_are_no_drives(tmp_path, suffix):
    assert open_archive(str(pack(tmp_path / f"x{suffix}", "a:b.png", "c:")), None).sample_ids == ("a:b.png",)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_tar_file_called_zip(tmp_path, suffix):
    pack(tmp_path / f"x{suffix}", *CLASSES).rename(tmp_path / "x.zip")
    assert open_archive(str(tmp_path / "x.zip"), None).sample_ids == CLASSES


def test_an_empty_folder_is_no_class_of_any_split(tmp_path):
    for name in ("train/aaa", "train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / "x" / name).mkdir(parents=True)
    tree(tmp_path / "x", "train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "test/dog/4.png")
    for suffix in (".tar", ".tar.gz"):
        with tarfile.open(tmp_path / f"x{suffix}", MODES[suffix]) as archive:
            archive.add(tmp_path / "x", "x")
        for split in ("train", "test"):
            images = open_archive(str(tmp_path / f"x{suffix}"), split)
            assert (images.labels.tolist(), images.class_names) == ([0, 1], ("cat", "dog"))
            assert_same(images, open_folder(str(tmp_path / "x"), split))


def test_stamps_follow_the_content(tmp_path):
    made = {suffix: pack(tmp_path / f"x{suffix}", *CLASSES) for suffix in (".tar", ".tgz", ".zip")}
    images = {suffix: open_archive(str(path), None) for suffix, path in made.items()}
    sizes = [len(png(i)) for i in range(3)]
    assert all([stamp[0] for stamp in found.stamps] == sizes for found in images.values())
    assert {stamp[1] for stamp in images[".tar"].stamps} == {made[".tar"].stat().st_mtime_ns}
    assert images[".tgz"].stamps == images[".zip"].stamps
    assert len({stamp[1] for stamp in images[".zip"].stamps}) == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_name_without_its_suffix_is_the_data_sets(tmp_path, suffix):
    made = zipped(tmp_path / f"my.photos{suffix}", "a.png")  # what it is is told by its content
    assert open_archive(str(made), None).dataset == "my.photos"


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "B", "é", "10", "train"]), min_size=1, max_size=3).map("/".join),
        min_size=1,
        max_size=12,
        unique=True,
    ),
    st.sampled_from([".tar", ".tgz", ".zip"]),
)
@settings(max_examples=60)
def test_every_row_is_read_as_itself(tmp_path_factory, stems, suffix):
    names = [f"top/{stem}.png" for stem in stems]
    made = pack(tmp_path_factory.mktemp("x") / f"x{suffix}", *names)
    try:
        images = open_archive(str(made), None)
    except SettingError:  # nothing but "train"
        images = open_archive(str(made), "train")
    assert images.sample_ids == tuple(sorted(f"{stem}.png" for stem in stems))
    assert numbers(images) == [names.index(f"top/{name}") for name in images.sample_ids]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_without_the_parents_files_reads_the_same(tmp_path, suffix):
    images = open_archive(str(pack(tmp_path / f"x{suffix}", *CLASSES)), None)
    expected = numbers(images)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.closerange(3, 10_000)
            status = 0 if numbers(images) == expected == [0, 1, 2] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
