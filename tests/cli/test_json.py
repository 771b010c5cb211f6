"""--json of every command: one value on stdout, nothing else there."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from headclust import cli, verbs
from headclust.embedding.estimate import Estimate
from headclust.runs.drift import Drift

COMMANDS = {
    "demo": (),
    "run": ("photos", "--clusters", "3"),
    "models": ("dino",),
    "embed": ("--model", "efficientnet_lite0"),
    "fit": ("blobs.h5", "--method", "kmeans", "-o", "made"),
    "settings": ("kmeans",),
    "compare": ("blobs.h5", "--methods", "kmeans,spherical-kmeans"),
    "predict": ("run", "--features", "blobs.h5"),
    "neighbors": ("blobs.h5", "--neighbors", "5"),
    "evaluate": ("run",),
    "report": ("run", "--no-umap"),
    "review": ("run",),
    "add": ("run",),
    "name": ("run", "--from", "words"),
    "suggest": ("blobs.h5",),
    "export": ("run", "--to", "csv"),
    "import": ("rows.npy",),
    "info": ("run",),
    "verify": ("blobs.h5",),
}
LISTS = {"demo", "models", "settings"}


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture
def output(monkeypatch, capsys, tmp_path, blob_file, blobs):
    """Runs a command in a folder with features, a run and an array: output(*arguments) -> the value on stdout."""
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", blobs.features)
    verbs.fit([blob_file], method="kmeans", output=Path("run"))
    metrics = {"accuracy": math.nan, "nmi": 0.5, "ami": math.inf, "ari": 0.5, "seconds": 1.0}
    monkeypatch.setattr(verbs, "demo", lambda folder: [("consensus", "train", metrics)])
    monkeypatch.setattr(verbs, "embed", lambda *_, **__: blob_file)
    monkeypatch.setattr(verbs, "review", lambda run, port, on_start: on_start("http://127.0.0.1:1/", ""))
    drift = Drift(n_added=1, n_fitted=120, n_unlike=0, shift=0.9, shift_by_chance=0.9)
    added = verbs.Addition(Path("run"), Path("run/added.csv"), 1, 1, {0: 1}, {0: "cluster-0"}, (), (), (), 0, drift)
    monkeypatch.setattr(verbs, "add", lambda *_, **__: added)
    made = (Path(name) for name in ("groups", "groups/features.h5", "run", "groups/report.html"))
    monkeypatch.setattr(verbs, "run", lambda *_, **__: verbs.Groups(*made, 120, 0, None))

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["headclust", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            cli.main()
        assert exited.value.code == 0
        return json.loads(capsys.readouterr().out, parse_constant=refuse)

    return command


def test_every_command_has_an_example():
    assert set(COMMANDS) == set(cli.cli.commands)


@pytest.mark.parametrize("name", COMMANDS)
def test_one_value_and_nothing_else(output, name):
    value = output(name, *COMMANDS[name], "--json")
    assert isinstance(value, list if name in LISTS else dict)
    assert value


def test_what_is_made_is_named(output):
    for name, path in (("predict", "run/predicted/blobs-all-gauss.csv"), ("export", "exports/run.csv")):
        assert output(name, *COMMANDS[name], "--json") == {"path": path}
    made = output("import", *COMMANDS["import"], "--json")
    assert (made["path"], made["n_samples"]) == ("features/rows-all/imported.h5", 120)
    assert output("verify", made["path"], "--json") == {"path": made["path"], "problems": []}


def test_a_number_that_json_does_not_have_is_null(output):
    (row,) = output("demo", "--json")
    assert (row["metrics"]["accuracy"], row["metrics"]["ami"], row["metrics"]["nmi"]) == (None, None, 0.5)


def test_the_estimate_of_a_dry_run(output, monkeypatch):
    numbers = dict.fromkeys(Estimate.__dataclass_fields__, 1)
    estimate = Estimate(**{**numbers, "path": Path("here.h5"), "bad": [("a.jpg", "damaged")], "problems": ()})
    monkeypatch.setattr(verbs, "embed", lambda *_, **__: estimate)
    value = output("embed", "--model", "efficientnet_lite0", "--dry-run", "--json")
    assert (value["path"], value["bad"], value["n_images"]) == ("here.h5", [["a.jpg", "damaged"]], 1)


def test_a_damaged_file_is_a_list_of_problems_and_exit_code_1(output, monkeypatch, capsys, blob_file):
    content = bytearray(blob_file.read_bytes())
    content[len(content) // 2] ^= 255
    blob_file.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["headclust", "verify", "blobs.h5", "--json"])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 1
    assert json.loads(capsys.readouterr().out)["problems"]


def test_json_and_a_format(output, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["headclust", "compare", "blobs.h5", "-m", "kmeans", "--format", "csv", "--json"])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    out, err = capsys.readouterr()
    assert (exited.value.code, out) == (2, "")
    assert "--json and --format csv: give only one of them" in err


def test_compare_takes_methods_that_are_named_one_by_one(output):
    # The last -m once replaced the others without a word.
    comparison = output("compare", "blobs.h5", "-m", "kmeans", "-m", "spherical-kmeans", "--json")
    assert [entry["method"] for entry in comparison["methods"]] == ["kmeans", "spherical-kmeans"]
