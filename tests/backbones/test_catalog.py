import subprocess
import sys

import pytest
import timm
import torch

from headclust.backbones import CATALOG, list_backbones


@pytest.mark.parametrize("name", CATALOG)
def test_entries_say_what_timm_builds(name):
    entry = CATALOG[name]
    with torch.device("meta"):
        model = timm.create_model(entry.timm_name, num_classes=0).eval()
        out = model(torch.zeros(2, 3, entry.input_size, entry.input_size))
    assert out.shape == (2, entry.dim)
    assert sum(p.numel() for p in model.parameters()) == entry.parameters
    assert model.pretrained_cfg["input_size"] == (3, entry.input_size, entry.input_size)
    assert model.pretrained_cfg["license"] == entry.license.lower()
    assert model.pretrained_cfg["hf_hub_id"] == entry.hub_repo


def test_list_has_the_promised_keys():
    keys = {"name", "dim", "input_size", "parameters", "source", "license", "weights_at_hand"}
    rows = list_backbones()
    assert [row["name"] for row in rows] == list(CATALOG)
    assert all(keys <= set(row) for row in rows)
    assert {row["name"] for row in rows if row["weights_at_hand"] is True} >= {"efficientnet_lite0"}


def test_listing_loads_no_model_library():
    code = (
        "import sys; from headclust.backbones import list_backbones; list_backbones();"
        "print({'torch', 'timm', 'open_clip', 'torchvision'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
