import csv
import dataclasses
import json
import os
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclust import backbones, load_features, runs, verbs
from headclust.errors import BusyError, ConflictError, DataError, HeadclustError, SettingError, SourceError
from headclust.images.datasets import open_source, walk
from headclust.verbs.run import embedding, steps
from headclust.verbs.run import groups_folder as groups
from verbs.conftest import read_config, read_metrics, rows

PAGE = '<!DOCTYPE html><meta name="generator" content="headclust report">'
BROKEN = {
    "truncated.jpg": "cannot be decoded",
    "text.jpg": "not an image in a supported format",
    "empty.jpg": "empty file",
    "page.jpg": "not an image in a supported format",
    "zero.png": "empty file",
}


@pytest.fixture(scope="session")
def small_backbone():
    """The packaged weights at 32 pixels: a batch takes a moment."""
    return backbones.load_backbone("efficientnet_lite0", image_size=32, offline=True)


@pytest.fixture
def calls(monkeypatch, small_backbone):
    """What was really done, step by step; the report is a stub."""
    done = []
    embed_images, fit_recipe = embedding.embed_images, steps.fit_recipe

    def load(name, **_):
        return dataclasses.replace(small_backbone, name=name)

    def embed(images, backbone, path, settings):
        done.append(("embed", backbone.name, settings.n_views))
        return embed_images(images, backbone, path, settings)

    def fitted(recipe, *arguments, **options):
        done.append(("fit", recipe.method))
        return fit_recipe(recipe, *arguments, **options)

    def report(run, *, output=None, labels=False):
        done.append(("report", run.name))
        output.write_text(PAGE)
        return output

    for module, name, stub in (
        (embedding, "load_backbone", load),
        (embedding, "embed_images", embed),
        (steps, "fit_recipe", fitted),
        (steps, "report", report),
    ):
        monkeypatch.setattr(module, name, stub)
    monkeypatch.setattr(embedding, "PREFERRED", ("efficientnet_lite0",))
    return done


@pytest.fixture
def photos(here):
    """Twenty pictures in one folder: light and dark noise in turns."""
    return draw(here / "photos", [f"{number:02d}.png" for number in range(20)])


def draw(folder, names):
    generator = np.random.default_rng(0)
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 60, (24, 24, 3)) + 180 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


def break_some(folder):
    whole = next(iter(sorted(folder.glob("*.png")))).read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[:100])
    (folder / "text.jpg").write_text("shopping: milk\n")
    (folder / "page.jpg").write_text("<!DOCTYPE html><script>alert(1)</script>")
    (folder / "empty.jpg").touch()
    (folder / "zero.png").touch()


def run(data, **options):
    return verbs.run(str(data), **{"clusters": 2, "method": "kmeans", "device": "cpu", **options})


def tree(folder):
    """Every file below a folder with its bytes, but for kept neighbor graphs."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".headclust" not in path.parts}


def test_a_folder_becomes_groups_in_one_folder(photos, here, calls, capsys):
    before = tree(photos)
    made = run(photos)
    assert made.folder.as_posix() == "photos-groups"
    assert {path.name for path in made.folder.iterdir()} >= {"headclust.json", "features.h5", "run", "report.html"}
    assert {path.name for path in here.iterdir()} == {"photos", "photos-groups"}
    assert tree(photos) == before
    assert (made.n_samples, made.n_left_out, made.left_out) == (20, 0, None)
    assert made.assignments.is_file()
    assert {row["cluster"] for row in rows(made.assignments)[::2]} != {
        row["cluster"] for row in rows(made.assignments)[1::2]
    }
    assert [call[0] for call in calls] == ["embed", "fit", "report"]
    lines = capsys.readouterr().err.splitlines()
    assert [line[:12] for line in lines if line.startswith("step")] == ["step 1 of 3:", "step 2 of 3:", "step 3 of 3:"]


def test_again_does_nothing_and_says_so(photos, here, calls, capsys):
    first = run(photos)
    before = tree(here)
    calls.clear()
    capsys.readouterr()
    assert run(photos) == first
    assert run(photos, output=first.folder) == first
    assert calls == []
    assert tree(here) == before
    err = capsys.readouterr().err
    assert "embedded already" in err
    assert "fitted already, with the same settings" in err
    assert "report.html is there already" in err


def test_the_last_bits_are_no_reason_to_embed_again(photos, calls, monkeypatch):
    run(photos)
    calls.clear()
    monkeypatch.setattr("headclust.embedding.parts.description", lambda device: {"device": "another", "threads": 96})
    run(photos)
    assert calls == []


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"clusters": 3}, "n_clusters: 2 there, 3 here"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"method": "ward"}, "method: kmeans there, ward here"),
    ],
)
def test_another_fit_is_refused_or_replaces_the_old_one(photos, here, calls, options, found):
    first = run(photos)
    before = tree(here)
    calls.clear()
    with pytest.raises(ConflictError, match="was fitted with other settings") as caught:
        run(photos, **options)
    assert found in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert "headclust fit photos-groups/features.h5" in str(caught.value)
    assert f"headclust run {photos} --clusters {options.get('clusters', 2)} " in str(caught.value)
    assert tree(here) == before
    assert calls == []
    made = run(photos, **options, overwrite=True)
    assert made == first
    assert [call[0] for call in calls] == ["fit", "report"]
    assert tree(here) != before


@pytest.mark.parametrize("options", [{"model": "efficientnet_lite2"}, {"views": 1}])
def test_another_embedding_is_refused_or_replaces_the_old_one(photos, here, calls, options):
    run(photos)
    before = tree(here)
    calls.clear()
    with pytest.raises(ConflictError, match=r"features\.h5 was made with other settings .* or use --overwrite"):
        run(photos, **options)
    assert tree(here) == before
    calls.clear()
    run(photos, **options, overwrite=True)
    assert [call[0] for call in calls] == ["embed", "embed", "fit", "report"]
    calls.clear()
    run(photos)  # goes on with what is there
    assert calls == []


def test_the_command_that_keeps_both_does(here, calls):
    # The line once named `headclust fit` only, which makes no folder of groups.
    photos = draw(here / "my photos", [f"{number:02d}.png" for number in range(20)])
    first = run(photos, views=1)
    before = tree(first.folder)
    (here / "my-photos-groups-3").mkdir()
    (here / "my-photos-groups-3" / "mine.txt").write_text("mine")
    with pytest.raises(ConflictError) as caught:
        run(photos, clusters=3, seed=4)
    told = str(caught.value)
    words = shlex.split(told[told.index("headclust run") : told.index(", or without embedding")])
    asked = dict(zip(words[3::2], words[4::2], strict=True))
    assert words[2] == str(photos)
    assert asked == {
        "--views": "1",
        "--clusters": "3",
        "--method": "kmeans",
        "--seed": "4",
        "-o": "my-photos-groups-3-2",
    }
    made = run(photos, clusters=3, seed=4, views=1, output=Path(asked["-o"]))
    assert read_config(made.run)["settings"]["n_clusters"] == 3
    assert tree(first.folder) == before


def test_a_folder_that_has_grown_keeps_its_rows_and_its_ids(photos, here, calls, monkeypatch, capsys):
    # One new photo once made it embed all again, and gave the groups other numbers.
    made = run(photos)
    before, old = load_features(made.features), {row["sample_id"]: row["cluster"] for row in rows(made.assignments)}
    stored = before.source()[:].tobytes()
    draw(photos, ["00-new.png", "new.png"])
    for name in old:  # the files that were there keep their times
        assert (photos / name).exists()
    times = {name: (photos / name).stat().st_mtime_ns for name in old}
    assert len(times) == 20
    calls.clear()
    grown = run(photos)
    after = load_features(grown.features)
    assert grown.n_samples == 22
    assert after.sample_ids == (*before.sample_ids, "00-new.png", "new.png")
    assert after.source()[:20].tobytes() == stored
    assert [call[0] for call in calls] == ["fit", "report"]  # embed_images is not called
    assert "embedding 2 images with efficientnet_lite0; 20 stay as they are" in capsys.readouterr().err
    now = {row["sample_id"]: row["cluster"] for row in rows(grown.assignments)}
    assert {name: now[name] for name in old} == old
    calls.clear()
    assert run(photos) == grown
    assert calls == []


def test_edited_and_removed_images_are_followed_when_told(photos, here, calls):
    old = load_features(run(photos).features).sample_ids
    before = tree(here / "photos-groups")
    (photos / "03.png").unlink()
    (photos / "04.png").write_bytes((photos / "06.png").read_bytes())
    draw(photos, ["new.png"])
    expected = r"1 image edited \(04\.png\), 1 image no longer there \(03\.png\), 1 new: --overwrite follows"
    with pytest.raises(ConflictError, match=expected):
        run(photos)
    assert tree(here / "photos-groups") == before
    calls.clear()
    followed = run(photos, overwrite=True)
    features = load_features(followed.features)
    assert features.sample_ids == (
        *(name for name in old if name not in ("03.png", "04.png")),
        "04.png",
        "new.png",
    )
    assert [call[0] for call in calls] == ["fit", "report"]
    assert [row["sample_id"] for row in rows(followed.assignments)] == list(features.sample_ids)
    calls.clear()
    assert run(photos) == followed
    assert calls == []


def test_overwrite_does_not_repeat_what_is_the_same(photos, calls):
    run(photos)
    calls.clear()
    run(photos, overwrite=True)
    assert calls == []


def test_broken_files_are_left_out_and_listed(photos, here, calls):
    break_some(photos)
    made = run(photos)
    assert (made.n_samples, made.n_left_out) == (20, 5)
    with made.left_out.open(newline="") as file:
        listed = {row["sample_id"]: row["reason"] for row in csv.DictReader(file)}
    assert listed.keys() == BROKEN.keys()
    assert {name: listed[name][: len(reason)] for name, reason in BROKEN.items()} == BROKEN
    assert len(rows(made.assignments)) == 20
    for name in BROKEN:
        (photos / name).unlink()
    mended = run(photos, overwrite=True)
    assert (mended.n_left_out, mended.left_out) == (0, None)
    assert not (mended.folder / "left-out.csv").exists()


def test_broken_files_stop_it_where_that_is_wanted(photos, calls):
    break_some(photos)
    with pytest.raises(DataError, match=r"empty\.jpg: empty file"):
        run(photos, on_error="fail")
    run(photos)
    with pytest.raises(DataError, match=r"empty\.jpg: empty file"):
        run(photos, on_error="fail")


def test_names_of_broken_files_stay_what_they_are(photos, calls):
    names = [b"=1+1.jpg", b'"quo,ted".jpg', b"line\nend\r.jpg", b"caf\xe9.jpg", b"\x1b[2J.jpg"]
    for name in names:
        (photos / os.fsdecode(name)).touch()
    made = run(photos)
    with made.left_out.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        listed = [os.fsencode(row["sample_id"]) for row in csv.DictReader(file)]
    assert sorted(listed) == sorted(names)


def test_only_broken_files(here, calls):
    (here / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (here / "photos" / name).touch()
    with pytest.raises(DataError, match="none of 2 images can be read"):
        run(here / "photos")
    assert [path.name for path in here.iterdir()] == ["photos"]  # a marked folder was once left
    (here / "empty").mkdir()
    with pytest.raises(DataError, match="none of 2 images can be read"):
        run(here / "photos", output=here / "empty")
    assert list((here / "empty").iterdir()) == []


def test_a_stopped_run_goes_on(photos, here, calls, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    expected = run(photos, output=here / "whole")
    for module, step in ((embedding, "embed_images"), (steps, "fit_recipe"), (steps, "report")):
        with monkeypatch.context() as patch:
            patch.setattr(module, step, stop)
            with pytest.raises(KeyboardInterrupt):
                run(photos, output=here / "stopped")
        told = "stopped after embedding: the same command resumes there" in capsys.readouterr().err
        assert told == (step != "embed_images")  # which says it itself
    calls.clear()
    made = run(photos, output=here / "stopped")
    assert [call[0] for call in calls] == ["report"]
    assert made.assignments.read_bytes() == expected.assignments.read_bytes()


def test_a_damaged_run_is_fitted_again_when_told(photos, calls):
    made = run(photos)
    (made.run / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(
        HeadclustError, match=r"model\.safetensors has changed since the fit: .* With --overwrite it is made again"
    ):
        run(photos)
    calls.clear()
    run(photos, overwrite=True)
    assert [call[0] for call in calls] == ["fit", "report"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_report_that_is_none_of_ours(photos, calls, overwrite):
    # Any newer file once counted as the report, and --overwrite said so after the run was gone.
    made = run(photos)
    made.report.write_text("mine")
    before = tree(made.folder)
    calls.clear()
    with pytest.raises(ConflictError, match=r"report\.html exists and is not a headclust report"):
        run(photos, clusters=3, overwrite=overwrite)
    with pytest.raises(ConflictError, match=r"report\.html exists and is not a headclust report"):
        run(photos, overwrite=overwrite)
    assert calls == []
    assert tree(made.folder) == before
    made.report.write_text("")
    run(photos)
    assert made.report.read_text() == PAGE


def test_files_of_the_users_in_the_run_stay(photos, calls):
    made = run(photos)
    (made.run / "names.csv").write_text("cluster,name\n")
    before = tree(made.run)
    with pytest.raises(ConflictError, match=r"also holds names\.csv, which is not part of the run"):
        run(photos, clusters=3, overwrite=True)
    assert tree(made.run) == before


def test_a_newer_run_gets_a_new_report(photos, calls):
    made = run(photos)
    os.utime(made.report, ns=(0, 0))
    calls.clear()
    run(photos)
    assert calls == [("report", "run")]


PETS = ["cat/0.png", "dog/1.png", "cat/2.png", "dog/3.png", "owl/4.png"]


def test_class_folders_are_classes_when_that_is_asked_for(here, calls):
    folder = draw(here / "pets", PETS)
    made = run(folder, clusters=None, labels="folders")
    assert read_config(made.run)["settings"]["n_clusters"] == 3
    assert "accuracy" in read_metrics(made.run)
    two = run(folder, clusters=2, labels="folders", output=here / "two")
    assert read_config(two.run)["settings"]["n_clusters"] == 2


def test_year_folders_are_no_classes(here, calls, capsys):
    folder = draw(here / "years", [f"{year}/{number}.png" for year in (2021, 2022, 2023) for number in range(2)])
    with pytest.raises(SettingError, match=r"has 3 subfolders \(2021, 2022, 2023\), which .*--clusters K") as caught:
        run(folder, clusters=None)
    assert "\n" not in str(caught.value)
    made = run(folder)
    line = "its 3 subfolders (2021, 2022, 2023) are not used as classes; --labels folders uses them"
    assert capsys.readouterr().err.count(line) == 1
    features = load_features(made.features)
    assert (features.labels, features.class_names, features.attributes["labels"]) == (None, (), "none")
    assert "accuracy" not in read_metrics(made.run)
    calls.clear()
    assert run(folder) == made
    assert calls == []


@pytest.mark.parametrize(("labels", "shown"), [("folders", True), ("dataset", False), ("none", False)])
def test_only_labels_of_folders_are_shown_in_the_report(here, calls, monkeypatch, labels, shown):
    reports = []

    def report(run, *, output, labels=False):
        reports.append(labels)
        output.write_text(PAGE)
        return output

    monkeypatch.setattr(steps, "report", report)
    run(draw(here / "pets", PETS), labels=labels)
    assert reports == [shown]


def test_labels_of_a_list_are_its_own(here, calls):
    draw(here / "pets", PETS)
    (here / "pets.csv").write_text("path,label\n" + "".join(f"pets/{name},{name[:3]}\n" for name in PETS))
    assert "accuracy" in read_metrics(run(here / "pets.csv", clusters=None).run)
    assert "accuracy" not in read_metrics(run(here / "pets.csv", labels="none", output=here / "none").run)


def test_folders_that_are_no_classes_cannot_be_labels(photos, here, calls):
    with pytest.raises(SettingError, match=r"has no class subfolders .*: leave --labels out"):
        run(photos, labels="folders")
    assert [path.name for path in here.iterdir()] == ["photos"]


def test_features_of_earlier_versions_with_labels_of_folders(here, calls):
    """Earlier versions took every such folder for classes, and recorded nothing about it."""
    folder = draw(here / "pets", PETS)
    before = run(folder, labels="folders")
    assert "labels" not in load_features(before.features).attributes
    with pytest.raises(ConflictError, match=r"continue with --labels folders, use --overwrite .* or .* -o") as caught:
        run(folder)
    assert "\n" not in str(caught.value)
    calls.clear()
    assert run(folder, labels="folders") == before
    assert calls == []
    assert load_features(run(folder, overwrite=True).features).labels is None
    with pytest.raises(ConflictError, match="was made without labels: leave --labels out"):
        run(folder, labels="folders")


def test_what_is_left_out_is_recorded_and_another_choice_is_a_conflict(here, calls, capsys):
    folder = draw(here / "pets", PETS)
    made = run(folder, exclude=["owl"])
    assert (made.n_samples, load_features(made.features).attributes["exclude"]) == (4, ["owl"])
    assert capsys.readouterr().err.count("ignored 1 file or folder by --exclude") == 1
    assert run(folder, exclude=["owl", "owl"]) == made
    with pytest.raises(ConflictError, match=r"exclude: \['owl'\] there, nothing here"):
        run(folder)
    with pytest.raises(ConflictError, match=r"exclude: \['owl'\] there, \['dog'\] here"):
        run(folder, exclude=["dog"])
    with pytest.raises(ConflictError, match=r"headclust run \S+ --exclude owl --clusters 3"):
        run(folder, exclude=["owl"], clusters=3)


def test_a_file_that_changes_meanwhile_stops_the_run(photos, here, calls, monkeypatch):
    listed, times = embedding.embed_images, iter(range(9))

    def embed(images, *arguments):
        os.utime(photos / "07.png", ns=(0, next(times)))
        return listed(images, *arguments)

    monkeypatch.setattr(embedding, "embed_images", embed)
    for overwrite in (False, True):
        with pytest.raises(SourceError, match=r"07\.png has changed since its images were listed: start again"):
            run(photos, overwrite=overwrite)
    assert not (here / "photos-groups" / "run").exists()


def test_a_folder_that_cannot_be_listed_is_left_out_and_recorded(here, calls, monkeypatch, capsys):
    folder = draw(here / "photos", ["a/0.png", "a/1.png", "private/2.png", "b/3.png"])
    scan = walk.scan

    def denied(place):
        if place.name == "private":
            raise DataError("cannot be listed") from PermissionError(13, "Permission denied")
        return scan(place)

    monkeypatch.setattr(walk, "scan", denied)
    made = run(folder)
    assert capsys.readouterr().err.count("left out 1 folder that cannot be listed (private/: Permission denied)") == 1
    assert (made.n_samples, made.n_left_out, made.n_folders_left_out) == (3, 0, 1)
    assert rows(made.left_out) == [{"sample_id": "private/", "reason": "Permission denied", "kind": ""}]
    assert load_features(made.features).attributes["unlisted"] == [["private/", "Permission denied"]]
    assert run(folder) == made
    monkeypatch.setattr(walk, "scan", scan)
    made = run(folder)
    assert (made.n_samples, made.left_out) == (4, None)
    # Images in a folder that cannot be listed for a while are not gone.
    monkeypatch.setattr(walk, "scan", denied)
    assert run(folder).n_samples == 4


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"clusters": 21}, "21 clusters of 20 images: expected at most 20"),
        ({"method": "means"}, "unknown method 'means'"),
        ({"clusters": -1}, "n_clusters is -1"),
        ({"seed": -1}, "seed -1"),
        ({"device": "cuda:9"}, "'cuda:9' is not present"),
        ({"split": "train"}, "it has no splits"),
    ],
)
def test_what_is_impossible_is_told_before_anything_is_made(photos, here, calls, options, line):
    with pytest.raises(SettingError, match=line):
        run(photos, **options)
    assert calls == []
    assert [path.name for path in here.iterdir()] == ["photos"]


def test_few_images_need_a_number(here, calls):
    folder = draw(here / "nine", [f"{number}.png" for number in range(9)])
    line = (
        "has no class subfolders to count, and 9 images are too few to suggest a number of groups: set it with --clus"
    )
    with pytest.raises(SettingError, match=line):
        run(folder, clusters=None)
    assert calls == []
    assert [path.name for path in here.iterdir()] == ["nine"]


def test_a_model_that_cannot_be_had_leaves_nothing(photos, here):
    for options in ({"model": "dino_vits17"}, {"model": "dino_vits16", "weights": here / "none.pth"}):
        with pytest.raises(HeadclustError, match=r"unknown model|none\.pth"):
            run(photos, **options, offline=True)
        assert [path.name for path in here.iterdir()] == ["photos"]


def test_one_image_is_not_enough(here, calls):
    with pytest.raises(DataError, match="one image: expected at least 2"):
        run(draw(here / "one", ["0.png"]), clusters=1)


@pytest.mark.parametrize(("n_images", "clusters"), [(2, 1), (2, 2), (3, 2), (5, 5), (20, 7)])
def test_the_default_groups_a_handful(here, calls, n_images, clusters):
    folder = draw(here / "few", [f"{number}.png" for number in range(n_images)])
    made = run(folder, clusters=clusters, method="default")
    metrics = read_metrics(made.run)
    assert (metrics["n_samples"], metrics["n_clusters"]) == (n_images, clusters)


def test_views_are_for_folders_they_pay_in(photos, here, calls, monkeypatch):
    run(photos)
    assert calls[0] == ("embed", "efficientnet_lite0", 2)
    monkeypatch.setattr(embedding, "MOST_WITH_VIEWS", 19)
    calls.clear()
    run(photos)  # as it was begun
    assert calls == []
    run(photos, output=here / "many")
    assert calls[0] == ("embed", "efficientnet_lite0", 0)
    assert load_features(here / "many" / "features.h5").n_views == 0


def test_work_that_was_begun_goes_on_with_its_own_model_and_views(photos, here, calls, monkeypatch):
    folder = here / "photos-groups"
    staging = folder / "features.h5.partial"
    groups.mark_folder(open_source(str(photos)), folder)
    staging.mkdir()
    (staging / "plan.json").write_text(json.dumps({"backbone": "efficientnet_lite2", "n_views": 1}))
    with pytest.raises(ConflictError, match="was begun with other settings"):
        run(photos)
    assert calls == [("embed", "efficientnet_lite2", 1)]
    with pytest.raises(ConflictError, match="was begun with other settings"):
        run(photos, model="efficientnet_lite1", views=0)
    assert calls[1] == ("embed", "efficientnet_lite1", 0)


def test_the_default_model_is_the_better_of_those_at_hand(monkeypatch):
    for names, expected in (
        ({"efficientnet_lite0", "efficientnet_lite1"}, "lite1"),
        ({"efficientnet_lite0"}, "lite0"),
        (set(), "lite0"),
    ):
        monkeypatch.setattr(embedding, "list_backbones", lambda names=names, **_: [{"name": name} for name in names])
        assert embedding.best_packaged() == f"efficientnet_{expected}"
    assert set(embedding.PREFERRED) <= set(backbones.CATALOG)


def test_somebody_else_at_work_is_not_overwritten(photos, calls, monkeypatch):
    def busy(*_, **options):
        calls.append(options.get("overwrite"))
        raise BusyError("another process")

    monkeypatch.setattr(embedding, "embed_images", busy)
    with pytest.raises(BusyError):
        run(photos, overwrite=True)
    assert calls == [None]


# -- The folder --------------------------------------------------------------------------------------------------------


def test_two_folders_of_one_name_do_not_meet(here, calls):
    first = run(draw(here / "a" / "photos", ["0.png", "1.png", "2.png"]))
    second = run(draw(here / "b" / "photos", ["0.png", "1.png", "2.png"]))
    assert (first.folder.name, second.folder.name) == ("photos-groups", "photos-groups-2")
    assert run(here / "a" / "photos") == first
    assert run(here / "b" / "photos") == second
    with pytest.raises(ConflictError, match=r"holds groups of .*/a/photos: choose another folder with -o"):
        run(here / "b" / "photos", output=first.folder)


def test_the_users_own_things_are_left_alone(photos, here, calls):
    mine = here / "photos-groups"
    mine.mkdir()
    (mine / "mine.txt").write_text("mine")
    assert run(photos).folder.name == "photos-groups-2"
    before = tree(mine)
    for overwrite in (False, True):
        with pytest.raises(ConflictError, match="exists and was not made by headclust run"):
            run(photos, output=mine, overwrite=overwrite)
    (here / "file").write_text("mine")
    with pytest.raises(ConflictError, match="exists and was not made by headclust run"):
        run(photos, output=here / "file")
    assert tree(mine) == before
    (here / "empty").mkdir()
    assert run(photos, output=here / "empty").folder == here / "empty"


@pytest.mark.parametrize("where", ["photos", "photos/groups", "photos/../photos/sub/groups", "link/groups"])
def test_nothing_is_made_among_the_images(photos, here, calls, where):
    (here / "link").symlink_to(photos)
    before = tree(photos)
    with pytest.raises(ConflictError, match=r"would lie in the images' own folder: .* for example -o .*photos-groups"):
        run(photos, output=here / where)
    assert tree(photos) == before


def test_from_within_the_folder(photos, calls, monkeypatch):
    monkeypatch.chdir(photos)
    with pytest.raises(ConflictError, match="name another one with -o"):
        run(".")
    assert run(".", output=photos.parent / "photos-groups").n_samples == 20


@pytest.mark.parametrize(
    "name", ["..x", "<script>alert(1)<", "=1+1", "a\nb", "\x1b[2J", "x" * 255, "é" * 127, "\udce9", "-o"]
)
def test_the_folders_name_can_be_anything(here, calls, name):
    made = run(draw(here / "in" / name, ["0.png", "1.png", "2.png"]))
    assert made.folder.parent.as_posix() == "."
    assert made.folder.name.endswith("-groups")
    assert made.folder.name.isprintable()
    assert run(here / "in" / name) == made


def test_a_mark_that_makes_no_sense_is_none(photos, calls):
    folder = run(photos).folder
    for text in ("", "[]", '{"format": "other"}', "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")):
        (folder / runs.GROUPS_MARK).write_text(text)
        with pytest.raises(ConflictError, match="was not made by headclust run"):
            run(photos, output=folder)


def test_a_place_that_cannot_be_written(photos, here, calls):
    (here / "file").write_text("")
    with pytest.raises(HeadclustError, match="cannot write"):
        run(photos, output=here / "file" / "groups")


def test_the_report_is_the_real_one(photos, monkeypatch, small_backbone):
    monkeypatch.setattr(embedding, "load_backbone", lambda name, **_: dataclasses.replace(small_backbone, name=name))
    monkeypatch.setattr(steps, "report", partial(steps.report, umap=False))  # compiling it takes half a minute
    made = run(photos)
    page = made.report.read_text()
    assert page.startswith("<!")
    assert "data:image/" in page


def test_images_that_come_back_are_embedded_and_fitted_without_being_asked(photos, here, calls, capsys):
    """Links to a disk that is away: the same command finds it there again, and only these images are embedded."""
    draw(here / "disk", [f"{number:02d}.png" for number in range(20, 26)])
    for path in (here / "disk").iterdir():
        (photos / path.name).symlink_to(path)
    (here / "disk").rename(here / "away")
    first = run(photos, views=1)
    assert (first.n_samples, first.n_left_out) == (20, 6)
    assert [(row["reason"], row["kind"]) for row in rows(first.left_out)] == [("no such file", "passing")] * 6
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(
        "WARNING: 6 of 26 images (23.1 %) were left out: 6 x no such file. photos-groups/left-out"
    )
    calls.clear()
    assert run(photos, views=1) == first
    assert calls == []  # nothing has come back
    assert "WARNING: 6 of 26" in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(DataError, match=r"^20\.png: no such file"):
        run(photos, views=1, on_error="fail")
    (here / "away").rename(here / "disk")
    mended = run(photos, views=1, on_error="fail")
    assert [call[0] for call in calls] == ["embed", "fit", "report"]
    assert (mended.n_samples, mended.n_left_out, mended.left_out) == (26, 0, None)
    assert "WARNING" not in capsys.readouterr().err
    whole = run(photos, views=1, output=here / "whole")
    assert mended.features.read_bytes() == whole.features.read_bytes()
    # The groups are those of a fit to all, with the ids of before.
    both = zip(rows(mended.assignments), rows(whole.assignments), strict=True)
    assert len({(now["cluster"], at_once["cluster"]) for now, at_once in both}) == 2


def test_images_that_come_back_do_not_replace_groups_with_other_settings(photos, here, calls):
    (photos / "20.png").symlink_to(here / "later.png")
    run(photos)
    (photos / "00.png").read_bytes()
    Image.new("RGB", (24, 24)).save(here / "later.png")
    with pytest.raises(ConflictError, match="n_clusters: 2 there, 3 here"):
        run(photos, clusters=3)
    assert run(photos).n_samples == 21


def test_images_that_come_back_to_features_of_other_versions(photos, here, calls, capsys, monkeypatch):
    (photos / "20.png").symlink_to(here / "later.png")
    first = run(photos)
    Image.new("RGB", (24, 24)).save(here / "later.png")
    monkeypatch.setattr("headclust.embedding.parts.versions", lambda names: {"torch": "0"})
    assert run(photos) == first
    assert "images that were left out can be read now, but" in capsys.readouterr().err
    assert run(photos, overwrite=True).n_samples == 21
