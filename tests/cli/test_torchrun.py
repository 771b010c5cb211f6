"""The command line under torchrun: two processes of one fit (gloo, CPU), and what happens when one ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import short

from headclust import group, verbs
from headclust.errors import SettingError
from headclust.group import ALONE, Group
from headclust.torchrun import launched

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "headclust"]
SETTINGS = {**short("wmi"), "n_heads": 4, "hidden_dim": 16, "bottleneck_dim": 16, "n_neighbors": 5}


def start(folder, *arguments):
    with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
        return subprocess.Popen([*TORCHRUN, *map(str, arguments)], cwd=folder, stdout=stdout, stderr=stderr)


def lines(folder):
    """Lines on stderr that are not torchrun's own, which come after those of headclust."""
    text = (folder / "stderr").read_text()
    return [line for line in text.partition("Traceback")[0].splitlines() if "torch/distributed" not in line]


@pytest.mark.slow
def test_two_processes_write_the_files_of_one(blob_file, tmp_path):
    options = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    process = start(tmp_path, "fit", blob_file, "--method", "wmi", *options, "-o", "two")
    alone = verbs.fit([blob_file], method="wmi", changes=SETTINGS, output=tmp_path / "one")
    assert process.wait(120) == 0, (tmp_path / "stderr").read_text()
    assert lines(tmp_path) == ["4 heads over 2 processes."]
    assert (tmp_path / "stdout").read_text().count("Run folder: two") == 1
    for name in ("model.safetensors", "assignments.csv", "history.jsonl", "seen.safetensors"):
        assert (tmp_path / "two" / name).read_bytes() == (alone / name).read_bytes(), name
    configs = [json.loads((run / "config.json").read_text()) for run in (alone, tmp_path / "two")]
    assert configs[1] == {**configs[0], "processes": 2}


@pytest.mark.slow
def test_a_killed_process_ends_all_with_one_line_and_nothing_written(blob_file, tmp_path):
    options = ["--method", "temi", "--set", "length=1000000", "--clusters", "4"]
    process = start(tmp_path, "fit", blob_file, *options, "-o", "run")
    while "processes." not in (tmp_path / "stderr").read_text():
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
    os.kill(rank_of(process.pid, 1), signal.SIGKILL)
    assert process.wait(60) != 0
    first, *more = lines(tmp_path)
    assert first == "16 heads over 2 processes."
    assert len(more) == 1
    assert more[0].startswith(("headclust: error: lost the connection", "headclust: error: stopped by torchrun"))
    assert not any(path.name.startswith(("run", ".run")) for path in tmp_path.iterdir())
    assert (tmp_path / "stdout").read_text() == ""


def rank_of(parent, rank):
    """The process of a rank among the children of torchrun."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_text().split("\0"):
            return int(child)
    raise AssertionError("no such process")


@pytest.fixture
def second_of_two(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")


def test_other_commands_refuse_to_run_several_times(second_of_two, monkeypatch, capsys):
    from headclust.cli import main

    monkeypatch.setattr(sys, "argv", ["headclust", "export", "run", "--to", "csv"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "headclust: error: export runs in one process: start it without torchrun.\n"


def test_the_environment_of_torchrun(second_of_two, monkeypatch):
    assert launched() == Group(1, 2)
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert launched() == ALONE
    monkeypatch.setenv("RANK", "a")
    with pytest.raises(SettingError, match="RANK"):
        launched()


def test_a_method_of_one_process_refuses_several(blob_file):
    with group.use(Group(0, 2)), pytest.raises(SettingError, match="ward computes in one process: found 2"):
        verbs.fit([blob_file], method="ward")
