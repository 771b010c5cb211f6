"""The script benchmarks/default.py, on blobs."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from study import contest, time_to_quality
from study.calibration import bins

from .conftest import TINY, write_place

QUICK = ["--only", "kmeans,own-kmeans,pairs.length=0", "--seeds", "2"]


@pytest.fixture
def script(monkeypatch, tmp_path):
    """script(*options) -> exit code, below a root that has features."""
    monkeypatch.setattr(contest, "find_study", lambda name: replace(TINY, name=name))
    monkeypatch.setattr(time_to_quality, "CURVES", (("kmeans", "ours", "n_heads", (1, 2)),))
    import default

    points = bins(np.linspace(0, 1, 40, dtype=np.float32), np.arange(40) % 2 > 0)
    monkeypatch.setattr(default, "calibrate", lambda cell, places, device: points)
    write_place(tmp_path / "root")
    yield lambda *options, root="root": default.main(["--root", str(tmp_path / root), *options])
    for name in ("default", "table"):
        sys.modules.pop(name, None)


def test_one_command_makes_and_shows_the_table(script, tmp_path, capsys):
    assert script(*QUICK) == 0
    shown = capsys.readouterr()
    assert "6 cells made, 0 done before, 0 failed" in shown.err
    assert shown.out.startswith("## ACC")
    assert script(*QUICK) == 0
    again = capsys.readouterr()
    assert "0 cells made, 6 done before, 0 failed" in again.err
    assert again.out == shown.out
    assert script("--only-render") == 0
    assert capsys.readouterr().out == shown.out


def test_fits_of_the_other_script_are_taken_over(script, tmp_path, monkeypatch, capsys):
    from study import presets
    from table import main

    monkeypatch.setitem(presets.STUDIES, "tiny", replace(TINY, rows=(presets.Row("kmeans", "ours", seeds=2),)))
    assert main(["--preset", "tiny", "--root", str(tmp_path / "root"), "--methods", "kmeans"]) == 0
    capsys.readouterr()
    assert script(*QUICK) == 0
    assert "4 cells made, 2 done before, 0 failed" in capsys.readouterr().err


def test_parts_are_made_side_by_side(script, tmp_path, capsys):
    for part in ("1/2", "2/2"):
        assert script(*QUICK, "--shard", part) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("no table is shown for a part") == 2
    assert script(*QUICK) == 0
    assert "0 cells made, 6 done before" in capsys.readouterr().err


def test_a_folder_gets_markdown_json_and_pictures(script, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for options in (QUICK, ["--curve", "--datasets", "digits"], ["--calibration"]):
        assert script(*options, "-o", str(tmp_path / "out")) == 0
    written = {Path(line).name for line in capsys.readouterr().out.splitlines()}
    assert written == {path.name for path in (tmp_path / "out").iterdir()}
    curve = "curve-digits-efficientnet_lite0"
    names = {f"{stem}.{suffix}" for stem in ("calibration", curve) for suffix in ("md", "json", "svg")}
    assert written == names | {"default.md", "default.json"}
    assert len(json.loads((tmp_path / "out" / "default.json").read_text())["rows"]) == 3
    assert len(json.loads((tmp_path / "out" / f"{curve}.json").read_text())) == 2
    errors = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert errors["digits"]["expected_calibration_error"] > 0


def test_a_dry_run_writes_nothing(script, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for options in ([], ["--curve", "--datasets", "digits"], ["--calibration"]):
        assert script("--dry-run", "-o", str(tmp_path / "out"), *options) == 0
        assert "cells to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_failed_cell_is_in_the_exit_code(script, tmp_path, capsys):
    assert script("--only", "kmeans", "--datasets", "digits,cifar10", "--data-root", str(tmp_path)) == 1
    assert "5 cells made, 0 done before, 5 failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--only", "k-means"], "unknown entrant 'k-means'"),
        (["--datasets", "digit"], "unknown data set 'digit'"),
        (["--data", "cifar10"], "--data cifar10: expected NAME=PATH"),
        (["--shard", "4/3"], "shard 4/3"),
        (["--seeds", "0"], "0 seeds"),
        (["--only-render"], "no such file"),
        (["--curve", "--shard", "1/2"], "--shard is for the table"),
        (["--calibration", "--only", "kmeans"], "--only is for the table"),
        (["--curve", "--datasets", "digits,cifar10"], "name one data set"),
        (["--curve", "--data-root", "nothing"], "cifar10: there is no nothing/cifar10"),
        (["--calibration", "--backbones", "efficientnet_lite0,efficientnet_lite1"], "name one"),
        (["--dry-run", "--device", "tpu"], "unknown device 'tpu'"),
        (["-o", "/dev/null/x"], "cannot write /dev/null/x"),
    ],
)
def test_what_cannot_be_is_one_line(script, tmp_path, capsys, options, words):
    assert script(*options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("default.py: error: ")
    assert words in line
    assert not (tmp_path / "root" / "results.jsonl").exists()


def test_ctrl_c(script, monkeypatch, capsys):
    from study import runner

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "make", interrupt)
    assert script() == 130
    assert "resumes here" in capsys.readouterr().err


def test_matplotlib_is_looked_for_before_anything_is_fitted(script, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert script("--calibration", "-o", str(tmp_path / "out")) == 2
    assert "pictures need matplotlib" in capsys.readouterr().err
