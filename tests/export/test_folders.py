import errno
import os
import shutil
import unicodedata
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.conftest import NAMES, draw, make_table, number, tree
from headclust.errors import ConflictError, DataError, HeadclustError
from headclust.export import MODES, FoundImages, Table, folders, write_folders
from headclust.export.folders import MARKER, Names
from headclust.filenames import storable_name


def placed(target: Path) -> dict[str, str | bytes]:
    entries = tree(target)
    assert MARKER in entries
    return {name: content for name, content in entries.items() if name != MARKER}


def test_links_by_default(photos, tmp_path):
    before = tree(photos)
    target = write_folders(tmp_path / "out", *make_table(photos, *NAMES), "link")
    assert placed(target) == {
        "one/a.png": str(photos / "a.png"),
        "one/c.png": str(photos / "c.png"),
        "one/a-2.png": str(photos / "deep/er/a.png"),
        "two/b.png": str(photos / "b.png"),
        "two/a.png": str(photos / "deep/a.png"),
    }
    assert [number(target / name) for name in ("one/a.png", "one/a-2.png", "two/a.png")] == [0, 4, 3]
    assert tree(photos) == before


def test_copies(photos, tmp_path):
    before = tree(photos)
    os.utime(photos / "a.png", (1, 1))
    target = write_folders(tmp_path / "out", *make_table(photos, *NAMES), "copy")
    assert [number(target / name) for name in ("one/a.png", "one/a-2.png", "two/a.png")] == [0, 4, 3]
    assert not any(path.is_symlink() for path in target.rglob("*"))
    assert (target / "one/a.png").stat().st_mtime == 1
    assert (target / "one/a.png").stat().st_nlink == 1
    assert tree(photos) == before


@pytest.mark.parametrize("hard_links", [True, False])
def test_moves(photos, tmp_path, monkeypatch, hard_links):
    if not hard_links:

        def refused(*_):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        monkeypatch.setattr(Path, "hardlink_to", refused)
    before = tree(photos)
    target = write_folders(tmp_path / "out", *make_table(photos, *NAMES), "move")
    assert tree(photos) == {}
    assert sorted(placed(target).values()) == sorted(before.values())
    assert number(target / "one/a-2.png") == 4


@pytest.mark.parametrize("mode", MODES)
def test_again_changes_nothing(photos, tmp_path, mode):
    table, images = make_table(photos, *NAMES)
    before = tree(write_folders(tmp_path / "out", table, images, mode))
    times = {path: path.lstat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    # The images are looked up again, as by a second command; those moved are not there any more.
    write_folders(tmp_path / "out", *make_table(photos, *NAMES), mode)
    assert tree(tmp_path / "out") == before
    assert {path: path.lstat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == times


@pytest.mark.parametrize("after", range(len(NAMES)))
@pytest.mark.parametrize("mode", MODES)
def test_an_interrupted_export_is_resumed(photos, tmp_path, monkeypatch, mode, after):
    whole = write_folders(tmp_path / "whole", *make_table(shutil.copytree(photos, tmp_path / "same"), *NAMES), mode)
    put, done = folders.put, []

    def stopped(*arguments):
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(put(*arguments))

    monkeypatch.setattr(folders, "put", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_folders(tmp_path / "out", *make_table(photos, *NAMES), mode)
    monkeypatch.undo()
    target = write_folders(tmp_path / "out", *make_table(photos, *NAMES), mode)
    expected = {name: str(content).replace("/same/", "/photos/") for name, content in placed(whole).items()}
    assert {name: str(content) for name, content in placed(target).items()} == expected


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_move_that_was_stopped_between_its_two_steps(photos, tmp_path, monkeypatch, hard_links):
    unlink = Path.unlink

    def stopped(path, **options):
        if path.is_relative_to(photos):
            raise KeyboardInterrupt
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", stopped)
    if not hard_links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "no")))
    with pytest.raises(KeyboardInterrupt):
        write_folders(tmp_path / "out", *make_table(photos, *NAMES), "move")
    assert (photos / "a.png").exists()
    assert (tmp_path / "out/one/a.png").exists()
    monkeypatch.undo()
    write_folders(tmp_path / "out", *make_table(photos, *NAMES), "move")
    assert tree(photos) == {}
    assert len(placed(tmp_path / "out")) == len(NAMES)


def test_images_that_cannot_be_moved_away(photos, tmp_path, monkeypatch):
    unlink = Path.unlink

    def refused(path, **options):
        if path.is_relative_to(photos):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(path, **options)

    before = tree(photos)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(HeadclustError, match=r"cannot move .*a\.png: Permission denied: it stays"):
        write_folders(tmp_path / "out", *make_table(photos, *NAMES), "move")
    assert tree(photos) == before


def test_a_link_is_moved_as_a_copy_of_its_target(tmp_path):
    photos = draw(tmp_path / "photos", "a.png", "b.png")
    outside = draw(tmp_path / "outside", "c.png") / "c.png"
    (photos / "c.png").symlink_to("../outside/c.png")
    (photos / "z.png").symlink_to("a.png")  # to an image that is moved itself
    ids = ("a.png", "b.png", "c.png", "z.png")
    target = write_folders(tmp_path / "out", *make_table(photos, *ids, clusters=[0] * 4), "move")
    assert [number(target / "one" / name) for name in ids] == [0, 1, 0, 0]
    assert not any(path.is_symlink() for path in target.rglob("*"))
    assert outside.exists()
    assert not any(photos.iterdir())


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def precious(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("precious")
    return path


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("out", "exists and is not a folder"),
        ("out/mine.txt", "holds other files"),
        ("out/one/x.png", "holds other files"),
    ],
)
def test_other_folders_are_left_alone(photos, tmp_path, mode, place, message):
    precious(tmp_path / place)
    before = tree(tmp_path)
    with pytest.raises(ConflictError, match=message):
        write_folders(tmp_path / "out", *make_table(photos, *NAMES), mode)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["file", "link", "folder", "broken link"])
def test_nothing_is_replaced(photos, tmp_path, mode, kind):
    # An interrupted export, and then something else with one of its names.
    table, images = make_table(photos, *NAMES)
    folders._mark((tmp_path / "out").resolve(), table, images, mode)
    place, mine = tmp_path / "out/two/b.png", precious(tmp_path / "mine.txt")
    place.parent.mkdir()
    if kind == "file":
        precious(place)
    elif kind == "folder":
        precious(place / "x")
    else:
        place.symlink_to(mine if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(ConflictError, match=r"b\.png exists and is not replaced"):
        write_folders(tmp_path / "out", table, images, mode)
    assert mine.read_text() == "precious"
    assert (photos / "b.png").exists()
    if kind == "file":
        assert place.read_text() == "precious"
    elif kind != "folder":
        assert place.is_symlink()


@pytest.mark.parametrize("mode", MODES)
def test_a_group_that_leads_elsewhere(photos, tmp_path, mode):
    table, images = make_table(photos, *NAMES)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folders._mark((tmp_path / "out").resolve(), table, images, mode)
    (tmp_path / "out/two").symlink_to(elsewhere)
    with pytest.raises(ConflictError, match="two exists and is not a folder"):
        write_folders(tmp_path / "out", table, images, mode)
    assert not any(elsewhere.iterdir())
    assert len(tree(photos)) == len(NAMES)


def test_another_export_is_left_alone(photos, tmp_path):
    table, images = make_table(photos, *NAMES)
    before = tree(write_folders(tmp_path / "out", table, images, "link"))
    others = (
        (table, "copy"),
        (make_table(photos, *NAMES, clusters=[1, 1, 1, 1, 1])[0], "link"),
        (make_table(photos, *NAMES, groups=("one", "other"))[0], "link"),
        (make_table(photos, *NAMES[:4])[0], "link"),
    )
    for other, mode in others:
        with pytest.raises(ConflictError, match="holds another export"):
            write_folders(tmp_path / "out", other, images, mode)
    (tmp_path / "out" / MARKER).write_text("nonsense")
    with pytest.raises(ConflictError, match="holds another export"):
        write_folders(tmp_path / "out", table, images, "link")
    (tmp_path / "out" / MARKER).unlink()
    assert tree(tmp_path / "out") == {name: content for name, content in before.items() if name != MARKER}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", ["", "groups", "deep/groups", "../photos/groups"])
def test_not_among_the_images(photos, mode, place):
    before = tree(photos)
    with pytest.raises(ConflictError, match="lies in the image folder"):
        write_folders(photos / place, *make_table(photos, *NAMES), mode)
    assert tree(photos) == before


@pytest.mark.parametrize("mode", MODES)
def test_not_around_the_images(photos, tmp_path, mode):
    table, images = make_table(photos, *NAMES)
    folders._mark((tmp_path / "out").resolve(), table, images, mode)
    within = shutil.copytree(photos, tmp_path / "out/photos")
    before = tree(tmp_path)
    for target in (tmp_path, tmp_path / "out"):
        with pytest.raises(ConflictError, match="contains the image folder: choose another place"):
            write_folders(target, *make_table(within, *NAMES), mode)
    assert tree(tmp_path) == before


IDS_BY_GROUP = ("one/a.png", "two/b.png")


@pytest.mark.parametrize("mode", MODES)
def test_images_whose_folder_became_a_link_to_the_export(tmp_path, mode):
    # --move once took each image for a copy of itself, and deleted it.
    photos = draw(tmp_path / "photos", *IDS_BY_GROUP)
    target = write_folders(tmp_path / "out", *make_table(photos, *IDS_BY_GROUP), "move")
    shutil.rmtree(photos)
    photos.symlink_to("out")
    before = tree(tmp_path)
    with pytest.raises(ConflictError, match="lies in the image folder"):
        write_folders(target, *make_table(photos, *IDS_BY_GROUP), mode)
    assert tree(tmp_path) == before
    photos.unlink()
    photos.mkdir()
    for name in ("one", "two"):  # the same one level down
        (photos / name).symlink_to(target / name)
    before = tree(tmp_path)
    write_folders(target, *make_table(photos, *IDS_BY_GROUP), "move")
    assert tree(tmp_path) == before
    assert [number(target / name) for name in IDS_BY_GROUP] == [0, 1]


def test_a_listed_image_that_is_where_it_would_be_put(tmp_path):
    # A list may name files anywhere, so the check of the image folder does not apply.
    photos = draw(tmp_path / "photos", *IDS_BY_GROUP)
    target = write_folders(tmp_path / "out", *make_table(photos, *IDS_BY_GROUP), "move")
    table, _ = make_table(photos, *IDS_BY_GROUP)
    paths = tuple(str(tmp_path / "photos/../out" / name) for name in IDS_BY_GROUP)
    before = tree(tmp_path)
    write_folders(target, table, FoundImages(paths, None, None, (0, 1), are_files=True), "move")
    assert tree(tmp_path) == before


def test_images_of_another_source_are_not_taken_for_these(tmp_path):
    # A copy of the same size once counted as done.
    first, other = draw(tmp_path / "one", "a.png", "b.png"), draw(tmp_path / "other", "a.png", "b.png")
    (other / "a.png").write_bytes((first / "a.png").read_bytes()[:-1] + b"?")
    target = write_folders(tmp_path / "out", *make_table(first, "a.png", "b.png"), "copy")
    before = tree(target)
    with pytest.raises(ConflictError, match="holds another export"):
        write_folders(target, *make_table(other, "a.png", "b.png"), "copy")
    with pytest.raises(ConflictError, match="holds another export"):
        write_folders(target, *make_table(first, "a.png", "b.png", split="train"), "copy")
    shutil.copyfile(other / "a.png", first / "a.png")
    with pytest.raises(ConflictError, match=r"a\.png exists and is not replaced"):
        write_folders(target, *make_table(first, "a.png", "b.png"), "copy")
    assert tree(target) == before


def test_what_a_killed_process_left_is_never_written_to(photos, tmp_path):
    # A hard link to a finished image was once truncated by the next process with that process id.
    target = write_folders(tmp_path / "out", *make_table(photos, *NAMES), "copy")
    expected = placed(target)
    (target / "one/a-2.png").unlink()
    for name in (f".{os.getpid()}.tmp", ".headclust-0011223344556677.tmp"):
        (target / "one" / name).hardlink_to(target / "one/a.png")
    write_folders(target, *make_table(photos, *NAMES), "copy")
    assert {name: placed(target)[name] for name in expected} == expected


def test_interrupted_while_marking(photos, tmp_path, monkeypatch):
    # Ctrl-C at this point once made the folder unusable.
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("headclust.disk.os.fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_folders(tmp_path / "out", *make_table(photos, *NAMES), "copy")
    assert tree(tmp_path / "out") == {}
    (tmp_path / "out/.headclust-0011223344556677.tmp").write_text("{")  # as left by a killed process
    write_folders(tmp_path / "out", *make_table(photos, *NAMES), "copy")
    assert (tmp_path / "out/one/a.png").is_file()


@pytest.mark.parametrize("resumed", [False, True])
def test_a_move_to_another_disk_lasts_before_the_image_goes(photos, tmp_path, monkeypatch, resumed):
    fsync, unlink, done = os.fsync, Path.unlink, []

    def synced(descriptor):
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def gone(path, **options):
        if path.is_relative_to(photos):
            done.append(str(path))
        unlink(path, **options)

    table, images = make_table(photos, "b.png", clusters=[1])
    target = (tmp_path / "out").resolve()
    folders._mark(target, table, images, "move")
    if resumed:
        (target / "two").mkdir()
        shutil.copyfile(photos / "b.png", target / "two/b.png")
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "no")))
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "unlink", gone)
    write_folders(target, table, images, "move")
    assert done[-2:] == [str(target / "two"), str(photos / "b.png")]
    assert len(done) == (2 if resumed else 3)


HOSTILE = (
    "../../a.png",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/../../../b.png",
    "nul\0.png",
    storable_name("\ud800.png"),
    "x" * 300 + ".png",
)


@pytest.mark.parametrize("mode", MODES)
def test_sample_ids_are_not_used_as_paths(photos, tmp_path, mode, capsys):
    draw(tmp_path, "a.png", "b.png")
    before = {name: content for name, content in tree(tmp_path).items() if not name.startswith("photos/")}
    ids = (*HOSTILE, "a.png")
    target = write_folders(tmp_path / "out", *make_table(photos, *ids, clusters=[0] * len(ids)), mode)
    assert [path.name for path in (target / "one").iterdir()] == ["a-2.png"]  # the first a.png is not one of the photos
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    assert f"left out, as they were not found: {len(HOSTILE)} of {len(ids)} images" in capsys.readouterr().err


NAMES_OF_ANY_KIND = (
    "=1+1.png",
    "-rf.png",
    "new\nline.png",
    "\x1b[2J.png",
    "<script>.png",
    "\udce9.png",
    "字🙂.png",
    " .png",
)


@pytest.mark.parametrize("mode", MODES)
def test_names_stay_what_they_are(tmp_path, mode):
    photos = draw(tmp_path / "photos", *NAMES_OF_ANY_KIND)
    ids = tuple(sorted(NAMES_OF_ANY_KIND))
    target = write_folders(tmp_path / "out", *make_table(photos, *ids, clusters=[0] * len(ids)), mode)
    assert listed(target / "one") == sorted(NAMES_OF_ANY_KIND)


def test_long_names_of_one_kind(tmp_path):
    long = "x" * 251 + ".png"
    photos = draw(tmp_path / "photos", long, f"b/{long}", f"c/{long.upper()}")
    ids = (long, f"b/{long}", f"c/{long.upper()}")
    target = write_folders(tmp_path / "out", *make_table(photos, *ids, clusters=[0] * 3), "copy")
    names = listed(target / "one")
    assert sorted(map(len, names)) == [255] * 3
    assert sorted(number(target / "one" / name) for name in names) == [0, 1, 2]


def test_a_place_too_deep_for_the_disk(photos, tmp_path):
    deep = tmp_path.joinpath(*["y" * 200] * 25)
    with pytest.raises(HeadclustError, match=r"cannot write .*File name too long: choose another place"):
        write_folders(deep, *make_table(photos, *NAMES), "link")


def test_a_full_disk(photos, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("headclust.export.one_image.shutil.copyfile", full)
    with pytest.raises(HeadclustError, match="No space left on device: free some space, then run it again"):
        write_folders(tmp_path / "out", *make_table(photos, *NAMES), "copy")
    assert placed(tmp_path / "out") == {}


@pytest.mark.parametrize("mode", MODES)
def test_a_read_only_place(photos, tmp_path, monkeypatch, mode):
    def refused(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    before = tree(photos)
    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(HeadclustError, match="Read-only file system: choose another place"):
        write_folders(tmp_path / "closed/out", *make_table(photos, *NAMES), mode)
    assert tree(photos) == before


@pytest.mark.parametrize("mode", MODES)
def test_no_images_left(photos, tmp_path, mode):
    table, _ = make_table(photos, *NAMES)
    shutil.rmtree(photos)
    with pytest.raises(DataError, match=r"none of the 5 images is found in .*photos: put them back"):
        write_folders(tmp_path / "out", table, make_table(photos, *NAMES)[1], mode)
    assert not (tmp_path / "out").exists()


def test_one_image_gone(photos, tmp_path, capsys):
    (photos / "b.png").unlink()
    target = write_folders(tmp_path / "out", *make_table(photos, *NAMES), "link")
    assert len(placed(target)) == 4
    assert "1 of 5 images (b.png)" in capsys.readouterr().err


@pytest.fixture
def archive(photos, tmp_path) -> Path:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in NAMES:
            file.write(photos / name, name)
        file.write(photos / "c.png", "\x1b[2J c.jpg")
    return path


@pytest.mark.parametrize(("mode", "done"), [("link", "linked"), ("move", "moved")])
def test_images_in_an_archive_are_no_files(archive, tmp_path, mode, done):
    with pytest.raises(DataError, match=rf"photos\.zip are not separate files and cannot be {done}: use --copy"):
        write_folders(tmp_path / "out", *make_table(archive, *NAMES), mode)
    assert not (tmp_path / "out").exists()


def test_images_in_an_archive_are_copied_as_pixels(archive, tmp_path):
    ids = (*NAMES, "\x1b[2J c.jpg")
    for _ in range(2):
        target = write_folders(tmp_path / "out", *make_table(archive, *ids), "copy")
        assert {name: number(target / name) for name in placed(target)} == {
            "one/a.png": 0,
            "one/c.png": 2,
            "one/a-2.png": 4,
            "two/b.png": 1,
            "two/a.png": 3,
            "two/-[2J c.png": 2,
        }


def test_an_image_that_cannot_be_read(archive, tmp_path):
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("bad.png", b"no image")
    with pytest.raises(DataError, match=r"bad\.png: not an image .*: fix it, then run the command again"):
        write_folders(tmp_path / "out", *make_table(archive, "a.png", "bad.png"), "copy")


def test_groups_with_hostile_names(photos, tmp_path):
    groups = ("../x", "..\\x", "A b", "a B", "")
    table, images = make_table(photos, *NAMES, clusters=[0, 1, 2, 3, 4], groups=groups)
    target = write_folders(tmp_path / "out", table, images, "link")
    assert listed(target) == sorted(["_..-x", "_..-x-2", "A b", "a B-2", "unnamed", MARKER])


SCRIPTS = ("कुत्ता", "แมวน้ำ", "Mu\u0308nchen", "שָלוֹם", "🐈", "👨\u200d👩\u200d👧", "🇩🇪", "日本", "C# .NET & co", "-5 °C")


def test_names_of_every_script_stay(photos, tmp_path, capsys):
    # Devanagari and Thai once lost their vowels, and emoji became "unnamed", without a word.
    clusters = [row % len(SCRIPTS) for row in range(len(NAMES) * 2)]
    for part in (SCRIPTS[:5], SCRIPTS[5:]):
        table, images = make_table(photos, *NAMES, clusters=clusters[:5], groups=part)
        target = write_folders(tmp_path / part[0], table, images, "link")
        expected = [unicodedata.normalize("NFC", name) for name in part]
        assert listed(target) == sorted([*expected, MARKER])
    assert "with another name" not in capsys.readouterr().err


def test_a_name_that_a_file_system_forbids_is_told(photos, tmp_path, capsys):
    groups = ("C#/.NET", "München", "Mu\u0308nchen", "nul", ".hidden")
    target = write_folders(tmp_path / "out", *make_table(photos, *NAMES, clusters=range(5), groups=groups), "link")
    assert listed(target) == sorted(["C#-.NET", "München", "München-2", "_nul", "_.hidden", MARKER])
    assert "folder has it: 4 (C#/.NET is in C#-.NET)" in capsys.readouterr().err


def test_clusters_of_one_name_are_one_folder(photos, tmp_path):
    target = write_folders(tmp_path / "out", *make_table(photos, *NAMES, groups=("pets", "pets")), "link")
    assert listed(target / "pets") == ["a-2.png", "a-3.png", "a.png", "b.png", "c.png"]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8), max_size=30))
def test_names_in_a_folder_are_never_alike(names):
    free = Names(taken=["taken"])
    given = [free.free(name, 12) for name in [*names, *names, "taken"]]
    assert len({name.casefold() for name in given} | {"taken"}) == len(given) + 1
    assert all(0 < len(os.fsencode(name)) <= 12 for name in given)


def test_a_suffix_as_long_as_a_name_may_be_leaves_room_for_the_number():
    free = Names()
    names = [free.free("a." + "x" * 300, 255) for _ in range(120)]  # once an endless loop
    assert len(set(names)) == 120
    assert {len(name) for name in names} == {255}


def test_many_of_one_name():
    free = Names()
    names = [free.free("0001.jpg", 255) for _ in range(20_000)]
    assert (names[0], names[1], names[-1]) == ("0001.jpg", "0001-2.jpg", "0001-20000.jpg")


def test_an_unknown_source(tmp_path):
    table = Table(("a",), (None,), [0], {0: "one"}, [1.0])
    with pytest.raises(DataError, match="none of the 1 images is found in an unknown source"):
        write_folders(tmp_path / "out", table, FoundImages((None,), None, None, (None,)), "copy")
