"""Images that came later, in the groups of a run."""

import importlib
import json
import os

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from headclust import backbones, load_features, runs, verbs
from headclust.cli import cli
from headclust.errors import DataError, HeadclustError, SettingError
from headclust.export import find_images
from headclust.runs.added import spaces_of
from headclust.runs.drift import measure_drift
from headclust.runs.fixes import Fix, append_fixes
from verbs.conftest import rows


@pytest.fixture(scope="module")
def small():
    """The packaged weights at 32 pixels: a batch takes a moment."""
    return backbones.load_backbone("efficientnet_lite0", image_size=32, offline=True)


@pytest.fixture
def loaded(monkeypatch, small):
    """The small backbone instead of the one that is named, and the names that were asked for."""
    names = []

    def load(name, **options):
        names.append(name)
        return small

    monkeypatch.setattr("headclust.embedding.alike.load_backbone", load)
    monkeypatch.setattr(importlib.import_module("headclust.verbs.embed"), "load_backbone", load)
    return names


def draw(folder, names, kinds=2):
    """Pictures of noise, light and dark in turns."""
    for number, name in enumerate(names):
        generator = np.random.default_rng([number, len(name), kinds])
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 60, (24, 24, 3)) + 180 * (number % kinds)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


@pytest.fixture
def run(here, loaded):
    """A run of two groups of twenty pictures in `photos`, in a folder of groups as `headclust run` makes it."""
    photos = draw(here / "photos", [f"{number:02d}.png" for number in range(20)])
    groups = here / "groups"
    features = verbs.embed("efficientnet_lite0", str(photos), labels="none", output=groups / "features.h5")
    verbs.fit([features], method="kmeans", clusters=2, output=groups / "run")
    mark = {"format": "headclust-groups", "format_version": 1, "source": str(photos.resolve()), "split": "all"}
    (groups / "headclust.json").write_text(json.dumps(mark))
    return groups


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".headclust" not in path.parts}


def test_a_folder_that_has_grown(run, here, capsys):
    before, base = tree(run), load_features(run / "features.h5")
    stored = base.source()[:].tobytes()
    draw(here / "photos", ["new/20.png", "new/21.png"])
    added = verbs.add(run)
    assert (added.n_new, added.n_added, added.removed, added.changed, added.n_left_out) == (2, 2, (), (), 0)
    features = load_features(run / "features.h5")
    assert features.sample_ids == (*base.sample_ids, "new/20.png", "new/21.png")
    assert features.source()[:20].tobytes() == stored
    # All files of the fit are as they were, and only the table and the feature file are new.
    assert {path for path, content in tree(run).items() if before.get(path) != content} == {
        run / "features.h5",
        run / "run" / "added.csv",
    }
    table = {row["sample_id"]: row for row in rows(added.table)}
    assert {"sample_id", "cluster", "confidence", "novelty"} == set(table["new/20.png"])
    clusters = [int(table[name]["cluster"]) for name in ("new/20.png", "new/21.png")]
    assert added.groups == {cluster: clusters.count(cluster) for cluster in clusters}
    # The model gives the same, asked for these images alone.
    alone = rows(verbs.predict(run, data=str(here / "photos" / "new"), output=here / "alone.csv"))
    assert [int(row["cluster"]) for row in alone] == clusters
    # The run is whole, and everything that reads groups has all of them.
    assert verbs.verify(run) == []
    record = runs.read_record(run)
    groups = runs.read_groups(record)
    assert groups.sample_ids == features.sample_ids
    assert [space.n_samples for space in spaces_of(record)] == [22]
    # The fit can be repeated with the rows that it had.
    again = verbs.fit(config=run, output=here / "again")
    assert (again / "model.safetensors").read_bytes() == (run / "run" / "model.safetensors").read_bytes()
    assert (again / "config.json").read_bytes() == (run / "run" / "config.json").read_bytes()


def test_adding_the_same_again_is_one_line(run, here):
    draw(here / "photos", ["20.png"])
    verbs.add(run)
    before = tree(run)
    result = CliRunner().invoke(cli, ["add", str(run)])
    assert result.exit_code == 0
    assert result.stdout == f"Nothing new: 1 image has been added to {run} since the fit.\n"
    assert tree(run) == before


def test_another_folder_has_its_own_names(run, here, capsys):
    draw(here / "photos" / "trip", ["5.png"])
    verbs.add(run)
    draw(here / "elsewhere" / "trip", ["20.png", "deep/21.png"])
    added = verbs.add(run, str(here / "elsewhere" / "trip"))
    # "trip" is a folder of the source already.
    features = load_features(run / "features.h5")
    assert features.sample_ids[-3:] == ("trip/5.png", "trip-2/20.png", "trip-2/deep/21.png")
    assert (added.n_new, added.n_added) == (2, 3)
    assert verbs.add(run, str(here / "elsewhere" / "trip")).n_new == 0
    # The images are found, each in its own folder.
    attributes = features.attributes
    found = find_images(attributes["source"], attributes["split"], features.sample_ids, attributes)
    assert found.paths[-2:] == tuple(str(here / "elsewhere" / "trip" / name) for name in ("20.png", "deep/21.png"))
    assert found.read(21).size == (24, 24)
    # Without a folder all are looked at; a folder that is away is named, and its images are not missing.
    draw(here / "elsewhere" / "trip", ["22.png"])
    assert verbs.add(run).n_new == 1
    (here / "elsewhere").rename(here / "away")
    capsys.readouterr()
    assert verbs.add(run).removed == ()
    assert "trip-2: its images are not looked at" in capsys.readouterr().err
    # A folder around the source: images of the source keep their names.
    draw(here / "more", ["30.png"])
    assert load_features(run / "features.h5").n_samples == 24


def test_a_part_of_the_source_and_a_folder_around_it(run, here):
    draw(here / "photos", ["a/1.png", "b/2.png"])
    assert verbs.add(run, str(here / "photos" / "b")).n_new == 1
    assert load_features(run / "features.h5").sample_ids[-1] == "b/2.png"
    around = here / "around"
    around.mkdir()
    (around / "inside").symlink_to(here / "photos")
    draw(here / "photos" / "a", ["3.png"])
    assert verbs.add(run).n_new == 2


def test_removed_and_edited_images_are_told_and_stay(run, here, capsys):
    (here / "photos" / "03.png").unlink()
    Image.new("RGB", (30, 30)).save(here / "photos" / "04.png")
    added = verbs.add(run)
    assert (added.removed, added.changed, added.n_new) == (("03.png",), ("04.png",), 0)
    err = capsys.readouterr().err
    assert "edited since they were embedded: 1 image (04.png)" in err
    assert "no longer there: 1 image (03.png), which stay in their groups" in err
    assert len(runs.read_groups(runs.read_record(run)).sample_ids) == 20


def test_fixes_and_hostile_names(run, here):
    name = os.fsdecode(b"line\nend \xe9.png")
    draw(here / "photos", [name])
    verbs.add(run)
    groups = runs.read_groups(runs.read_record(run))
    group = groups.clusters[groups.sample_ids.index(name)]
    append_fixes(run / "run" / "fixes.csv", [Fix("move", group=1 - int(group), image=name)])
    groups = runs.read_groups(runs.read_record(run))
    assert groups.clusters[groups.sample_ids.index(name)] == 1 - group
    assert verbs.add(run).n_new == 0
    result = CliRunner().invoke(cli, ["add", str(run), "--json"])
    assert json.loads(result.stdout)["drift"]["n_added"] == 1


def test_broken_images_are_left_out(run, here):
    (here / "photos" / "torn.png").write_bytes(b"torn")
    draw(here / "photos", ["20.png"])
    added = verbs.add(run)
    assert (added.n_new, added.n_left_out) == (1, 1)
    (here / "photos" / "torn2.png").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"torn2\.png: .*--on-error skip"):
        verbs.add(run, on_error="fail")


def test_other_weights_are_refused(run, here, small, monkeypatch):
    import dataclasses

    other = dataclasses.replace(small, weights_sha256="0" * 64)
    monkeypatch.setattr("headclust.embedding.alike.load_backbone", lambda *_, **__: other)
    draw(here / "photos", ["20.png"])
    before = tree(run)
    with pytest.raises(DataError, match=r"has the weights_sha256 000.*--weights FILE"):
        verbs.add(run)
    assert tree(run) == before


@pytest.mark.parametrize(
    ("options", "error", "found"),
    [
        ({"data": "nowhere"}, HeadclustError, "nowhere"),
        ({"exclude": ["a"]}, SettingError, "split and exclude are about NEW"),
    ],
)
def test_what_cannot_be_added(run, options, error, found):
    before = tree(run)
    with pytest.raises(error, match=found):
        verbs.add(run, **options)
    assert tree(run) == before


def test_imported_features_cannot_grow(write, here, blobs):
    run = verbs.fit([write("a.h5", blobs.features)], method="kmeans", clusters=2, output=here / "run")
    with pytest.raises(SettingError, match="was imported"):
        verbs.add(run)


def test_a_stopped_addition_leaves_a_whole_run(run, here, monkeypatch):
    draw(here / "photos", ["20.png", "21.png"])

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # the features have grown, and the table is not written
        patch.setattr(importlib.import_module("headclust.verbs.add"), "write_assignments", stop)
        with pytest.raises(KeyboardInterrupt):
            verbs.add(run)
    assert verbs.verify(run) == []
    assert len(runs.read_groups(runs.read_record(run)).sample_ids) == 20
    assert spaces_of(runs.read_record(run))[0].n_samples == 20
    added = verbs.add(run)
    assert (added.n_new, added.n_added) == (2, 2)


def test_a_table_of_another_run_is_refused(run, here):
    draw(here / "photos", ["20.png"])
    table = verbs.add(run).table
    table.write_text(table.read_text().replace("20.png,", "00.png,"))
    with pytest.raises(HeadclustError, match=r"added\.csv holds the sample '00\.png', which was fitted"):
        runs.read_groups(runs.read_record(run))


def test_drift():
    fitted = np.repeat([0, 1], 50)
    same = measure_drift(fitted, np.repeat([0, 1], 10), np.full(20, 0.5), 2)
    assert (same.n_unlike, same.shift, same.refit_reason) == (0, 0, "")
    # The expected shift of 20 draws from two even shares: sqrt(2 / pi) * sqrt(0.25 / 20).
    assert same.shift_by_chance == pytest.approx(0.0892, abs=1e-3)
    one_sided = measure_drift(fitted, np.zeros(20, int), np.full(20, 0.5), 2)
    assert (one_sided.shift, one_sided.refit_reason) == (0.5, "")
    unlike = measure_drift(fitted, np.repeat([0, 1], 10), np.repeat([0.5, 0.995], [14, 6]), 2)
    assert unlike.unlike_share == 0.3
    assert "unlike anything fitted" in unlike.refit_reason
    assert measure_drift(fitted, np.repeat([0, 1], 3), np.repeat([0.5, 0.995], [2, 4]), 2).refit_reason == ""  # too few
    assert "as many" in measure_drift(fitted, fitted, None, 2).refit_reason


def test_copies_in_exported_folders(run, here, capsys):
    # The first picture again: at half the size, and as it is under another name in a folder of its own.
    picture = Image.open(here / "photos" / "00.png")
    big = here / "more" / "big.png"
    big.parent.mkdir()
    picture.resize((96, 96)).save(big)
    (here / "more" / "same.png").write_bytes((here / "photos" / "01.png").read_bytes())
    verbs.add(run, str(here / "more"))
    capsys.readouterr()

    def exported(how, **options):
        place = verbs.export(run, to="folders", duplicates=how, output=here / how, **options)
        return {path.relative_to(place).as_posix() for path in place.rglob("*.png")}

    kept, apart, without = exported("keep"), exported("apart"), exported("leave-out")
    assert len(kept) == 22
    # The enlarged picture has the most pixels; of equal files the first by name stays.
    assert {path for path in apart if path.startswith("duplicates/")} == {"duplicates/00.png", "duplicates/same.png"}
    assert len(apart) == 22
    assert {path.rpartition("/")[2] for path in kept} - {path.rpartition("/")[2] for path in without} == {
        "00.png",
        "same.png",
    }
    assert "copies of other images, left out: 2 (" in capsys.readouterr().err
    with pytest.raises(SettingError, match="--duplicates is for --to folders"):
        verbs.export(run, to="csv", duplicates="apart")


def test_a_stopped_move_goes_on_with_the_same_copies(run, here, monkeypatch):
    from headclust.export import folders

    (here / "photos" / "zz.png").write_bytes((here / "photos" / "01.png").read_bytes())
    verbs.add(run)
    put, done = folders.put, []

    def stop_after_three(*arguments):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(put(*arguments))

    options = {"to": "folders", "how": "move", "duplicates": "leave-out", "output": here / "sorted"}
    with monkeypatch.context() as patch:
        patch.setattr(folders, "put", stop_after_three)
        with pytest.raises(KeyboardInterrupt):
            verbs.export(run, **options)
    verbs.export(run, **options)
    assert [path.name for path in (here / "photos").iterdir()] == ["zz.png"]
    assert len(list((here / "sorted").rglob("*.png"))) == 20
