"""Outputs that are links, or lie in odd places: the link stays, and nothing is left beside it."""

import numpy as np
import pytest
from conftest import as_version_3

from headclust import load_features, runs, verbs, write_features
from headclust.disk import write_atomically
from headclust.errors import ConflictError, HeadclustError
from runs.test_folder import OTHER, contents, names, write


def test_a_run_is_replaced_where_a_link_leads(tmp_path):
    # .LINK.PID.old once stayed, the link became a folder, and the run that it led to was not replaced.
    disk, home = tmp_path / "disk", tmp_path / "home"
    home.mkdir()
    write(disk / "run")
    (home / "link").symlink_to(disk / "run")
    assert write(home / "link", metrics=OTHER, overwrite=True) == home / "link"
    assert (names(home), names(disk)) == (["link"], ["run"])
    assert (home / "link").is_symlink()
    assert runs.read_run(disk / "run").metrics == OTHER
    assert verbs.verify(home / "link") == []


def test_a_link_in_the_path_of_a_run(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    write(tmp_path / "link" / "run")
    write(tmp_path / "link" / "run", metrics=OTHER, overwrite=True)
    assert names(tmp_path) == ["disk", "link"]
    assert names(tmp_path / "disk") == ["run"]


@pytest.mark.parametrize("target", ["missing", "missing/deeper", "link"])
def test_a_link_to_nothing_is_refused(tmp_path, target):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / target)
    with pytest.raises(ConflictError, match=r"is a link to .*, which does not exist"):
        write(link, overwrite=True)
    with pytest.raises(ConflictError, match=r"is a link to .*, which does not exist"):
        write_atomically(link, b"x")
    assert names(tmp_path) == ["link"]


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    run = write(tmp_path / "run")
    before = contents(run)
    monkeypatch.chdir(run)
    for place in (run, run / ".." / "run"):
        with pytest.raises(ConflictError, match="is the current folder: change to another one first"):
            write(place, metrics=OTHER, overwrite=True)
    assert contents(run) == before


def test_a_file_is_replaced_where_a_link_leads(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["file", "link"]


def test_a_feature_file_is_replaced_where_a_link_leads(tmp_path):
    # embed -o and import -o once put a file in the place of the link, also of one to a disk that was not mounted.
    more = {"dataset": "d", "backbone": "b"}
    write_features(tmp_path / "f.h5", np.eye(3, dtype=np.float32), sample_ids="abc", **more)
    (tmp_path / "link").symlink_to("f.h5")
    new = np.ones((2, 4), np.float32)
    write_features(tmp_path / "link", new, sample_ids="ab", overwrite=True, **more)
    assert load_features(tmp_path / "f.h5").all().shape == new.shape
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "f.h5").unlink()
    with pytest.raises(ConflictError, match=r"is a link to f\.h5, which does not exist"):
        write_features(tmp_path / "link", new, sample_ids="ab", overwrite=True, **more)
    assert names(tmp_path) == ["link"]


def test_no_output_replaces_a_file_of_a_run(tmp_path):
    run, link = write(tmp_path / "run"), tmp_path / "link"
    link.symlink_to(run / "metrics.json")
    for place in (link, run / "checksums.sha256", run / "predicted" / ".." / "assignments.csv"):
        with pytest.raises(ConflictError, match="of a run, which would be lost"):
            runs.check_not_of_run(place)
    runs.check_not_of_run(tmp_path / "assignments.csv")


@pytest.mark.parametrize("to", ["csv", "folders", "coco"])
def test_an_export_through_a_link_to_nothing_is_refused(tmp_path, to):
    link = tmp_path / "link"
    link.symlink_to("missing")
    with pytest.raises(ConflictError, match="is a link to missing, which does not exist"):
        verbs.export(write(tmp_path / "run"), to=to, output=link)
    assert names(tmp_path) == ["link", "run"]


def test_the_users_changes_to_a_run_are_named(tmp_path):
    for name, step in (
        ("assignments.csv", "a spreadsheet program changes it"),
        ("config.json", "edit a copy outside the run folder"),
        ("metrics.json", "restore it from a copy, or fit again"),
        ("history.jsonl", "restore it from a copy"),
        ("seen.safetensors", "restore it from a copy"),
        ("model.safetensors", "restore it from a copy"),
    ):
        run = write(tmp_path / name)
        (run / name).write_bytes((run / name).read_bytes() + b"\n")
        (problem,) = verbs.verify(run)
        assert f"{name} has changed since the fit" in problem
        assert step in problem
        (run / name).unlink()
        assert any(f"{name} is missing" in problem or "not a run folder" in problem for problem in verify(run))


def verify(run):
    try:
        return verbs.verify(run)
    except HeadclustError as error:
        return [str(error)]


def test_files_of_the_user_are_not_part_of_a_run(tmp_path):
    run = write(tmp_path / "run")
    for name in ("report.html", "notes.txt", ".DS_Store"):
        (run / name).write_text("mine")
    assert verbs.verify(run) == []


def test_checksums_that_are_damaged_or_gone(tmp_path):
    run = write(tmp_path / "run")
    file = run / "checksums.sha256"
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], b"\xef\xbb\xbf" + whole, whole.replace(b"\n", b"\r\n"), whole + whole, b"\xff"):
        file.write_bytes(damaged)
        (problem,) = verbs.verify(run)
        assert "checksums.sha256 is damaged" in problem
    file.unlink()
    (problem,) = verbs.verify(run)
    assert "checksums.sha256 is missing" in problem


def test_a_run_of_an_older_version(tmp_path, capsys):
    run = as_version_3(write(tmp_path / "run"))
    assert verbs.verify(run) == []
    assert "without checksums" in capsys.readouterr().err
    (run / "history.jsonl").write_text('{"step": 1}\n{"step": NaN}\n')
    (problem,) = verbs.verify(run)
    assert "history.jsonl cannot be read (NaN is not a finite number)" in problem


@pytest.mark.parametrize("version", [5, 99, 10**30])
def test_a_newer_version(tmp_path, version):
    file = write(tmp_path / "run") / "config.json"
    file.write_text(file.read_text().replace('"format_version": 4', f'"format_version": {version}'))
    with pytest.raises(HeadclustError, match=r"made by a newer version of headclust .*: upgrade headclust"):
        runs.read_run(tmp_path / "run")
