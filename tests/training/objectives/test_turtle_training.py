"""Training with the TURTLE objective against a loop written as the authors write it, with torch's own parts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from headclust.model.heads.task import TaskHeads
from headclust.seeding import BATCH_STREAM, OBJECTIVE_STREAM, torch_generator
from headclust.training.sampling import Samples
from headclust.training.stages import Stage
from headclust.training.train import train_stage


def naive_restart(stream, clusters, dims):
    """A linear layer a space with values from a head's stream, and torch's own Adam."""
    layers = [nn.Linear(dim, clusters) for dim in dims]
    with torch.no_grad():
        for layer, dim in zip(layers, dims, strict=True):
            drawn = torch.empty(clusters, dim + 1).uniform_(-(dim**-0.5), dim**-0.5, generator=stream)
            layer.weight.copy_(drawn[:, :-1])
            layer.bias.copy_(drawn[:, -1])
    return layers


def naive_training(stage, spaces, seed):
    """Training as the authors write it, a restart at a time: losses (steps, heads) and every head's task encoder."""
    dims, clusters = [space.shape[1] for space in spaces], stage.n_clusters
    chosen = {"gamma": 10.0, "inner_steps": 10, "inner_lr": 1e-3, "warm_start": False} | stage.objective_settings
    start = TaskHeads(feature_dims=dims, n_clusters=clusters, n_heads=stage.n_heads, seed=seed).state_dict()
    history, encoders = [], []
    for head in range(stage.n_heads):
        encoder = [parametrizations.weight_norm(nn.Linear(dim, clusters), dim=0) for dim in dims]
        for space, layer in enumerate(encoder):
            length, direction, bias = (start[f"space{space}_{name}"][head] for name in ("length", "direction", "bias"))
            named = {"parametrizations.weight.original0": length, "parametrizations.weight.original1": direction}
            layer.load_state_dict({**named, "bias": bias})
        optimizer = torch.optim.Adam([p for layer in encoder for p in layer.parameters()], lr=stage.lr)
        stream, batches = torch_generator(seed, OBJECTIVE_STREAM, head), torch_generator(seed, BATCH_STREAM)
        inner = naive_restart(stream, clusters, dims)
        inner_optimizer = torch.optim.Adam([p for layer in inner for p in layer.parameters()], lr=chosen["inner_lr"])
        losses, rows = [], []
        for _ in range(stage.length):
            if len(rows) < stage.batch_size:
                rows = torch.randperm(len(spaces[0]), generator=batches).tolist()
            taken, rows = rows[: stage.batch_size], rows[stage.batch_size :]
            z = [space[taken] for space in spaces]
            per_space = [F.softmax(layer(x), dim=1) for layer, x in zip(encoder, z, strict=True)]
            labels = torch.stack(per_space).mean(0)
            if not chosen["warm_start"]:
                inner = naive_restart(stream, clusters, dims)
                parameters = [p for layer in inner for p in layer.parameters()]
                inner_optimizer = torch.optim.Adam(parameters, lr=chosen["inner_lr"])
            for _ in range(chosen["inner_steps"]):
                inner_optimizer.zero_grad()
                sum(F.cross_entropy(w(x), labels.detach()) for w, x in zip(inner, z, strict=True)).backward()
                inner_optimizer.step()
            error = sum(F.cross_entropy(w(x).detach(), labels) for w, x in zip(inner, z, strict=True))
            entropy = sum(torch.special.entr(p.mean(0)).sum() for p in per_space)
            loss = error - chosen["gamma"] * entropy
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        history.append(losses)
        encoders.append(encoder)
    return np.array(history).T, encoders


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("n_spaces", [1, 2])
@pytest.mark.parametrize("more", [{}, {"inner_steps": 3, "inner_lr": 0.05, "gamma": 2.0}])
def test_training_equals_a_plain_loop_over_restarts(warm_start, n_spaces, more):
    generator = torch.Generator().manual_seed(0)
    spaces = tuple(torch.randn(40, dim, generator=generator) for dim in (6, 4)[:n_spaces])
    stage = Stage(
        objective="turtle",
        objective_settings={"warm_start": warm_start, **more},
        head="task",
        n_clusters=4,
        n_heads=3,
        batch_size=15,
        unit="steps",
        length=20,
        warmup=0,
        freeze_last_layer=0,
        lr=0.01,
        lr_batch=0,
        optimizer="adam",
        reduction="sum",
    )
    trained = train_stage(stage, Samples(spaces), seed=7)
    losses, encoders = naive_training(stage, spaces, 7)
    actual = np.array([record["loss"] for record in trained.history])
    np.testing.assert_allclose(actual, losses.reshape(10, 2, 3).mean(1), rtol=1e-4)
    for head, encoder in enumerate(encoders):
        for space, layer in enumerate(encoder):
            for name, expected in (
                ("direction", layer.parametrizations.weight.original1),
                ("length", layer.parametrizations.weight.original0),
                ("bias", layer.bias),
            ):
                parameter = trained.heads.get_parameter(f"space{space}_{name}")[head]
                torch.testing.assert_close(parameter, expected.detach(), rtol=1e-4, atol=1e-4)
