"""A data set fetched from the hub once: a small server on this machine stands in for it."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest
from PIL import Image

datasets = pytest.importorskip("datasets")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCRIPT = """
import sys
from headclust.images.datasets.huggingface import open_huggingface
from headclust.errors import HeadclustError
for name in sys.argv[1:]:
    try:
        images = open_huggingface(name, None)
        print(images.source, images.split, images.labels.tolist(), images.read(1).getpixel((0, 0)), images.stamps[0])
    except HeadclustError as error:
        print(error)
"""


@pytest.fixture
def hub(tmp_path):
    """(environment in which the hub is here, what was asked of it); it holds `owner/name`."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    pictures = [Image.new("RGB", (1, 1), (number, 0, 0)) for number in range(3)]
    table = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 0]}, features=features)
    table.to_parquet(str(tmp_path / "made.parquet"))
    files = {"README.md": b"---\nlicense: mit\n---\n", "train.parquet": (tmp_path / "made.parquet").read_bytes()}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body, status = self.answer()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            if status == 404:
                self.send_header("X-Error-Code", "EntryNotFound" if "owner/name" in self.path else "RepoNotFound")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def answer(self) -> tuple[bytes, int]:
            path = self.path.partition("?")[0]
            if path.startswith(f"/api/datasets/owner/name/tree/{COMMIT}"):
                rows = [{"type": "file", "oid": "0" * 40, "size": len(files[name]), "path": name} for name in files]
                return json.dumps(rows if path.endswith(COMMIT) else []).encode(), 200
            if path.startswith("/api/datasets/owner/name"):
                found = {"id": "owner/name", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
                return json.dumps(found).encode(), 200
            name = path.rpartition("/")[2]
            if path.startswith("/datasets/owner/name/resolve/") and name in files:
                return files[name], 200
            return b"", 200 if path == "/" else 404

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")},
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "NO_PROXY": "127.0.0.1",
    }
    yield environment, asked
    server.shutdown()
    thread.join()
    server.server_close()


def run(environment, *names: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, *names], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_fetched_once_and_then_found_without_a_question(hub):
    environment, asked = hub
    found, said = run(environment, "owner/name")
    assert found.startswith("hf:owner/name train [0, 1, 0] (1, 0, 0) ")
    assert said == "downloading the data set owner/name from the hub\n"
    asked.clear()
    assert run(environment, "owner/name", "owner/name@default")[0].splitlines()[0] == found.strip()
    assert asked == []


def test_refusals(hub):
    environment, asked = hub
    found, _ = run(environment, "owner/other")
    assert found.count("\n") == 1
    assert "the data set 'owner/other' is not on this machine, and fetching it from the hub failed: " in found
    asked.clear()
    found, _ = run({**environment, "HF_HUB_OFFLINE": "1"}, "owner/name")
    assert "downloads are forbidden" in found
    assert asked == []
