import shlex
import subprocess

import click
import pytest

from headclust import verbs
from headclust.cli import cli
from headclust.methods import METHODS, PRESETS, Recipe
from headclust.report import read_data
from headclust.report.commands import repeat, shell_word
from headclust.report.images import Source, find_source
from report.conftest import HOSTILE


def parsed(line):
    """The name of a command and its options, as the command line parses them."""
    program, name, *arguments = shlex.split(line)
    assert program == "headclust"
    # With the group's settings: a command remembers the first help option it had.
    group = click.Context(cli, info_name="headclust", **cli.context_settings)
    return name, cli.commands[name].make_context(name, arguments, parent=group).params


def test_the_fit_is_repeated(world):
    data = read_data(world.run)
    lines = repeat(data, find_source(data))
    assert lines[0].startswith("# ")
    assert "was not made by headclust embed" in lines[0]
    name, options = parsed(lines[-1])
    assert (name, options["features"], options["seed"]) == ("fit", (world.features,), 0)
    again = verbs.fit(
        options["features"],
        method=options["method"],
        clusters=options["clusters"],
        heads=options["heads"],
        output=world.root / "again",
    )
    for file in ("assignments.csv", "model.safetensors"):
        assert (again / file).read_bytes() == (world.run / file).read_bytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("changes", [{}, {"seed": 4, "preset": "authors"}, {"set": True}, {"part": True}])
def test_every_recipe_is_written_down(data, method, changes):
    preset = changes.get("preset", "ours")
    if preset not in PRESETS[method]:
        return
    recipe = Recipe.of(method, preset).changed({"n_clusters": 7})
    if "set" in changes:
        other = {name: _other(value) for name, value in recipe.values.items() if _other(value) is not None}
        recipe = recipe.changed(other)
    if "part" in changes:
        if "optimizer" not in recipe.values:
            return
        recipe = recipe.changed({"optimizer": "sgd"})
    config = {
        **data.config,
        "method": method,
        "preset": preset,
        "seed": changes.get("seed", 0),
        "settings": recipe.values,
    }
    object.__setattr__(data, "config", config)
    options = parsed(repeat(data, Source(None, None))[-1])[1]
    given = dict(change.split("=", 1) for change in options["changes"])
    given |= {"n_clusters": options["clusters"]}
    given |= {} if options["heads"] is None else {"n_heads": options["heads"]}
    again = Recipe.of(options["method"], options["preset"] or "ours").changed(given)
    assert again.values == config["settings"]
    assert options["seed"] == config["seed"]


def test_a_setting_of_an_earlier_version_is_left_out_of_the_command_with_a_remark(data):
    settings = {**Recipe.of().changed({"n_clusters": 7}).values, "guard": True}
    object.__setattr__(data, "config", {**data.config, "method": "consensus", "preset": "ours", "settings": settings})
    *_, remark, command = repeat(data, Source(None, None))
    assert remark == "# this version has no guard=True"
    assert "guard" not in command


def _other(value):
    """Another value of a setting that takes any number or a truth value; None for other settings."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value * 0.9
    return None


ATTRIBUTES = {
    "backbone": "dino_vitb16",
    "source": "/data/my photos",
    "split": "all",
    "dtype": "float32",
    "preprocessing": {"input_size": [224, 224], "own_size": [224, 224]},
    "batch_size": 64,
    "seed": 0,
}


@pytest.mark.parametrize(
    ("change", "source", "expected"),
    [
        ({}, {}, {}),
        ({"split": "train"}, {}, {"split": "train"}),
        ({"source": "digits", "split": "all"}, {}, {"data": "digits", "split": "all"}),
        ({"seed": 3}, {"subset": (500, 3)}, {"limit": 500, "seed": 3}),
        ({"preprocessing": {"input_size": [96, 96], "own_size": [224, 224]}}, {}, {"image_size": 96}),
        ({"preprocessing": {"input_size": [48, 48], "preset": "temi-paper"}}, {}, {"preset": "temi-paper"}),
        ({"n_views": 4, "augmentation": "strong"}, {}, {"n_views": 4, "augmentation": "strong"}),
        ({"batch_size": 17, "dtype": "float16"}, {}, {"batch_size": 17, "dtype": "float16"}),
        ({"precision": "float32", "device": "cuda: A"}, {}, {"precision": "float32"}),
        ({"weights_origin": "file my w.pth (sha256 of the file)"}, {}, {"weights": "my w.pth"}),
        ({}, {"classes": True}, {"classes": "classes.txt"}),
        ({"exclude": ["*.gif", "2021/raw"]}, {}, {"exclude": ("*.gif", "2021/raw")}),
        ({"labels": "none"}, {}, {"labels": "none"}),
        ({"max_pixels": 1_000}, {}, {"max_pixels": 1_000}),
    ],
)
def test_the_embedding_is_repeated(data, change, source, expected):
    (space,) = data.spaces
    object.__setattr__(space, "attributes", {**ATTRIBUTES, **change})
    lines = repeat(data, Source(None, None, **source))
    name, options = parsed(next(line for line in lines if not line.startswith("#")))
    assert name == "embed"
    default = parsed("headclust embed --model dino_vitb16 --data '/data/my photos' --on-error skip")[1]
    assert {key: str(value) for key, value in options.items()} == {
        key: str(value) for key, value in {**default, "output": space.path, **expected}.items()
    }


def test_remarks_on_what_the_commands_need(data):
    (space,) = data.spaces
    object.__setattr__(space, "attributes", {**ATTRIBUTES, "weights_origin": "file w.pth", "weights_sha256": "ab12"})
    source = Source(None, None, problem="gone", classes=True)
    remarks = [line for line in repeat(data, source) if line.startswith("#")]
    assert [word in remark for word, remark in zip(("bee", "--limit", "ab12"), remarks, strict=True)] == [True] * 3


def test_other_samples_are_not_embedded_again(world):
    data = read_data(world.run)
    object.__setattr__(data, "is_fitted", False)
    assert [line.split()[1] for line in repeat(data, Source(None, None))] == ["fit"]


def test_features_that_are_gone(world):
    world.features.unlink()
    assert [line.split()[1] for line in repeat(read_data(world.run), Source(None, None))] == ["fit"]


@pytest.mark.parametrize("text", [*HOSTILE, "", "plain", "it's", "caf\udce9", "\x07f", "a\\b\n'"])
def test_words_are_one_word_to_the_shell_whatever_they_hold(text):
    word = shell_word(text)
    assert word.isprintable()
    printed = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
    assert printed == text.encode("utf-8", "surrogateescape")
