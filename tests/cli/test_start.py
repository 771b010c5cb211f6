"""What a command loads before it refuses, or answers from files alone; and the time that takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclust import verbs, write_features

HEAVY = ("torch", "sklearn", "scipy.sparse", "faiss", "timm", "open_clip", "torchvision", "pandas", "pyarrow", "umap")
# Seconds of CPU: 0.3 to 0.5 on a quiet core; before, 5.7. A busy core, with caches that others fill, takes longer.
LIMIT = 1.5
PROGRAM = """
import json, resource, sys
from headclust import cli
sys.argv = ["headclust", *json.loads(sys.argv[1])]
try:
    cli.main()
except SystemExit as exited:
    code = exited.code
used = resource.getrusage(resource.RUSAGE_SELF)
record = {"code": code, "modules": sorted(sys.modules), "seconds": used.ru_utime + used.ru_stime}
open("record.json", "w").write(json.dumps(record))
"""
ANSWERED = [
    "--version",
    "--help",
    "fit --help",
    "info blobs.h5",
    "info run",
    "verify blobs.h5",
    "settings",
    "settings consensus",
    "settings imc-swav",
    "models dino",
    "evaluate run",
    "export run --to csv",
]
REFUSED = [
    "info nope",
    "verify nope",
    "settings nope",
    "models nope",
    "fit nope.h5",
    "fit blobs.h5 --method nope",
    "fit blobs.h5 --preset nope",
    "fit blobs.h5 --set nope=1",
    "fit blobs.h5 --method temi --set beta=7",
    "fit blobs.h5 --method clc --set hidden_dim=0",
    "fit blobs.h5 --clusters 500",
    "fit blobs.h5 --device nope",
    "fit blobs.h5 --config nope",
    "fit blobs.h5 --eval nope.h5",
    "fit blobs.h5 -o run",
    "fit plain.h5",
    "compare blobs.h5 --methods nope",
    "compare nope.h5 --methods kmeans",
    "compare plain.h5 --methods kmeans",
    "evaluate nope",
    "evaluate run --features nope.h5",
    "export nope --to csv",
    "export run --to csv --features nope.h5",
    "report nope",
    "review nope",
    "review blobs.h5",
    "report run --features nope.h5",
    "predict nope --features blobs.h5",
    "predict run --features nope.h5",
    "predict run --data nope",
    "predict run --data photos --device nope",
    "predict run --data photos --weights nope",
    "report run -o blobs.h5/report.html",
    "fit blobs.h5 plain.h5 --method temi",
    "import nope.npy",
    "suggest nope.h5",
    "suggest blobs.h5 -o blobs.h5/page.html",
    "embed --model nope",
    "embed --model efficientnet_lite0 --data nope",
    "embed --model efficientnet_lite0 --data photos --device nope",
    "embed --model efficientnet_lite0 --data photos --weights nope",
    "embed --model efficientnet_lite0 --data photos --image-size 99999",
    "run nope --clusters 2",
    "run photos",
    "run photos --clusters 2 --method nope",
    "run photos --clusters 9",
    "run photos --clusters 2 --device nope",
    "run photos --clusters 2 --model nope",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with feature files (with and without labels), a run and three images."""
    path = tmp_path_factory.mktemp("start")
    rows = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    for name, labels in (("blobs.h5", np.arange(60) % 3), ("plain.h5", None)):
        ids = [str(row) for row in range(60)]
        write_features(path / name, rows, sample_ids=ids, labels=labels, dataset="blobs", backbone="b")
    verbs.fit([path / "blobs.h5"], method="kmeans", output=path / "run")
    (path / "photos").mkdir()
    for number in range(3):
        Image.new("L", (32, 32), 80 * number).save(path / "photos" / f"{number}.png")
    return path


@pytest.mark.parametrize("line", [*ANSWERED, *REFUSED])
def test_it_loads_no_heavy_library_and_answers_at_once(folder, line):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, json.dumps(line.split())]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    record = json.loads((folder / "record.json").read_text())
    assert record["code"] == (2 if line in REFUSED else 0), done.stderr
    assert set(HEAVY) & set(record["modules"]) == set()
    assert record["seconds"] < LIMIT


def test_a_run_without_a_source_loads_no_later_step(folder):
    command = [sys.executable, "-c", PROGRAM, json.dumps(["run", "nope", "--clusters", "2"])]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    modules = json.loads((folder / "record.json").read_text())["modules"]
    later = ("headclust.report", "headclust.methods", "headclust.runs", "headclust.embedding.again", "jinja2")
    assert set(later) & set(modules) == set()
