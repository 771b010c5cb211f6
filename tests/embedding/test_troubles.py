"""Every kind of trouble of benchmarks/trouble_files.py, through the whole of stage 1."""

import sys
from pathlib import Path

import pytest
import torch

from headclust import load_features
from headclust.backbones import Backbone, Preprocessing
from headclust.embedding import EmbedSettings
from headclust.embedding.embed import embed_images
from headclust.images.datasets import open_source

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"


@pytest.fixture
def troubles(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import trouble_files
    import troubles

    yield trouble_files, troubles
    for name in ("trouble_files", "troubles"):
        sys.modules.pop(name, None)


def test_every_entry_of_a_troubled_folder_has_the_expected_outcome(tmp_path, troubles):
    trouble_files, study = troubles
    entries = trouble_files.fill(tmp_path / "photos", 0, each=1)
    assert len(trouble_files.KINDS) >= 40
    record = {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"}
    preprocessing = Preprocessing((4, 4), record, lambda image: image.resize((4, 4)))
    backbone = Backbone("pixels", torch.nn.Flatten(), 48, preprocessing, "none", "0" * 64, "pixels")
    path = embed_images(
        open_source(str(tmp_path / "photos"), None),
        backbone,
        tmp_path / "f.h5",
        EmbedSettings(batch_size=8, on_error="skip"),
    )
    assert study.differences(load_features(path), entries) == []
