import json
import sys

import numpy as np
import pytest

from headclust import cli, verbs
from headclust.granularity import GroupOfLevel, Level, Suggestion


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["headclust", "suggest", *arguments])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        return exited.value.code, *capsys.readouterr()

    return call


def test_it_prints_the_range_and_its_levels(blob_file, command):
    code, out, _ = command(str(blob_file))
    lines = out.splitlines()
    assert code == 0
    assert lines[0].endswith(" groups")
    assert f"4 groups: headclust fit {blob_file} --clusters 4" in lines
    assert lines[-2:] == [
        f"Page: {blob_file.with_name('blobs-suggest.html')}",
        f"Curves: {blob_file.with_name('blobs-suggest.svg')}",
    ]


def test_json_is_one_object_that_reads_back(blob_file, command):
    code, out, _ = command(str(blob_file), "--json")
    value = json.loads(out)
    assert code == 0
    assert value["structure"] is True
    assert value["page"] == str(blob_file.with_name("blobs-suggest.html"))
    assert len(value["curves"]["n_clusters"]) == len(value["curves"]["score"])
    assert Suggestion.from_json(value).range == tuple(value["range"])


def test_nothing_found_is_an_answer(write, command):
    rows = 3 + np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    code, out, _ = command(str(write("noise.h5", rows)))
    assert code == 0
    assert out.startswith("No structure found: shuffled columns group as well as the images do\n")
    assert "groups:" not in out


def test_of_many_groups_some_are_printed(monkeypatch, command, tmp_path):
    groups = [GroupOfLevel(30 - number, [f"{number}.png"] * 5) for number in range(20)]
    made = Suggestion(1_000, 1_000, 1_000, 0, ["x"], "", (20, 20), [Level(20, groups)])
    suggested = verbs.Suggested(made, tmp_path / "p.html", None, (tmp_path / "x.h5",))
    monkeypatch.setattr(verbs, "suggest", lambda *_, **__: suggested)
    _, out, _ = command("x.h5")
    assert "0.png, 0.png, 0.png\n" in out
    assert "in 8 smaller groups: see the page" in out


def test_a_missing_file_is_one_line(command):
    code, out, err = command("nope.h5")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "headclust: error: nope.h5: no such file: make it with headclust embed or headclust import."
    ]
