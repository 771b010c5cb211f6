import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import as_version_3
from safetensors.torch import save_file

from headclust import Features, runs
from headclust.errors import ConflictError, DataError, FileFormatError, HeadclustError
from headclust.model import ClusterModel, FeatureTransform
from headclust.model.heads import CentroidHeads
from headclust.runs import checksums, folder
from headclust.runs.novelty import keep

FILES = {*checksums.FILES, "checksums.sha256"}
CONFIG = {
    "method": "kmeans",
    "preset": "ours",
    "seed": 3,
    "settings": {"n_clusters": 2},
    "features": [{"path": "/somewhere/x.h5", "sha256": "00", "feature_dim": 4, "n_samples": 3}],
}
METRICS = {
    "n_samples": 3,
    "n_clusters": 2,
    "clusters_used": 2,
    "largest_share": 2 / 3,
    "entropy": 0.5,
    "agreement": None,
}
OTHER = {**METRICS, "entropy": 1}


def some_model():
    heads = CentroidHeads(centroids=torch.arange(8.0).reshape(1, 2, 4), scale=torch.ones(1))
    return ClusterModel((FeatureTransform(l2=True),), heads, (0,), 1.0)


def some_samples():
    return keep([Features.from_array(np.eye(3, 4, dtype=np.float32))], 0)


def write(path, *, overwrite=False, metrics=METRICS, ids=("a", "b", "c"), seen=True):
    return runs.write_run(
        path,
        config=CONFIG,
        metrics=metrics,
        model=some_model(),
        history=[{"step": 1}, {"step": 2}],
        assignments=(ids, np.arange(len(ids)) % 2, np.linspace(0.5, 1, len(ids), dtype=np.float32)),
        seen=some_samples() if seen else None,
        levels=runs.Levels((runs.Join(0, 1, 0.5),)),
        overwrite=overwrite,
    )


def contents(path: Path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def names(path: Path):
    return sorted(file.name for file in path.iterdir())


def test_what_is_written_is_read(tmp_path):
    path = write(tmp_path / "deeper" / "run")
    assert set(names(path)) == FILES
    run = runs.read_run(path)
    assert run.config == {"format": "headclust-run", "format_version": 4, **CONFIG}
    assert run.metrics == METRICS
    features = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(run.model.probs(features), some_model().probs(features))
    assert (path / "assignments.csv").read_text() == (
        "sample_id,cluster,confidence\na,0,0.500000\nb,1,0.750000\nc,0,1.000000\n"
    )
    assert [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()] == [
        {"step": 1},
        {"step": 2},
    ]
    assert all(torch.equal(*pair) for pair in zip(runs.read_seen(run).rows, some_samples().rows, strict=True))
    assert names(tmp_path / "deeper") == ["run"]
    assert runs.read_config(path) == runs.read_config(path / "config.json") == run.config


def test_the_same_run_twice_is_the_same_bytes(tmp_path):
    assert contents(write(tmp_path / "one")) == contents(write(tmp_path / "two"))


def test_an_existing_run_needs_overwrite(tmp_path):
    before = contents(write(tmp_path / "run"))
    with pytest.raises(
        ConflictError, match="holds a run: choose another place with -o, or replace it with --overwrite"
    ):
        write(tmp_path / "run", metrics=OTHER)
    assert contents(tmp_path / "run") == before
    write(tmp_path / "run", metrics=OTHER, overwrite=True)
    assert runs.read_run(tmp_path / "run").metrics == OTHER
    assert names(tmp_path) == ["run"]


def test_overwriting_leaves_nothing_of_the_old_run(tmp_path):
    path = write(tmp_path / "run")
    (path / "predicted").mkdir()
    for name in ("predicted/x.csv", "report.html", "names.json", ".headclust-0f.tmp", ".DS_Store"):
        (path / name).write_text("old")
    write(path, overwrite=True)
    assert set(names(path)) == FILES


@pytest.mark.parametrize("name", ["names.csv", ".notes", "x.tmp", "report.html.bak", "\x1b[2J", "folder/"])
def test_overwriting_deletes_nothing_of_the_users(tmp_path, name):
    # A names.csv for export once went with the run it was kept in.
    path = write(tmp_path / "run")
    before = contents(path)
    (path / name).mkdir() if name.endswith("/") else (path / name).write_text("precious")
    with pytest.raises(ConflictError, match=r"also holds .*: move it elsewhere first, or choose another") as caught:
        write(path, metrics=OTHER, overwrite=True)
    assert name.strip("/").replace("\x1b", "\\x1b") in str(caught.value)
    assert str(caught.value).isprintable()
    assert names(path) == sorted([*FILES, name.rstrip("/")])
    assert {file: (path / file).read_bytes() for file in FILES} == before
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["folder", "empty", "file", "other json"])
def test_only_runs_are_ever_replaced(tmp_path, kind, overwrite):
    path = tmp_path / "mine"
    if kind == "file":
        path.write_text("precious")
    else:
        path.mkdir()
        if kind == "folder":
            (path / "precious.txt").write_text("precious")
        if kind == "other json":
            (path / "config.json").write_text('{"format": "someone else\'s"}')
    with pytest.raises(ConflictError, match="exists and is not a run folder"):
        write(path, overwrite=overwrite)
    assert names(tmp_path) == ["mine"]
    assert path.is_file() or len(names(path)) == (kind != "empty")


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only(*_, **__):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def interrupted(*_, **__):
    raise KeyboardInterrupt


STEPS = [
    *(f"headclust.runs.folder.{name}" for name in ("write_atomically", "write_assignments", "sync_folder")),
    *("headclust.runs.folder._move_into_place", "headclust.runs.folder.os.fsync", "safetensors.torch.save"),
    "headclust.runs.folder.checksum_lines",
]
FAILURES = [
    (full_disk, HeadclustError, "No space left on device: free some space"),
    (read_only, HeadclustError, "Read-only file system: choose another place"),
    (interrupted, KeyboardInterrupt, None),
]


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("failure", "error", "message"), FAILURES, ids=lambda value: getattr(value, "__name__", ""))
def test_written_whole_or_not_at_all(tmp_path, monkeypatch, existing, step, failure, error, message):
    path = tmp_path / "run"
    before = contents(write(path)) if existing else None
    monkeypatch.setattr(step, failure)
    with pytest.raises(error, match=message):
        write(path, metrics=OTHER, overwrite=existing)
    assert names(tmp_path) == (["run"] if existing else [])
    if existing:
        assert contents(path) == before


def test_the_last_file_fails(tmp_path, monkeypatch):
    write_atomically, seen = folder.write_atomically, []

    def third(path, content):
        seen.append(path.name)
        return full_disk() if len(seen) == 3 else write_atomically(path, content)

    monkeypatch.setattr(folder, "write_atomically", third)
    with pytest.raises(HeadclustError, match="No space left"):
        write(tmp_path / "run")
    assert names(tmp_path) == []


@pytest.mark.parametrize(("failure", "error", "message"), FAILURES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_failed_replacement_puts_the_old_run_back(tmp_path, monkeypatch, failure, error, message):
    # Ctrl-C between the two moves once left the old run under a hidden name.
    before = contents(write(tmp_path / "run"))
    rename, seen = Path.rename, []

    def second(path, target):
        seen.append(path.name)
        return failure() if len(seen) == 2 else rename(path, target)

    monkeypatch.setattr(Path, "rename", second)
    with pytest.raises(error, match=message):
        write(tmp_path / "run", metrics=OTHER, overwrite=True)
    assert names(tmp_path) == ["run"]
    assert contents(tmp_path / "run") == before


def test_someone_else_is_faster(tmp_path, monkeypatch):
    move = folder._move_into_place

    def late(staging, path, *, overwrite):
        path.mkdir()
        (path / "precious.txt").write_text("theirs")
        move(staging, path, overwrite=overwrite)

    monkeypatch.setattr(folder, "_move_into_place", late)
    with pytest.raises(ConflictError, match="was created by another process meanwhile"):
        write(tmp_path / "run")
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["precious.txt"]


def test_the_parent_is_a_file(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(HeadclustError, match=r"File exists|Not a directory"):
        write(tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "precious"


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from runs import test_folder
from pathlib import Path
from headclust import Features
from headclust.runs import checksums, folder
folder.write_assignments = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
test_folder.write(Path(sys.argv[1]))
"""


def test_a_killed_writer_leaves_no_run(tmp_path):
    path = tmp_path / "run"
    killed = subprocess.run([sys.executable, "-c", KILLED, path, Path(__file__).parent.parent], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    # What it left does not stand in the way, not even of a process with its number.
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".run.")
    left.rename(tmp_path / f".run.{os.getpid()}.partial")
    write(path)
    assert names(tmp_path) == ["run"]


def test_what_is_no_run(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    for name, found in (("none", "no such folder"), ("folder", "not a run folder"), ("file", "not a run folder")):
        with pytest.raises(DataError, match=f"{name}: {found}: expected one that headclust fit made"):
            runs.read_run(tmp_path / name)
        assert not runs.is_run(tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        runs.read_config(tmp_path / "folder")


def test_the_folder_of_groups_stands_for_the_run_in_it(tmp_path):
    inner = write(tmp_path / "photos-groups" / "run")
    with pytest.raises(DataError, match="photos-groups: not a run folder"):
        runs.read_run(tmp_path / "photos-groups")
    (tmp_path / "photos-groups" / runs.GROUPS_MARK).write_text("{}")
    assert runs.read_run(tmp_path / "photos-groups").path == inner
    assert runs.read_config(tmp_path / "photos-groups")["seed"] == 3
    outer = write(tmp_path / "outer")
    write(outer / "run")
    (outer / runs.GROUPS_MARK).write_text("{}")
    assert runs.read_run(outer).path == outer  # a run is itself, whatever lies in it


def test_a_run_may_keep_no_samples(tmp_path):
    path = write(tmp_path / "run", seen=False)
    assert set(names(path)) == FILES - {"seen.safetensors"}
    assert runs.read_seen(runs.read_run(path)) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-9]),
        lambda file: file.write_bytes(b"x" * 100),
        lambda file: save_file({**some_samples().tensors(), "numbers": torch.arange(1, 4)}, file),
        lambda file: save_file({**some_samples().tensors(), "spaces.0.rows": torch.zeros(3, 5)}, file),
        lambda file: save_file({"numbers": torch.arange(3)}, file),
        lambda file: (file.unlink(), file.mkdir()),
    ],
)
def test_kept_samples_that_are_none(tmp_path, damage):
    run = runs.read_run(as_version_3(write(tmp_path / "run")))
    damage(run.path / "seen.safetensors")
    with pytest.raises(FileFormatError, match=r"seen\.safetensors (cannot be read|is missing)") as caught:
        runs.read_seen(run)
    assert len(str(caught.value).splitlines()) == 1


METRICS_DAMAGE = [
    *[(name, lambda metrics, name=name: metrics.pop(name)) for name in METRICS if name != "agreement"],
    ("largest_share", lambda metrics: metrics.update(largest_share=None)),
    ("entropy", lambda metrics: metrics.update(entropy="\x1b[2J" * 99)),
    ("n_clusters", lambda metrics: metrics.update(n_clusters=0)),
    ("clusters_used", lambda metrics: metrics.update(clusters_used=True)),
    ("agreement", lambda metrics: metrics.update(agreement="all")),
    ("accuracy", lambda metrics: metrics.update(accuracy=None)),
    ("n_samples", lambda metrics: metrics.clear()),
]


@pytest.mark.parametrize(("name", "damage"), METRICS_DAMAGE)
def test_metrics_that_are_none(tmp_path, name, damage):
    # The report once ended in a KeyError, or a TypeError.
    path, metrics = as_version_3(write(tmp_path / "run")), dict(METRICS)
    damage(metrics)
    (path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(FileFormatError, match=rf"metrics\.json: its {name} is .*: restore it") as caught:
        runs.read_run(path)
    assert str(caught.value).isprintable()


def without(path, name):
    config = json.loads(path.read_text())
    del config[name]
    path.write_text(json.dumps(config))


def changed(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "metrics.json").unlink(),
        lambda run: (run / "metrics.json").write_text("[1]"),
        lambda run: (run / "metrics.json").write_text('{"a": '),
        lambda run: (run / "model.safetensors").unlink(),
        lambda run: (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-9]),
        lambda run: (run / "model.safetensors").write_bytes(b"x" * 100),
        lambda run: changed(run / "config.json", format_version=1),
        lambda run: changed(run / "config.json", features=[{"path": None, "sha256": "0"}]),
        lambda run: changed(run / "config.json", features=["x"]),
        lambda run: changed(
            run / "config.json", features=2 * json.loads((run / "config.json").read_text())["features"]
        ),
        *[lambda run, name=name: without(run / "config.json", name) for name in ("features", "settings", "preset")],
    ],
)
def test_a_damaged_run_is_told_in_one_line(tmp_path, damage):
    path = as_version_3(write(tmp_path / "run"))
    damage(path)
    with pytest.raises(FileFormatError) as caught:
        _ = runs.read_run(path).model
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["method", "preset", "seed", "settings", "features", "format_version"])
def test_a_config_without_what_it_takes(tmp_path, name):
    # Once a KeyError.
    path = as_version_3(write(tmp_path / "run")) / "config.json"
    without(path, name)
    with pytest.raises(FileFormatError, match=name.replace("_", "[_ ]")):
        runs.read_config(path)


@pytest.mark.parametrize("content", ["", "[]", "nonsense", '{"format": "other"}', "\udce9"])
def test_a_config_that_is_none(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(HeadclustError) as caught:
        runs.read_config(path)
    assert len(str(caught.value).splitlines()) == 1


def test_unique_path(tmp_path):
    assert runs.unique_path(tmp_path / "run") == tmp_path / "run"
    for expected in ("run", "run-2", "run-3"):
        assert runs.unique_path(tmp_path / "run").name == expected
        (tmp_path / expected).mkdir()
