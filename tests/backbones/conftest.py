"""Checkpoints of timm's models, made here."""

import pytest
import timm
import torch
from safetensors.torch import save_file

torch.serialization.set_crc32_options(False)  # half of the time it takes to save a checkpoint; nothing here reads them


@pytest.fixture
def checkpoint(tmp_path):
    """Saves a whole timm model with its classifier: (the model, its file)."""

    def save(name: str, suffix: str = ".safetensors", **arguments):
        torch.manual_seed(0)
        model = timm.create_model(name, **arguments).eval()
        path = tmp_path / f"{name}{suffix}"
        save_file(model.state_dict(), path) if suffix == ".safetensors" else torch.save(model.state_dict(), path)
        return model, path

    return save
