"""The script benchmarks/table.py, on the tiny study."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from study import presets
from study.results import read_results

from .conftest import TINY, write_place

BENCHMARKS = Path(__file__).resolve().parent.parent


@pytest.fixture
def table(monkeypatch, tmp_path):
    """table(*options) -> exit code, below a root that has features."""
    monkeypatch.setitem(presets.STUDIES, "tiny", TINY)
    import table

    write_place(tmp_path / "root")
    yield lambda *options, root="root": table.main(["--preset", "tiny", "--root", str(tmp_path / root), *options])
    sys.modules.pop("table", None)


def test_one_command_makes_and_shows_the_table(table, tmp_path, capsys):
    assert table() == 0
    shown = capsys.readouterr()
    assert "4 cells made, 0 done before, 0 failed" in shown.err
    assert "kmeans" in shown.out
    assert "temi" in shown.out
    assert table() == 0
    again = capsys.readouterr()
    assert "0 cells made, 4 done before, 0 failed" in again.err
    assert again.out == shown.out
    assert table("--only-render") == 0
    assert capsys.readouterr().out == shown.out


def test_a_dry_run_writes_nothing(table, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert table("--dry-run", "--ablations") == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    told = capsys.readouterr().out
    for name in ("digits/probes", "kmeans/ours/s1", "temi/ours/s0", "TOTAL: 6 of 6 cells to do", "seconds", "minutes"):
        assert name in told
    assert table("--dry-run", root="nothing") == 0
    assert not (tmp_path / "nothing").exists()
    assert "data: digits at hand" in capsys.readouterr().out


def test_every_format_goes_into_a_folder(table, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert table("--methods", "kmeans", "--format", "all", "-o", str(tmp_path / "out")) == 0
    written = {Path(line) for line in capsys.readouterr().out.splitlines()}
    assert written == set((tmp_path / "out").iterdir())
    assert {"table.md", "table.csv", "table.json", "table.tex"} <= {path.name for path in written}
    assert json.loads((tmp_path / "out" / "table.json").read_text())


def test_parts_are_made_apart_and_merged(table, tmp_path, capsys):
    for part in (1, 2, 3):
        write_place(tmp_path / f"part{part}")
        assert table("--shard", f"{part}/3", root=f"part{part}") == 0
    assert capsys.readouterr().out == ""  # a part shows no table
    parts = [str(tmp_path / f"part{part}" / "results.jsonl") for part in (1, 2, 3)]
    assert table("--merge", *parts, root="all") == 0
    shown = capsys.readouterr()
    assert "4 lines added" in shown.err
    assert len(read_results(tmp_path / "all" / "results.jsonl")) == 4
    assert len(list((tmp_path / "all" / "cells").iterdir())) == 3
    table()
    # Seconds differ; what was fitted does not.
    whole = {line["id"]: line for line in read_results(tmp_path / "root" / "results.jsonl")}
    for line in read_results(tmp_path / "all" / "results.jsonl"):
        assert line["scores"] == whole[line["id"]]["scores"]
        assert line["key"] == whole[line["id"]]["key"]


def test_a_failed_cell_is_in_the_exit_code(table, tmp_path, capsys):
    assert table("--datasets", "digits,cifar10", "--data-root", str(tmp_path)) == 1
    assert "4 cells made, 0 done before, 4 failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "k-means"], "unknown method 'k-means'"),
        (["--data", "cifar10"], "--data cifar10: expected NAME=PATH"),
        (["--shard", "3"], "--shard 3: expected I/N"),
        (["--shard", "4/3"], "shard 4/3"),
        (["--format", "html"], "unknown format 'html'"),
        (["--format", "all"], "-o FOLDER"),
        (["--only-render"], "no such file"),
        (["--merge", "nothing.jsonl"], "nothing.jsonl: no such file"),
        (["--seeds", "0"], "0 seeds"),
        (["--max-seconds", "nan"], "a limit of nan seconds"),
        (["--max-seconds", "inf"], "a limit of inf seconds"),
        (["--max-seconds", "-1"], "a limit of -1.0 seconds"),
        (["--data", "cifra10=x"], "unknown data set 'cifra10': did you mean cifar10"),
        (["--merge", "a.jsonl", "--dry-run"], "leave out --shard and --dry-run"),
        (["--merge", "a.jsonl", "--shard", "1/2"], "leave out --shard and --dry-run"),
        (["--format", ""], "no format: expected markdown"),
        (["--dry-run", "--device", "tpu"], "unknown device 'tpu'"),
        (["-o", "/dev/null/x"], "cannot write /dev/null/x"),
    ],
)
def test_what_cannot_be_is_one_line(table, tmp_path, capsys, options, words):
    assert table(*options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("table.py: error: ")
    assert words in line
    assert not (tmp_path / "root" / "results.jsonl").exists()


def test_ctrl_c(table, monkeypatch, capsys):
    from study import runner

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "make", interrupt)
    assert table() == 130
    assert "resumes here" in capsys.readouterr().err


def test_matplotlib_is_looked_for_before_anything_is_fitted(table, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert table("--format", "all", "-o", str(tmp_path / "out")) == 2
    assert "pictures need matplotlib" in capsys.readouterr().err
    assert not (tmp_path / "root" / "results.jsonl").exists()


def test_what_is_named_and_has_no_cell_is_told(table, capsys):
    assert table("--dry-run", "--methods", "clc,kmeans", "--recipes", "ours,authors", "--ablations") == 0
    told = capsys.readouterr()
    assert "recipes authors have no cell" in told.err
    assert "no ablations: they are of temi ours" in told.err
    assert "n_heads=1" not in told.out
    assert table("--preset", "offline", "--dry-run", "--methods", "clc,temi", "--recipes", "authors") == 0
    assert "clc has no cell" in capsys.readouterr().err


def test_a_part_says_that_it_shows_no_table(table, tmp_path, capsys):
    assert table("--shard", "1/1") == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no table is shown for a part" in shown.err
    assert table("--shard", "1/1", "--only-render") == 0
    assert "kmeans" in capsys.readouterr().out
    assert table("--shard", "1/1", "-o", str(tmp_path / "out")) == 0
    assert (tmp_path / "out" / "table.md").is_file()


def test_everything_of_a_preset_is_below_a_folder_of_its_name(table, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write_place(tmp_path / "benchmarks" / "results" / "tiny")
    import table as script

    assert script.main(["--preset", "tiny", "--methods", "kmeans"]) == 0
    assert (tmp_path / "benchmarks" / "results" / "tiny" / "results.jsonl").is_file()


def test_unknown_times_are_no_numbers(table, capsys):
    assert table("--methods", "kmeans") == 0
    capsys.readouterr()
    assert table("--dry-run", "--methods", "ward,kmeans") == 0
    told = capsys.readouterr().out
    (line,) = [line for line in told.splitlines() if "/ward/" in line]
    assert line.split()[1:5] == ["to", "do", "unknown", "-"]
    assert "TOTAL: 1 of 4 cells to do, 0 of them lack data or weights.\nTime: 0 minutes for 0 of them" in told
    assert "unknown for 1, and for embedding 0 feature files" in told


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    command = f"{sys.executable} {BENCHMARKS / 'table.py'} --root {tmp_path} --methods kmeans --dry-run | head -1"
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent), "PYTHONUNBUFFERED": "1"}
    found = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, check=True)
    assert found.stdout.startswith("FEATURES")
    assert found.stderr == ""


def test_own_feature_files(table, tmp_path, capsys):
    files = [
        tmp_path / "root" / "features" / f"digits-{split}" / "efficientnet_lite0.h5" for split in ("train", "test")
    ]
    options = ["--features", f"mine={files[0]},{files[1]}", "--features", f"alone={files[0]}", "--methods", "kmeans"]
    assert table("--dry-run", *options, root="new") == 0
    assert "6 of 6 cells to do" in capsys.readouterr().out
    assert table(*options, "--format", "csv", root="new") == 0
    lines = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    rows = [dict(zip(lines[0], line, strict=False)) for line in lines[1:]]
    sizes = {row["dataset"]: (row["fit_samples"], row["eval_samples"]) for row in rows}
    assert sizes == {"mine": ("80", "40"), "alone": ("80", "80")}
    assert not (tmp_path / "new" / "features").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--features", "mine"], "--features mine: expected NAME=FILE"),
        (["--features", "mine=none.h5"], "none.h5: no such file"),
        (["--features", "digits=FILE"], "digits is a data set of the tables"),
        (["--features", "a=FILE", "--features", "a=FILE"], "--features a is given twice"),
        (["--features", "a=FILE", "--datasets", "digits"], "leave them out"),
    ],
)
def test_own_feature_files_that_are_refused(table, tmp_path, capsys, options, message):
    file = tmp_path / "root" / "features" / "digits-train" / "efficientnet_lite0.h5"
    assert table(*(text.replace("FILE", str(file)) for text in options), "--dry-run") == 2
    assert message in capsys.readouterr().err
