import json
import sys
from pathlib import Path

import pytest

from headclust import cli, verbs
from headclust.errors import SettingError

METRICS = {"n_samples": 20, "clusters_used": 3}


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the verb was asked for; it makes nothing but metrics.json."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos-groups" / "run").mkdir(parents=True)
    (tmp_path / "photos-groups" / "run" / "metrics.json").write_text(json.dumps(METRICS))
    calls = []

    def run(data, **options):
        calls.append((data, options))
        if data == "bad":
            raise SettingError("set the number of groups with --clusters K.")
        folder = Path("photos-groups")
        left_out = None if data == "clean" else folder / "left-out.csv"
        return verbs.Groups(
            folder,
            folder / "features.h5",
            folder / "run",
            folder / "report.html",
            20,
            0 if left_out is None else 5,
            left_out,
        )

    monkeypatch.setattr(verbs, "run", run)
    return calls


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["headclust", "run", *arguments])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        return exited.value.code, *capsys.readouterr()

    return call


def test_it_ends_with_where_things_are(asked, command):
    code, out, err = command("photos", "--clusters", "3")
    assert (code, err) == (0, "")
    assert out.splitlines()[-4:] == [
        "Left out, as unreadable: 5 images, listed in photos-groups/left-out.csv",
        "Report: photos-groups/report.html",
        "Which image is in which group: photos-groups/run/assignments.csv",
        "Run folder: photos-groups/run",
    ]
    assert "clusters_used" in out
    assert "Left out" not in command("clean")[1]


def test_options_reach_the_verb(asked, command):
    command("photos")
    line = "--clusters 3 --split test -o out --model m --weights w.pth --views 1 --method temi --seed 4 --on-error fail"
    line += " --exclude a --exclude b/* --labels folders --max-pixels 1000"
    command("photos", *line.split(), "--device", "cpu", "--offline", "--overwrite")
    (_, plain), (_, given) = asked
    assert (plain["on_error"], plain["labels"], plain["exclude"]) == ("skip", "dataset", ())
    assert (plain["clusters"], plain["model"], plain["views"], plain["output"]) == (None, None, None, None)
    assert given == {
        "clusters": 3,
        "split": "test",
        "exclude": ("a", "b/*"),
        "labels": "folders",
        "output": Path("out"),
        "model": "m",
        "weights": Path("w.pth"),
        "views": 1,
        "method": "temi",
        "seed": 4,
        "on_error": "fail",
        "max_pixels": 1000,
        "device": "cpu",
        "offline": True,
        "overwrite": True,
    }


def test_json_is_one_object_and_nothing_else(asked, command):
    code, out, err = command("photos", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["metrics"] == METRICS
    assert told["report"] == "photos-groups/report.html"
    assert told["assignments"] == "photos-groups/run/assignments.csv"
    assert (told["n_left_out"], told["left_out"]) == (5, "photos-groups/left-out.csv")
    assert json.loads(command("clean", "--json")[1])["left_out"] is None


def test_an_error_is_one_line(asked, command):
    assert command("bad") == (2, "", "headclust: error: set the number of groups with --clusters K.\n")
    code, _, err = command("photos", "--clusters", "0")
    assert code == 2
    assert len(err.splitlines()) == 1


def test_it_comes_after_the_demo():
    assert list(cli.cli.commands)[:2] == ["demo", "run"]
