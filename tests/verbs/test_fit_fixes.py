"""Fits that keep the groups, the ids and the fixes of an earlier run."""

import sys

import numpy as np
import pytest
from conftest import make_blobs

from headclust import runs, verbs
from headclust.errors import ConflictError, DataError, SettingError
from headclust.runs.fixes import FIXES, Fix, append_fixes, read_fixes, write_fixes
from headclust.runs.groups import read_groups
from verbs.conftest import read_config, read_metrics

IDS = [f"image-{row}.png" for row in range(120)]


def assigned(run):
    return runs.read_assigned(runs.read_record(run))


@pytest.fixture
def hard_file(write):
    blobs = make_blobs(120, distance=1.0)
    return write("hard.h5", blobs.features, blobs.labels)


@pytest.fixture
def base(fit, hard_file):
    return fit(hard_file, method="consensus", clusters=4, output="base")


def test_fixes_are_kept_by_every_later_fit(fit, base):
    groups = assigned(base).clusters
    moved = int(groups[0] + 1) % 4
    fixes = [
        Fix("move", image=IDS[0], group=moved),
        Fix("move", image=IDS[1], group=4),
        Fix("together", image=IDS[2], other=IDS[3]),
        Fix("apart", image=IDS[4], other=IDS[5]),
        Fix("rename", group=4, name="New"),
    ]
    append_fixes(base / FIXES, fixes)
    runs_ = [base]
    for output in ("second", "third"):
        runs_.append(verbs.fit(config=base, fixes=runs_[-1], output=base.with_name(output)))
        after = assigned(runs_[-1])
        assert after.clusters[:2].tolist() == [moved, 4]
        assert after.confidence[:2].tolist() == [1, 1]
        assert after.clusters[2] == after.clusters[3]
        assert after.clusters[4] != after.clusters[5]
        assert (after.clusters[6:] == groups[6:]).mean() > 0.5  # the new group finds others like its image
        assert read_metrics(runs_[-1])["n_clusters"] == runs.read_run(runs_[-1]).model.n_clusters == 5
        assert runs.verify_run(runs_[-1]) == []
        assert read_groups(runs.read_record(runs_[-1])).label(4) == "New"
    assert (runs_[1] / FIXES).read_bytes() == (runs_[2] / FIXES).read_bytes()
    assert read_config(runs_[1])["fixes"] == str((base / FIXES).resolve())
    assert read_fixes(base / FIXES) == tuple(fixes)


def test_without_new_fixes_nothing_changes(base):
    write_fixes(base / FIXES, [])
    second = verbs.fit(config=base, fixes=base, output=base.with_name("second"))
    assert (second / "assignments.csv").read_bytes() == (base / "assignments.csv").read_bytes()
    append_fixes(second / FIXES, [Fix("move", image=IDS[0], group=int(assigned(base).clusters[0] + 1) % 4)])
    assert read_config(second)["settings"] == read_config(base)["settings"]
    third, fourth = (
        verbs.fit(config=base, fixes=base.with_name(before), output=base.with_name(output))
        for before, output in (("second", "third"), ("third", "fourth"))
    )
    assert (third / "assignments.csv").read_bytes() == (fourth / "assignments.csv").read_bytes()
    assert (third / "assignments.csv").read_bytes() != (second / "assignments.csv").read_bytes()


def test_groups_of_another_method_are_learned(fit, hard_file):
    run = fit(hard_file, method="kmeans", clusters=4, output="kmeans")
    groups = assigned(run).clusters
    append_fixes(run / FIXES, [Fix("move", image=IDS[0], group=int(groups[0] + 1) % 4)])
    after = assigned(verbs.fit(fixes=run, output=run.with_name("fixed"))).clusters
    assert after[0] == (groups[0] + 1) % 4
    assert (after == groups).mean() > 0.8


def test_a_merged_group_has_no_images_and_its_id_is_not_used_again(base):
    append_fixes(base / FIXES, [Fix("merge", group=3, other=1)])
    merged = verbs.fit(config=base, fixes=base, output=base.with_name("merged"))
    assert set(assigned(merged).clusters.tolist()) == {0, 1, 2}
    assert (read_metrics(merged)["n_clusters"], read_config(merged)["settings"]["n_clusters"]) == (4, 3)
    append_fixes(merged / FIXES, [Fix("split", group=1)])
    split = verbs.fit(config=base, fixes=merged, output=base.with_name("split"))
    assert set(assigned(split).clusters.tolist()) == {0, 1, 2, 4}
    # The model gives new images the same ids.
    model = runs.read_run(split).model
    assert model.n_clusters == 5
    assert model.outputs[3] == ()


def test_like_keeps_the_ids_of_another_run(fit, base, hard_file):
    before = assigned(base).clusters
    other = fit(hard_file, method="kmeans", clusters=4, seed=3, like=base, output="other")
    after = assigned(other)
    assert (after.clusters == before).mean() > 0.8
    plain = assigned(fit(hard_file, method="kmeans", clusters=4, seed=3, output="plain"))
    new_id = {int(old): int(new) for old, new in zip(plain.clusters, after.clusters, strict=True)}
    assert [new_id[int(cluster)] for cluster in plain.clusters] == after.clusters.tolist()
    assert plain.confidence.tolist() == after.confidence.tolist()
    assert runs.verify_run(other) == []
    scores = [{**read_metrics(run), "seconds": 0} for run in (other, other.with_name("plain"))]
    assert scores[0] == scores[1]
    assert read_config(other)["like"] == str(base.resolve())


def test_a_run_is_replaced_with_its_own_fixes_only(base, hard_file):
    append_fixes(base / FIXES, [Fix("move", image=IDS[0], group=0)])
    with pytest.raises(ConflictError, match=r"fixes\.csv holds fixes, which would be lost: keep them with --fixes"):
        verbs.fit(config=base, output=base, overwrite=True)
    verbs.fit(config=base, fixes=base / FIXES, output=base, overwrite=True)
    assert read_fixes(base / FIXES) == (Fix("move", image=IDS[0], group=0),)


def test_fixes_that_are_added_during_a_fit_are_kept(base, monkeypatch):
    append_fixes(base / FIXES, [Fix("move", image=IDS[0], group=0)])
    module = sys.modules["headclust.verbs.fit"]
    real = module.fit_and_score

    def slow(*arguments, **options):
        append_fixes(base / FIXES, [Fix("rename", group=2, name="Later")])
        return real(*arguments, **options)

    monkeypatch.setattr(module, "fit_and_score", slow)
    verbs.fit(config=base, fixes=base, output=base, overwrite=True)
    assert read_fixes(base / FIXES)[-1] == Fix("rename", group=2, name="Later")


def test_a_grown_folder_keeps_groups_and_fixes(fit, base, write):
    blobs = make_blobs(120, distance=1.0)
    more = make_blobs(40, distance=1.0, seed=5)
    rows = np.concatenate((more.features, blobs.features[2:]))
    grown = write("grown.h5", rows, sample_ids=[*(f"new-{row}" for row in range(40)), *IDS[2:]])
    append_fixes(base / FIXES, [Fix("move", image=IDS[0], group=0), Fix("move", image=IDS[9], group=0)])
    run = verbs.fit([grown], config=base, fixes=base, output=base.with_name("grown"))
    before, after = assigned(base), assigned(run)
    assert (after.clusters[40:] == before.clusters[2:]).mean() > 0.8
    assert after.clusters[47] == 0
    assert read_fixes(run / FIXES) == (Fix("move", image=IDS[9], group=0),)


@pytest.mark.parametrize(
    ("fixes", "options", "error", "message"),
    [
        ([Fix("move", image="x", group=0)], {}, DataError, r"fixes\.csv, line 2 \(move x to group 0\): no image 'x'"),
        ([Fix("right", group=7)], {}, DataError, "no group 7 in the run: it has 0 to 3"),
        ([Fix("split", group=1)], {"clusters": 4}, SettingError, "4 clusters, and 5 groups after the fixes"),
        ([], {"heads": 4, "seed": 1}, SettingError, "n_heads: with --fixes the heads of .*base go on as they are"),
        ([Fix("split", group=1)], {"method": "kmeans"}, SettingError, "kmeans keeps no fixes: use the default method"),
    ],
)
def test_fixes_that_cannot_be_used_write_nothing(base, here, fixes, options, error, message):
    write_fixes(base / FIXES, fixes)
    with pytest.raises(error, match=message):
        verbs.fit(fixes=base, output=here / "next", **options)
    assert not (here / "next").exists()


def test_fixes_outside_a_run_need_the_run(base, here):
    append_fixes(here / "mine.csv", [Fix("move", image=IDS[0], group=0)])
    with pytest.raises(
        DataError, match=r"mine\.csv lies in no run folder: name the run whose groups it fixes with --like"
    ):
        verbs.fit(fixes=here / "mine.csv")
    run = verbs.fit(config=base, fixes=here / "mine.csv", like=base, output=here / "next")
    assert assigned(run).clusters[0] == 0


def test_a_fit_without_fixes_is_as_before(base):
    assert set(read_config(base)) == {
        *("format", "format_version", "method", "preset", "seed", "settings", "features", "versions", "device"),
        "threads",
    }
    assert not (base / FIXES).exists()
    assert "clusters" not in runs.read_run(base).model.tensors()
