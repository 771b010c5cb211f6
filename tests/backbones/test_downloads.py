"""The hub as it answers, cached, silent, refusing, away: a small server on this machine stands in for it."""

import hashlib
import http.server
import threading
import time
import urllib.error
from pathlib import Path
from urllib.request import urlopen

import huggingface_hub
import open_clip  # noqa: F401 - so that its import takes no part in how quick an error is
import pytest
import timm
import torch
from huggingface_hub import constants, file_download
from safetensors.torch import save_file

from headclust.backbones import list_backbones, load_backbone
from headclust.backbones.weights import HUB_FILES, hub_file, url_file
from headclust.errors import SettingError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "timm:test_vit"
REPO = "timm/test_vit.r160_in1k"


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def weights(tmp_path) -> bytes:
    torch.manual_seed(0)
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "model.safetensors")
    return (tmp_path / "model.safetensors").read_bytes()


@pytest.fixture
def hub(monkeypatch):
    """A server: path -> bytes or status. Yields the dict, and counts what was asked."""
    files: dict[str, bytes | int] = {}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(f"{self.command} {self.path}")
            found = files.get(self.path, 404)
            body = found if isinstance(found, bytes) else b""
            self.send_response(200 if isinstance(found, bytes) else found)
            if found == 404 and "/resolve/" in self.path:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(
        file_download, "HUGGINGFACE_CO_URL_TEMPLATE", constants.HUGGINGFACE_CO_URL_TEMPLATE, raising=False
    )
    yield files, asked, url
    huggingface_hub.close_session()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def line(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value)
    assert "--weights FILE" in str(error.value)
    return str(error.value)


def cached(folder: Path, repo: str, name: str, content: bytes) -> None:
    """Laid out as huggingface_hub keeps its cache."""
    root = folder / "hub" / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    (root / "snapshots" / COMMIT).mkdir(parents=True)
    (root / "snapshots" / COMMIT / name).write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        NAME,
        "dino_vits16",
        "open_clip:ViT-B-32/openai",
        "timm:gcvit_base",
        "msn_vit_small",
        "clip_RN50",
        "convnext_base",
    ],
)
def test_no_network_is_one_quick_line(no_network, name):
    start = time.perf_counter()
    with pytest.raises(SettingError, match=r"it cannot be reached \(.*Name or service not known\)") as caught:
        load_backbone(name)
    assert time.perf_counter() - start < 5
    assert name in line(caught)
    assert "https://" in line(caught)


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_the_environment_forbids_downloads(monkeypatch, hub, value):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(SettingError, match="downloads are forbidden") as caught:
        load_backbone(NAME)
    line(caught)
    assert hub[1] == []


@pytest.mark.parametrize(
    "name", [NAME, "dino_vitb16", "open_clip:ViT-B-32/openai", "timm:gcvit_base", "mocov3_vit_base", "clip_ViT-L/14"]
)
def test_offline_asks_nobody(hub, name):
    with pytest.raises(SettingError, match="downloads are forbidden") as caught:
        load_backbone(name, offline=True)
    line(caught)
    assert hub[1] == []


def test_a_cached_file_needs_no_network(tmp_path, weights):
    cached(tmp_path, REPO, "model.safetensors", weights)
    backbone = load_backbone(NAME, offline=True)
    assert backbone.weights_sha256 == hashlib.sha256(weights).hexdigest()
    assert backbone.weights_origin == f"Hugging Face hub {REPO}/model.safetensors (sha256 of the file)"


def test_weights_at_hand_follows_the_cache(tmp_path):
    def at_hand():
        return {row["name"]: row["weights_at_hand"] for row in list_backbones()}

    assert not at_hand()["dino_vits16"]
    cached(tmp_path, "timm/vit_small_patch16_224.dino", "model.safetensors", b"")
    assert at_hand()["dino_vits16"]
    assert not at_hand()["dino_vitb16"]
    cached(tmp_path, "timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors", b"")
    assert at_hand()["clip_ViT-B/32"]
    assert not at_hand()["msn_vit_base"]
    (tmp_path / "torch" / "checkpoints").mkdir(parents=True)
    (tmp_path / "torch" / "checkpoints" / "vitb16_600ep.pth.tar").touch()
    assert at_hand()["msn_vit_base"]


def test_a_download(hub, weights, capfd):
    files, asked, url = hub
    files[f"/{REPO}"] = b"a page"
    files[f"/{REPO}/resolve/main/model.safetensors"] = weights
    backbone = load_backbone(NAME)
    assert backbone.weights_sha256 == hashlib.sha256(weights).hexdigest()
    assert f"downloading the weights of {NAME} from {url}/{REPO}" in capfd.readouterr().err
    asked.clear()
    assert load_backbone(NAME).weights_sha256 == backbone.weights_sha256  # from the cache
    assert asked == []


def test_the_second_file_name(hub, tmp_path):
    files, _, _ = hub
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "w.bin")
    files[f"/{REPO}/resolve/main/pytorch_model.bin"] = (tmp_path / "w.bin").read_bytes()
    assert load_backbone(NAME).weights_origin.startswith(f"Hugging Face hub {REPO}/pytorch_model.bin")


def test_a_repository_without_weights(hub):
    with pytest.raises(SettingError, match=r"it holds none of model.safetensors, pytorch_model.bin") as caught:
        hub_file("m", "nobody/nothing", HUB_FILES, offline=False)
    line(caught)


@pytest.mark.parametrize("status", [401, 403])
def test_a_hub_that_refuses(hub, status):
    files, _, _ = hub
    files["/nobody/private/resolve/main/model.safetensors"] = status
    with pytest.raises(SettingError, match="downloading them from") as caught:
        hub_file("m", "nobody/private", HUB_FILES, offline=False)
    line(caught)


def test_a_file_behind_a_url(hub):
    files, asked, url = hub
    files["/some/w.pth"] = b"content"
    path = url_file("m", f"{url}/some/w.pth", offline=False)
    assert path.read_bytes() == b"content"
    asked.clear()
    assert url_file("m", f"{url}/some/w.pth", offline=True) == path
    assert asked == []


def test_a_file_with_a_wrong_hash_is_not_kept(hub, tmp_path, monkeypatch):
    files, _, url = hub
    opened = []
    monkeypatch.setattr(torch.hub, "urlopen", lambda request: opened.append(urlopen(request)) or opened[-1])
    files["/w-0123abcd.pth"] = b"content"
    with pytest.raises(SettingError, match="invalid hash value") as caught:
        url_file("m", f"{url}/w-0123abcd.pth", offline=False)
    line(caught)
    assert list((tmp_path / "torch").rglob("*.pth")) == []
    opened[0].close()  # torch leaves it open


def test_a_missing_url(hub):
    with pytest.raises(SettingError, match="404") as caught:
        url_file("m", f"{hub[2]}/gone.pth", offline=False)
    line(caught)
