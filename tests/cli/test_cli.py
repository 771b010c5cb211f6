import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from headclust import cli, load_features, verbs
from headclust.cli.demo import own_command
from headclust.cli.embed import _duration, _size
from headclust.embedding import EmbedSettings
from headclust.methods import DEFAULT_METHOD, METHODS, PRESETS
from headclust.methods.settings import list_settings

QUICK = ["--heads", "3", "--set", "tries=2", "--set", "pairs.length=10"]
TEMI = ["--method", "temi", "--heads", "3"]
for setting in ("hidden_dim=24", "bottleneck_dim=12", "length=30", "warmup=3", "batch_size=64"):
    TEMI += ["--set", setting]


def last_of_each(arguments):
    """Arguments without the `--set` of a setting that a later one sets again, which is refused."""
    pairs = [
        (index, arguments[index + 1].partition("=")[0])
        for index in range(len(arguments))
        if arguments[index] == "--set"
    ]
    last = {name: index for index, name in pairs}
    dropped = {place for index, name in pairs if last[name] != index for place in (index, index + 1)}
    return [argument for place, argument in enumerate(arguments) if place not in dropped]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs the command in the test's folder as a shell would: run(*arguments) -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["headclust", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            cli.main()
        return exited.value.code, *capsys.readouterr()

    return command


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for the neighbor graphs that may be kept."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".headclust" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def refused(run, tmp_path):
    """Runs a command that has to fail: exit 2, one line on stderr, no file made or changed. Gives the line."""

    def command(*arguments):
        before = tree(tmp_path)
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("headclust: error: ")
        assert err.endswith("\n")
        assert len(err.splitlines()) == 1
        assert tree(tmp_path) == before
        return err

    return command


def test_fit_prints_a_table_and_where_the_run_is(run, blob_file, tmp_path):
    code, out, err = run("fit", blob_file, *QUICK, "-o", "run")
    assert (code, err) == (0, "")
    assert "accuracy" in out
    assert out.splitlines()[-1] == "Run folder: run"
    assert (tmp_path / "run" / "config.json").exists()


def test_fit_json_is_metrics_json_and_nothing_else(run, blob_file, tmp_path):
    code, out, err = run("fit", blob_file, *QUICK, "-o", "run", "--json", "--eval", blob_file)
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert json.loads(out)["eval"]["n_samples"] == 120


def test_fit_takes_every_setting_as_an_option(run, blob_file, tmp_path):
    options = ["--preset", "authors", "--clusters", 3, "--seed", 4, "--device", "cpu"]
    assert run("fit", blob_file, *TEMI, *options, "--set", "beta=0.7", "--set", "n-neighbors = 9", "-o", "run")[0] == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["preset"], config["seed"], config["method"]) == ("authors", 4, "temi")
    found = [config["settings"][name] for name in ("n_clusters", "n_heads", "beta", "n_neighbors", "lr")]
    assert found == [3, 3, 0.7, 9, 1e-4]


def test_one_setting_with_two_values(refused, blob_file):
    for options in (["beta=0.7", "--set", "beta=0.8"], ["n-heads=2", "--set", "n_heads=3"]):
        assert "give it once" in refused("fit", blob_file, "--method", "temi", "--set", *options)
    assert "give one" in refused("fit", blob_file, "--method", "kmeans", "--clusters", "4", "--set", "n_clusters=5")


def test_fit_config_repeats_byte_for_byte(run, refused, blob_file, tmp_path):
    for options in ((blob_file, *QUICK, "--seed", 3, "-o", "one"), ("--config", "one/config.json", "-o", "two")):
        assert run("fit", *options)[0] == 0
    for name in ("model.safetensors", "assignments.csv", "history.jsonl", "config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert "leave out either it or them" in refused("fit", "--config", "one", "--method", "kmeans", "-o", "three")
    assert run("fit", "--config", "one", "--seed", 9, "--set", "pairs.lr=0.2", "-o", "three")[0] == 0
    config = json.loads((tmp_path / "three" / "config.json").read_text())
    assert (config["seed"], config["settings"]["pairs.lr"]) == (9, 0.2)


def test_overwrite(run, refused, blob_file):
    assert run("fit", blob_file, "--method", "kmeans", "-o", "run")[0] == 0
    line = refused("fit", blob_file, "--method", "kmeans", "-o", "run")
    assert "run holds a run: choose another place with -o, or replace it with --overwrite" in line
    assert run("fit", blob_file, "--method", "kmeans", "-o", "run", "--overwrite")[0] == 0


@pytest.fixture
def fitted(run, blob_file, tmp_path):
    assert run("fit", blob_file, "--method", "kmeans", "-o", "run")[0] == 0
    return tmp_path / "run"


def test_evaluate_json_is_json_and_nothing_else(run, fitted, blob_file):
    code, out, err = run("evaluate", fitted, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((fitted / "metrics.json").read_text())
    code, out, err = run("evaluate", fitted, "--features", blob_file, "--probes", "--json")
    assert (code, err) == (0, "")
    assert set(json.loads(out)["probes"]) == {"knn_accuracy", "linear_accuracy", "neighbor_purity"}


def test_evaluate_prints_a_table(run, fitted):
    code, out, err = run("evaluate", fitted, "--features", fitted.parent / "blobs.h5", "--probes")
    assert (code, err) == (0, "")
    assert all(name in out for name in ("accuracy", "entropy", "probes", "neighbor_purity"))


def test_models(run):
    code, out, err = run("models", "--json")
    assert (code, err) == (0, "")
    listed = json.loads(out)
    expected = {"name", "dim", "input_size", "parameters", "source", "license", "weights_at_hand"}
    assert all(expected <= set(entry) for entry in listed)
    assert "efficientnet_lite0" in {entry["name"] for entry in listed}
    code, out, err = run("models")
    assert code == 0
    assert "timm:NAME" in err
    assert all(entry["name"] in out for entry in listed)


def test_models_are_chosen_by_what_they_are(run):
    def names(*arguments):
        return [entry["name"] for entry in json.loads(run("models", *arguments, "--json")[1])]

    everything = names()
    assert names("dino_vit*") == ["dino_vits16", "dino_vitb16"]
    assert set(names("--text")) | set(names("--no-text")) == set(everything)
    assert not set(names("--text")) & set(names("--no-text"))
    assert "clip_ViT-B/16" in names("--text", "--no-labels", "--max-parameters", 90_000_000)
    assert "clip_ViT-L/14" not in names("--text", "--max-parameters", 90_000_000)
    assert "efficientnet_lite0" in names("--at-hand", "--labels")
    assert names("DINO", "vitb") == [name for name in everything if "dino" in name and "vitb" in name] != []
    assert names("dino vitb") == names("DINO", "vitb")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing*",), "no backbone has 'nothing*' in its name: Any timm:NAME"),
        (("dinno",), "did you mean dino_"),
        (("dino", "--max-parameters", 1), "no backbone has all of these properties"),
    ],
)
def test_no_backbone_is_an_error(refused, arguments, message):
    assert message in refused("models", *arguments)
    assert message in refused("models", *arguments, "--json")


@pytest.mark.parametrize("method", METHODS)
def test_settings(run, method):
    code, out, err = run("settings", method, "--json")
    assert (code, err) == (0, "")
    listed = {entry["name"]: entry for entry in json.loads(out)}
    for preset, recipe in PRESETS[method].items():
        for setting in list_settings(recipe):
            assert listed[setting.name][preset] == setting.value
            assert listed[setting.name]["meaning"] == setting.meaning
    code, out, err = run("settings", method)
    assert (code, err) == (0, "")
    # In a pipe a setting is a line, so that lines can be searched.
    lines = {line.split()[0]: line for line in out.splitlines()}
    del lines["name"]
    assert set(lines) == set(listed)
    assert all(entry["meaning"] in lines[name] for name, entry in listed.items())


def test_help_names_every_method(run):
    listed = re.search(r"--method TEXT\s+(.*?)\.\s+\[default", run("fit", "--help")[1], re.DOTALL)[1]
    named = re.sub(r" \(.*?\)", "", re.sub(r"-\s+", "-", " ".join(listed.split()))).split(", ")
    assert named == ["default", *METHODS]


def test_settings_of_the_default(run):
    assert run("settings", "default") == run("settings", DEFAULT_METHOD)


def test_predict(run, fitted, blob_file, tmp_path):
    code, out, err = run("predict", fitted, "--features", blob_file, "-o", "p.csv")
    assert (code, out) == (0, "p.csv\n")
    assert err.startswith("120 images: ")
    assert err.count("\n") == 1
    predicted = (tmp_path / "p.csv").read_text().splitlines()
    assert predicted[0] == "sample_id,cluster,confidence,novelty"
    assert [line.rpartition(",")[0] for line in predicted] == (fitted / "assignments.csv").read_text().splitlines()


def test_import_info_and_verify(run, blobs, tmp_path):
    np.save(tmp_path / "x.npy", blobs.features)
    (tmp_path / "labels.txt").write_text("\n".join(map(str, blobs.labels)))
    code, out, err = run("import", "x.npy", "--labels", "labels.txt", "--dataset", "mine", "-o", "x.h5")
    assert (code, out, err) == (0, "x.h5\n", "")
    assert np.array_equal(load_features(tmp_path / "x.h5").all().numpy(), blobs.features)
    assert json.loads(run("info", "x.h5", "--json")[1])["dataset"] == "mine"
    assert "feature_dim" in run("info", "x.h5")[1]
    assert run("verify", "x.h5") == (0, "x.h5: holds.\n", "")
    content = bytearray((tmp_path / "x.h5").read_bytes())
    content[content.index(blobs.features[5].tobytes())] ^= 1
    (tmp_path / "x.h5").write_bytes(content)
    code, out, err = run("verify", "x.h5")
    assert (code, err) == (1, "")
    assert "sha256" in out


def test_info_of_a_run(run, fitted):
    assert json.loads(run("info", fitted, "--json")[1])["metrics"]["n_samples"] == 120
    assert run("info", fitted)[0] == 0


def test_embed_passes_everything_on(run, monkeypatch):
    seen, options = {}, set(verbs.embed.__kwdefaults__)
    monkeypatch.setattr(
        verbs, "embed", lambda model, data, **options: seen.update(options, model=model, data=data) or Path("f")
    )
    code, out, err = run("embed", "--model", "m", "--limit", 5, "--on-error", "skip", "--dtype", "float16", "--offline")
    assert (code, out, err) == (0, "f\n", "")
    expected = {
        "model": "m",
        "data": None,
        "limit": 5,
        "settings": EmbedSettings(on_error="skip", dtype="float16"),
        "offline": True,
    }
    assert {name: seen[name] for name in expected} == expected
    assert set(seen) == {"model", "data", *options}


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(run, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run("embed", "--model", "efficientnet_lite0", "--limit", 9, "--image-size", 32, "--dry-run")
    said = dict(line.strip().split("  ", 1) for line in out.splitlines()[1:] if "  " in line.strip())
    assert code == 0
    assert "bundled digits" in err
    assert said["images"].strip() == "9"
    assert said["feature file"].strip() == "features/digits-train/efficientnet_lite0-32px-n9-s0.h5"
    assert "0 of 9 tried" in said["cannot be read"]
    assert "13.7 MB, on this machine" in said["weights"]
    assert {"on disk", "memory", "time"} <= set(said)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_needs_no_weights(run):
    code, out, _ = run("embed", "--model", "dino_vits16", "--limit", 2, "--dry-run", "--offline", "--image-size", 32)
    assert code == 0
    assert "to be downloaded from Hugging Face hub timm/vit_small_patch16_224.dino" in out
    code, out, _ = run("embed", "--model", "timm:resnet18", "--limit", 2, "--dry-run", "--image-size", 32)
    assert "library's own source" in out


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 B"), (999, "999 B"), (7_390_000, "7.39 MB"), (1.5e12, "1.5 TB"), (2e16, "2e+04 TB")]
)
def test_sizes_are_told_in_units(n_bytes, text):
    assert _size(n_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (600, "10 min"), (3 * 3600 + 61, "3 h 01 min")]
)
def test_durations_are_told_in_units(seconds, text):
    assert _duration(seconds) == text


def test_errors_cannot_move_the_cursor(run, tmp_path):
    # Names on the disk are text from outside: a split folder's here.
    (tmp_path / "photos").mkdir()
    code, _, err = run("embed", "--model", "efficientnet_lite0", "--data", "photos", "--split", "\x1b[2J")
    assert code == 2
    assert "\x1b" not in err
    assert "\\x1b[2J" in err


def test_demo_prints_one_table(run, monkeypatch):
    metrics = {"accuracy": 0.5, "nmi": 0.25, "ami": 0.125, "ari": 0.0625, "seconds": 1.26}
    monkeypatch.setattr("headclust.verbs.demo", lambda folder: [("consensus", "train", metrics)])
    code, out, err = run("demo", "-o", "here")
    assert (code, err) == (0, "")
    cells = [re.split(r"  +", line) for line in out.splitlines()]
    assert ["consensus", "train", "50.0 %", "25.0 %", "12.5 %", "6.2 %", "1.3 s"] in cells
    assert "here/features" in out
    assert "open this page in a browser:\n  here/report.html\n" in out
    assert out.endswith(" run photos\n")


def test_the_next_command_is_found_by_the_shell(tmp_path, monkeypatch):
    # README's was not found after `make demo`: nothing had activated the environment.
    programs = [tmp_path / name / "headclust" for name in ("my env", "other")]
    for program in programs:
        program.parent.mkdir()
        program.touch(0o755)
    monkeypatch.setenv("PATH", str(programs[0].parent))
    assert own_command(str(programs[0])) == "headclust"
    assert own_command(str(programs[1])) == str(programs[1])
    monkeypatch.setenv("PATH", "")
    assert own_command(str(programs[0])) == f"'{programs[0]}'"
    assert own_command("/site/headclust/__main__.py") == f"{sys.executable} -m headclust"


COMMANDS = sorted(cli.cli.commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_explained(command):
    result = CliRunner().invoke(cli.cli, [command, "--help"])
    assert result.exit_code == 0
    assert cli.cli.commands[command].help.split("\n")[0][:40] in result.output
    for parameter in cli.cli.commands[command].params:
        if parameter.param_type_name == "option":
            assert parameter.help, parameter.name


def test_the_commands_there_are(run):
    designed = {"demo", "models", "embed", "fit", "settings", "predict", "evaluate", "import", "info", "verify"}
    assert designed <= set(COMMANDS)
    for arguments in ((), ("--help",), ("-h",)):  # without a command it once was an "error: Usage: ..."
        code, out, err = run(*arguments)
        assert (code, err) == (0, "")
        assert all(f"  {command}" in out for command in COMMANDS)
    assert run("--version")[1].startswith("headclust, version ")


def test_fit_without_features_anywhere(refused):
    assert "none found under ./features" in refused("fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "kmean"], "unknown method 'kmean': did you mean kmeans"),
        (["--method", "kmeans", "--preset", "author"], "unknown preset 'author': did you mean authors"),
        (["--preset", "authors"], "consensus has no preset 'authors'"),
        (["--set", "tris=1"], "unknown setting 'tris': did you mean tries"),
        ([*TEMI, "--set", "betta=1"], "unknown setting 'betta': did you mean beta"),
        (["--set", "beta"], "--set beta: expected NAME=VALUE"),
        (["--set", "beta="], "--set beta=: expected NAME=VALUE"),
        (["--set", "=1"], "--set =1: expected NAME=VALUE"),
        (["--set", "pairs.lr=high"], "lr is 'high': expected a number, for example 0.1"),
        (["--set", "pairs.lr=-1"], "lr is -1.0: expected more than 0"),
        (["--set", "pairs.length=1.5"], "length is '1.5': expected a whole number"),
        (["--set", "pairs.lr=nan"], "lr is nan: expected more than 0"),
        (["--set", "tries=1.5"], "tries is '1.5': expected a whole number"),
        (["--set", "shrinkage=nan"], "shrinkage is nan: expected 1e-06 to 1"),
        (["--set", "whiten=perhaps"], "whiten is 'perhaps': expected true or false"),
        (["--set", "partitions=none"], "partitions is 'none': expected one of mixed, graph, walk, kmeans"),
        ([*TEMI, "--set", "beta=high"], "beta is 'high': expected a number, for example 0.6"),
        ([*TEMI, "--set", "length=0"], "length is 0: expected more than 0"),
        ([*TEMI, "--set", "transform=whiten"], "transform is 'whiten': expected one of none, l2, standardize, pca"),
        (["--method", "kmeans", "--set", "normalize=whiten"], "'whiten': expected one of none, l2"),
        (["--method", "kmeans", "--set", "beta=1"], "unknown setting 'beta'"),
        (["--set", "n_neighbors=120"], "n_neighbors is 120, of 120 samples: expected at most 119"),
        (["--set", "pairs.n_neighbors=120"], "pairs.n_neighbors is 120, of 120 samples: expected at most 119"),
        (["--clusters", "121"], "121 clusters of 120 samples"),
        (["--clusters", "0"], "'--clusters': 0 is not in the range x>=1"),
        (["--clusters", "many"], "'many' is not a valid integer"),
        (["--heads", "0"], "'--heads'"),
        (["--seed", "-1"], "'--seed'"),
        (["--device", "gpu"], "unknown device 'gpu': expected cpu, cuda"),
        (["--nonsense"], "No such option"),
        (["--eval", "none.h5"], "none.h5: no such file"),
        (["--config", "none.json"], "none.json: no such file"),
        (["-o", "."], "exists and is not a run folder"),
        (["-o", "blobs.h5", "--overwrite"], "blobs.h5 exists and is not a run folder"),
        (["-o", "x" * 300], "File name too long"),  # once a traceback
        (["--set", "pairs.lr=1e38"], "the loss stopped being finite"),
        ([*TEMI, "--set", "lr=1e30", "--set", "warmup=0"], "the loss stopped being finite"),
    ],
    ids=lambda value: " ".join(value[-4:])[:40] if isinstance(value, list) else "",
)
def test_bad_options_of_fit(refused, blob_file, options, message):
    settings = last_of_each([*([] if "--method" in options else QUICK), *options])
    assert message in refused("fit", blob_file, *([] if "-o" in options else ["-o", "run"]), *settings)


def test_bad_features_for_fit(refused, write, blobs, blob_file, nan_file, tmp_path):
    same = write("same.h5", np.ones((9, 4), np.float32))
    plain = write("plain.h5", blobs.features)
    (tmp_path / "cut.h5").write_bytes(blob_file.read_bytes()[:3000])
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "foreign.h5").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "folder.h5").mkdir()
    for path, message in (
        (same, "same.h5: all 9 rows are the same"),
        (plain, "set the number of clusters with --clusters K"),
        (nan_file, "nan.h5: image-17.png: its features hold NaN or infinity"),
        ("none.h5", "none.h5: no such file"),
        ("cut.h5", "cut.h5"),
        ("empty.h5", "empty.h5: this is not HDF5"),
        ("foreign.h5", "foreign.h5: this is not HDF5"),
        ("folder.h5", "folder.h5: this is not a file"),
        ("new\nline\x1b.h5", "new\\nline\\x1b.h5: no such file"),
    ):
        assert message in refused("fit", path, *QUICK, "-o", "run")


def test_spaces_that_do_not_fit_a_method(refused, blob_file):
    assert "takes one feature file" in refused("fit", blob_file, blob_file, "--method", "spectral", "-o", "run")


@pytest.mark.parametrize(
    "content",
    ["", "{}", '{"format": "headclust-run"}', '{"format": "headclust-run", "format_version": 1, "settings": 3}'],
)
def test_bad_configs(refused, blob_file, tmp_path, content):
    # Once a KeyError.
    (tmp_path / "bad.json").write_text(content)
    assert "bad.json" in refused("fit", "--config", "bad.json", "-o", "run")


def test_bad_input_for_predict_and_evaluate(refused, fitted, write, blobs, blob_file, tmp_path):
    narrow = write("narrow.h5", blobs.features[:, :5])
    foreign = write("foreign.h5", blobs.features, backbone="other")
    (tmp_path / "cut.h5").write_bytes(blob_file.read_bytes()[:3000])
    for arguments, message in (
        (("none", "--features", blob_file), "none: no such folder"),
        ((tmp_path, "--features", blob_file), "not a run folder"),
        ((blob_file, "--features", blob_file), "not a run folder"),
        ((fitted, "--features", narrow), "its feature_dim is 5, the fit's was 12"),
        ((fitted, "--features", foreign), "its backbone is other, the fit's was gauss"),
        ((fitted, "--features", "none.h5"), "none.h5: no such file"),
        ((fitted, "--features", "cut.h5"), "cut.h5"),
        ((fitted, "--features", blob_file, "--features", blob_file), "2 feature files given: expected 1"),
    ):
        assert message in refused("predict", *arguments, "-o", "p.csv")
        assert message in refused("evaluate", *arguments)
    assert "either feature files" in refused("predict", fitted, "-o", "p.csv")
    assert "imported features" in refused("predict", fitted, "--data", "digits", "-o", "p.csv")
    assert "cannot write" in refused("predict", fitted, "--features", blob_file, "-o", "blobs.h5/p.csv")
    (fitted / "model.safetensors").write_bytes(b"x" * 50)
    assert "model.safetensors has changed" in refused("evaluate", fitted, "--features", blob_file)


def test_bad_arrays_for_import(refused, tmp_path, blobs, blob_file):
    arrays = {
        "nan.npy": np.where(blobs.features == blobs.features[3, 3], np.nan, blobs.features),
        "scalar.npy": np.float32(1),
        "flat.npy": np.ones(5),
        "empty.npy": np.zeros((0, 3)),
        "text.npy": np.array([["a"]]),
        "good.npy": np.eye(3),
    }
    for name, array in arrays.items():
        np.save(tmp_path / name, array)
    np.savez(tmp_path / "many.npz", a=np.eye(3), b=np.eye(3))
    np.save(tmp_path / "object.npy", np.array([[{}]]), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "nan.npy").read_bytes()[:-5])
    (tmp_path / "two.txt").write_text("a\nb\n")
    (tmp_path / "twice.txt").write_text("a\nb\na\n")
    for arguments, message in (
        (["nan.npy"], "3: its features hold NaN or infinity"),
        (["scalar.npy"], "of shape ()"),
        (["flat.npy"], "of shape (5,)"),
        (["empty.npy"], "of shape (0, 3)"),
        (["text.npy"], "features are <U1"),
        (["many.npz"], "many.npz"),
        (["object.npy"], "object.npy is not an array of numbers"),
        (["cut.npy"], "cut.npy is not an array of numbers"),
        (["none.npy"], "none.npy: no such file"),
        (["good.npy", "--ids", "two.txt"], "3 rows of features but 2 sample ids"),
        (["good.npy", "--ids", "twice.txt"], "twice.txt, line 3: 'a' is in line 1 already"),
        (["good.npy", "--ids", "none.txt"], "none.txt: no such file"),
        (["good.npy", "--labels", "two.txt"], "two.txt"),
        (["good.npy", "-o", "blobs.h5"], "blobs.h5 exists"),
    ):
        assert message in refused("import", *(["-o", "new.h5"] if "-o" not in arguments else []), *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fitt"], "No such command 'fitt'"),
        (["settings", "temmi"], "unknown method 'temmi': did you mean temi"),
        (["predict"], "Missing argument 'RUN'"),
        (["evaluate", "none"], "none: no such folder"),
        (["info", "none"], "none"),
        (["verify", "none"], "none: no such file"),
        (["embed"], "Missing option '-m' / '--model'"),
        (["embed", "--model", "m", "--limit", "0"], "'--limit'"),
    ],
    ids=" ".join,
)
def test_bad_commands(refused, arguments, message):
    assert message in refused(*arguments)


def test_a_failing_disk_is_one_line(run, refused, blob_file, monkeypatch):
    import errno

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("headclust.runs.folder.write_atomically", full)
    line = refused("fit", blob_file, "--method", "kmeans", "-o", "run")
    assert "cannot write run: No space left on device: free some space, then run it again" in line


def test_errors_that_are_bugs_keep_their_traceback(blob_file, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(verbs, "fit", broken)
    monkeypatch.setattr(sys, "argv", ["headclust", "fit", str(blob_file)])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def interrupted_import():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        raise ImportError("initialization failed") from error


def interrupted():
    raise KeyboardInterrupt


@pytest.mark.parametrize("failure", [interrupted, interrupted_import])
def test_ctrl_c_is_exit_130_wherever_it_strikes(run, monkeypatch, failure):
    # Compiled modules tell an interrupted import as an ImportError; that once was a traceback.
    monkeypatch.setattr(verbs, "verify", lambda _: failure())
    monkeypatch.setattr("headclust.cli.os._exit", sys.exit)
    code, out, err = run("verify", "x.h5")
    assert (code, out) == (130, "")
    assert err.strip() == "headclust: interrupted."


@pytest.fixture
def shell(tmp_path):
    """The command in a process of its own."""
    environment = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-m", "headclust"]

    def start(*arguments, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": tmp_path, "env": environment, **options}
        return subprocess.Popen([*command, *map(os.fspath, arguments)], **options)

    return start


def test_a_whole_fit_in_a_process_of_its_own(shell, blob_file, tmp_path):
    name = b"r\xe9sultat"  # not UTF-8
    process = shell("fit", blob_file, *QUICK, "-o", name)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out.splitlines()[-1] == b"Run folder: " + name
    assert (tmp_path / os.fsdecode(name) / "config.json").exists()


def test_interrupted(shell, write, blobs, tmp_path):
    write("features/x.h5", blobs.features, blobs.labels)
    process = shell(
        "fit", *last_of_each([*QUICK, "--set", "pairs.length=10000000", "--set", "passes=1e9"]), "-o", "run"
    )
    assert b"using the newest" in process.stderr.readline()  # everything is imported
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert err.split(b"\n") == [b"", b"headclust: interrupted.", b""]  # below the terminal's ^C
    assert set(tree(tmp_path)) == {"features/x.h5"}


def test_more_than_memory_holds(refused, blob_file):
    # Once a traceback.
    err = refused("fit", blob_file, *last_of_each([*TEMI, "--set", "hidden_dim=1000000000000"]), "-o", "run")
    assert err.startswith("headclust: error: not enough memory: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_stdout_on_a_full_disk(shell):
    # Once a traceback.
    with Path("/dev/full").open("w") as full:
        process = shell("settings", "kmeans", stdout=full)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (2, b"headclust: error: No space left on device: stdout\n")
