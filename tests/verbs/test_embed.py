import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from headclust import verbs
from headclust.cli import cli
from headclust.embedding import EmbedSettings
from headclust.errors import FileFormatError, SettingError
from headclust.shards import Shard

MODULE = importlib.import_module("headclust.verbs.embed")  # the package's attribute of that name is the function


@pytest.mark.parametrize(
    ("options", "settings", "name"),
    [
        ({}, {}, "m.h5"),
        ({"image_size": 128}, {}, "m-128px.h5"),
        ({"limit": 7}, {"seed": 2}, "m-n7-s2.h5"),
        ({}, {"dtype": "float16"}, "m-float16.h5"),
        ({}, {"n_views": 2}, "m-2views.h5"),
        ({}, {"n_views": 2, "augmentation": "strong", "seed": 3}, "m-2views-strong-s3.h5"),
        ({"preset": "temi-paper", "weights": Path("other.pth")}, {}, "m-temi-paper-other.h5"),
        ({}, {"precision": "float32", "on_error": "skip", "timeout": 5}, "m.h5"),
    ],
)
def test_default_places_of_features(monkeypatch, options, settings, name):
    images = SimpleNamespace(dataset="my set", split="train", class_folders=(), subset=lambda limit, seed: images)
    backbone = SimpleNamespace(model=torch.nn.Identity())
    monkeypatch.setattr(MODULE, "open_source", lambda *_, **__: images)
    monkeypatch.setattr(MODULE, "load_backbone", lambda *_, **__: backbone)
    monkeypatch.setattr(MODULE, "untrained_backbone", lambda *_, **__: backbone)
    monkeypatch.setattr(MODULE, "embed_images", lambda images, backbone, path, settings: path)
    monkeypatch.setattr(MODULE, "estimate", lambda images, backbone, path, settings: path)
    for check in ("find_entry", "check_weights"):
        monkeypatch.setattr(MODULE, check, lambda _: None)
    monkeypatch.setattr(MODULE, "load_features", lambda path: SimpleNamespace(left_out=(), n_samples=1))
    Path("other.pth").touch()
    path = verbs.embed("m", "somewhere", settings=EmbedSettings(**settings), **options)
    assert path.as_posix() == f"features/my-set-train/{name}"
    assert verbs.embed("m", "somewhere", settings=EmbedSettings(**settings), dry_run=True, **options) == path


def test_everything_is_passed_on(monkeypatch):
    given = {"split": "s", "classes": Path("c"), "limit": None, "output": Path("o.h5"), "weights": Path("w")}
    given |= {"preset": "temi-paper", "image_size": 7, "settings": EmbedSettings(n_views=3), "offline": True}
    given |= {"exclude": ("x",), "labels": "none"}
    of_shards = {"shard", "shards", "on", "merge", "keep_shards", "allow_unlike"}
    assert {*given, "dry_run", *of_shards} == set(verbs.embed.__kwdefaults__)
    seen = {}

    def keep(result):
        return lambda *positional, **options: seen.update(options, last=positional[-1]) or result

    images = SimpleNamespace(dataset="d", split="train", class_folders=())
    monkeypatch.setattr(MODULE, "open_source", keep(images))
    monkeypatch.setattr(MODULE, "load_backbone", keep(None))
    monkeypatch.setattr(MODULE, "embed_images", keep(Path("o.h5")))
    for check in ("find_entry", "check_weights"):
        monkeypatch.setattr(MODULE, check, lambda _: None)
    monkeypatch.setattr(MODULE, "load_features", lambda path: SimpleNamespace(left_out=(), n_samples=1))
    verbs.embed("m", "somewhere", **given)
    used_here = {"split", "limit", "output", "settings"}
    passed = {name: value for name, value in given.items() if name not in used_here}
    assert seen == {"dataset": "d", "last": given["settings"], **passed}


@pytest.fixture
def bare(monkeypatch):
    """Embeds nothing: returns what is called, with its last arguments."""
    calls = []

    def called(name, result):
        return lambda *positional, **options: calls.append((name, positional[2:], options)) or result

    class Images(SimpleNamespace):
        def __len__(self):
            return 1

    images = Images(dataset="d", split="s", class_folders=(), source="/", record={}, class_names=())
    images = Images(**vars(images), sample_ids=("a",), stamps=((1, 2),), labels=None)
    monkeypatch.setattr(MODULE, "open_source", lambda *_, **__: images)
    monkeypatch.setattr(MODULE, "load_backbone", lambda *_, **__: None)
    monkeypatch.setattr(MODULE, "find_entry", lambda _: None)
    monkeypatch.setattr(MODULE, "load_features", lambda path: SimpleNamespace(left_out=(), n_samples=1))
    for name, result in (("embed_images", None), ("embed_shard", True), ("embed_shards", None), ("merge_shards", None)):
        monkeypatch.setattr(MODULE, name, called(name, result))
    return calls


def test_shards_are_embedded_started_and_merged(bare, monkeypatch):
    path = Path("a.h5")
    assert verbs.embed("m", "d", output=path, shard=Shard(2, 3), allow_unlike=True) == path
    assert bare.pop()[1:] == ((path, Shard(2, 3), EmbedSettings()), {"allow_unlike": True, "keep_shards": False})
    assert verbs.embed("m", "d", output=path, merge=True, keep_shards=True) == path
    name, (_, known), options = bare.pop()
    assert (name, options) == ("merge_shards", {"allow_unlike": False, "keep_shards": True})
    assert (known["backbone"], known["batch_size"], known["n_views"], known["n_listed"]) == ("m", 64, None, 1)
    assert verbs.embed("m", "d", output=path, shards=4) == path
    assert [call[0] for call in bare] == ["embed_shards"]  # nothing to merge: they saw a finished file
    assert bare.pop()[1] == (EmbedSettings(), 1, 4, "local")
    verbs.embed("m", "d", output=path, on="ray")
    assert bare.pop()[1] == (EmbedSettings(), 1, None, "ray")


def test_one_part_is_no_shard_yet_and_others_are_not_complete(bare, monkeypatch):
    monkeypatch.setattr(MODULE, "embed_shard", lambda *_, **__: False)
    assert verbs.embed("m", "d", output=Path("a.h5"), shard=Shard(2, 3)) is None


def test_a_process_of_torchrun_has_its_own_gpu(bare, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    verbs.embed("m", "d", output=Path("a.h5"), shard=Shard(4, 8))
    assert bare.pop()[1][2].device == "cuda:1"
    verbs.embed("m", "d", output=Path("a.h5"), shard=Shard(4, 8), settings=EmbedSettings(device="cpu"))
    assert bare.pop()[1][2].device == "cpu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": Shard(1, 2), "merge": True}, "--shard and --merge exclude each other"),
        ({"shards": 2, "shard": Shard(1, 2)}, "--shard and --shards or --on exclude each other"),
        ({"on": "ray", "dry_run": True}, "--dry-run and --shards or --on exclude each other"),
        ({"keep_shards": True}, "--keep-shards is about shards"),
        ({"allow_unlike": True, "dry_run": True}, "--allow-unlike is about shards"),
    ],
)
def test_ways_that_exclude_each_other(options, message):
    with pytest.raises(SettingError, match=message):
        verbs.embed("m", "d", **options)


def test_the_command_takes_its_shard_from_the_environment(bare, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr("headclust.cli.embed.print_features", lambda path, as_json: None)

    def run(*options):
        cli.main(["embed", "-m", "m", "--data", "d", "-o", "a.h5", *options], standalone_mode=False)
        return bare.pop()

    assert run()[1][1] == Shard(2, 3)
    assert "this process does shard 2/3, from torchrun" in capsys.readouterr().err
    assert run("--shard", "1/1")[0] == "embed_images"
    assert run("--merge")[0] == "merge_shards"
    assert run("--shards", "2")[0] == "embed_shards"
    with pytest.raises(SettingError, match="contradicts"):
        run("--shard", "1/3")


def test_a_dry_run_refuses_what_no_memory_can_hold(monkeypatch):
    monkeypatch.setattr("headclust.device.available_memory", lambda: 10**7)
    with pytest.raises(
        SettingError, match=r"'efficientnet_lite0' takes 0\.0 GB of memory to load, and 0\.0 GB are free"
    ):
        verbs.embed("efficientnet_lite0", limit=1, dry_run=True)


def test_a_dry_run_names_weights_that_are_not_there():
    with pytest.raises(FileFormatError, match=r"weights nowhere\.pth: no such file\."):
        verbs.embed("efficientnet_lite0", limit=1, weights=Path("nowhere.pth"), dry_run=True)
