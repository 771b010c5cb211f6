"""Two processes of torch.distributed (gloo, CPU) against one, for every recipe with gradient training."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import two_processes

from headclust.group import ALONE

WORKER = Path(two_processes.__file__)
RECIPES = sorted(two_processes.stages())


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of one process, then of both of two processes, started once for all tests."""
    folder = tmp_path_factory.mktemp("group")
    command = [sys.executable, str(WORKER)]
    processes = [
        subprocess.Popen([*command, str(rank), "2", str(folder)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    alone = two_processes.compute(ALONE)
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    return alone, *(torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2))


def under(results, prefix):
    return [{name: tensor for name, tensor in each.items() if name.startswith(f"{prefix}/")} for each in results]


def distance(first, second):
    """Largest difference as a share of the largest value."""
    return float((first.double() - second.double()).abs().max() / second.double().abs().max().clamp_min(1e-30))


@pytest.mark.parametrize("recipe", RECIPES)
def test_processes_that_share_a_batch_have_its_loss_and_gradient(results, recipe):
    alone, first, second = under(results, f"gradient/{recipe}")
    assert set(alone) == set(first)
    assert any("gradient" in name for name in alone)
    for name, expected in alone.items():
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
        limit = 1e-6 if name.endswith("loss") else 1e-5
        assert distance(first[name], expected) <= limit, name
