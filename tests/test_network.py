"""Offline, and in a dry run, no socket is opened: checked by sockets that cannot be."""

import socket
import sys

import pytest
from PIL import Image

from headclust import verbs
from headclust.backbones import list_backbones, load_backbone, untrained_backbone
from headclust.embedding.estimate import Estimate
from headclust.errors import HeadclustError, SettingError
from headclust.images.datasets import open_source
from headclust.network import without_network

UNSUPPORTED = [
    "open_clip:hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "open_clip:hf-hub:laion",
    "open_clip:local-dir:/somewhere/model",
    "timm:hf-hub:timm/resnet18.a1_in1k",
    "timm:hf_hub:timm/resnet18",
    "timm:local-dir:/somewhere/model",
]
# One of each loader; none of their weights are on a machine that runs tests.
ABSENT = ["timm:resnet18.a1_in1k", "open_clip:ViT-B-32/laion2b_s34b_b79k", "open_clip:ViT-B-32/openai", "dino_vits16"]


@pytest.fixture
def no_sockets(monkeypatch, tmp_path):
    """Every attempt to connect, or to look up a host, fails the test, whatever catches the error."""
    attempts = []

    def refuse(*arguments, **_):
        attempts.append(arguments[-1] if arguments else None)
        raise OSError(101, "Network is unreachable")

    for owner, name in (
        (socket.socket, "connect"),
        (socket.socket, "connect_ex"),
        (socket, "create_connection"),
        (socket, "getaddrinfo"),
    ):
        monkeypatch.setattr(owner, name, refuse)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield attempts
    assert attempts == []


@pytest.mark.parametrize("name", UNSUPPORTED)
@pytest.mark.parametrize("offline", [True, False])
def test_names_of_the_hub_and_of_folders_are_refused_before_a_library_looks_for_them(no_sockets, name, offline):
    for load in (load_backbone, untrained_backbone):
        with pytest.raises(SettingError, match="are not supported: use a name from the lists of"):
            load(name, offline=offline)


@pytest.mark.parametrize("name", ABSENT)
def test_offline_weights_that_are_absent_are_one_line(no_sockets, name):
    with pytest.raises(SettingError, match="downloads are forbidden"):
        load_backbone(name, offline=True)


@pytest.mark.parametrize("model", ["timm:test_vit", "efficientnet_lite0"])
def test_a_dry_run_opens_no_socket(no_sockets, tmp_path, model):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    options = {"image_size": 32} if model == "efficientnet_lite0" else {}
    assert isinstance(verbs.embed(model, str(tmp_path), dry_run=True, **options), Estimate)


def test_a_dry_run_downloads_no_data_set(no_sockets):
    pytest.importorskip("datasets")
    with pytest.raises(SettingError, match="is not on this machine, and downloads are forbidden"):
        verbs.embed("efficientnet_lite0", "hf:nobody/nothing-by-this-name", dry_run=True)
    with pytest.raises(HeadclustError, match="downloads are forbidden"):
        open_source("hf:nobody/nothing-by-this-name", offline=True)


def test_packaged_weights_and_lists_need_no_network(no_sockets):
    assert load_backbone("efficientnet_lite0", image_size=32, offline=True).weights_sha256
    assert list_backbones(pattern="dino*")


def test_the_flags_of_libraries_are_as_before_afterwards(monkeypatch):
    from types import SimpleNamespace

    from huggingface_hub import constants

    transformers = SimpleNamespace(_is_offline_mode=False)
    monkeypatch.setitem(sys.modules, "transformers.utils.hub", transformers)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with without_network():
        assert constants.HF_HUB_OFFLINE
        assert transformers._is_offline_mode
    assert not constants.HF_HUB_OFFLINE
    assert not transformers._is_offline_mode
    with without_network(False):
        assert not constants.HF_HUB_OFFLINE
