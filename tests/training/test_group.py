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
    alone = two_processes.compute(ALONE, tmp_path_factory.mktemp("alone"))
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    return alone, *(torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2))


def under(results, prefix):
    return [{name: tensor for name, tensor in each.items() if name.startswith(f"{prefix}/")} for each in results]


def distance(first, second):
    """Largest difference of each tensor, as a share of its largest value, or of 1 % of the largest of its kind.

    What hardly moves beside the others does so by rounding: a bias before a batch normalization.
    """
    kinds: dict[str, float] = {}
    sizes = {name: float(tensor.double().abs().max()) for name, tensor in second.items()}
    for name, size in sizes.items():
        kind = name.rpartition("/")[2].partition(" ")[0]
        kinds[kind] = max(kinds.get(kind, 1e-30), 1e-2 * size)
    return {
        name: float((first[name].double() - second[name].double()).abs().max())
        / max(size, kinds[name.rpartition("/")[2].partition(" ")[0]])
        for name, size in sizes.items()
    }


def assert_near(results, prefix, limits):
    """Both processes have the same bits, within the limits of what one process computes.

    Args:
        results: Those of the fixture.
        prefix: Test and recipe.
        limits: Largest distance by the first word of a name, or by "" for all others.
    """
    alone, first, second = under(results, prefix)
    assert set(alone) == set(first) == set(second)
    for name, gap in distance(first, alone).items():
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
        assert gap <= limits.get(name.rpartition("/")[2].partition(" ")[0], limits[""]), (name, gap)


@pytest.mark.parametrize("recipe", RECIPES)
def test_processes_that_share_a_batch_have_its_loss_and_gradient(results, recipe):
    assert any("gradient" in name.rpartition("/")[2] for name in under(results, f"gradient/{recipe}")[0])
    # The likelihood of pairs by untrained heads is near that of independent samples, so the loss is near zero.
    assert_near(results, f"gradient/{recipe}", {"loss": 1e-5 if recipe.startswith("consensus") else 1e-6, "": 1e-5})


@pytest.mark.parametrize("recipe", RECIPES)
def test_forty_steps_with_the_heads_over_processes(results, recipe):
    # Nothing but TEMI's weights depends on other heads.
    assert_near(results, f"heads/{recipe}", {"": 0 if recipe.startswith(("wmi", "pmi")) else 1e-5})


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if "authors" not in recipe])
def test_forty_steps_with_every_batch_over_processes(results, recipe):
    assert_near(results, f"batches/{recipe}", {"": 1e-5})


@pytest.mark.parametrize(
    ("part", "limit"), [("components", 1e-12), ("kmeans", 1e-6), ("default", 1e-5), ("unfinished", 1e-5)]
)
def test_what_else_processes_share(results, part, limit):
    assert_near(results, part + "/", {"exact": 0, "": limit})


def test_processes_end_a_training_at_the_same_step(results):
    parts = under(results, "ends/")
    alone, first, second = ({name.removeprefix("ends//"): part for name, part in each.items()} for each in parts)
    steps = [each.pop("steps of both processes") for each in (alone, first, second)]
    assert steps[0][0] > 0
    assert steps[1][0] == steps[1][1] == steps[2][0] > 0  # the same where the clock ended it
    assert set(alone) == set(first)  # checkpoints after the same steps
    assert 2 <= len({name.split()[1] for name in alone if name.startswith("checkpoint")}) < 10  # stopped early
    for name, expected in alone.items():
        torch.testing.assert_close(first[name], expected, rtol=1e-4, atol=1e-6)
        assert torch.equal(first[name], second[name])
