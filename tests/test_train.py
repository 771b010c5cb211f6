import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

from headclust import PRESETS, train
from headclust.errors import HeadclustError, SettingError
from headclust.heads import HeadEnsemble
from headclust.neighbors import nearest_neighbors
from headclust.seeding import torch_generator
from headclust.train import Schedule, Stage, train_stage

SMALL = {"objective": "temi", "n_clusters": 4, "n_heads": 3, "hidden_dim": 10, "bottleneck_dim": 6, "batch_size": 25}
STEPS = {"unit": "steps", "lr_batch": 0}


@pytest.fixture(scope="module")
def data(blobs):
    features = torch.tensor(blobs.features)
    return features, nearest_neighbors(features, 5).indices


def naive_head(state, head):
    """One head as the authors build it, with the parameters of an ensemble's head."""
    hidden, dim = state["hidden_weight"].shape[1:]
    clusters, bottleneck = state["prototype_direction"].shape[1:]
    mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
    last = parametrizations.weight_norm(nn.Linear(bottleneck, clusters, bias=False), dim=0)
    module = nn.ModuleDict({"mlp": mlp, "last": last})
    names = {
        "mlp.0.weight": "hidden_weight",
        "mlp.0.bias": "hidden_bias",
        "mlp.2.weight": "bottleneck_weight",
        "mlp.2.bias": "bottleneck_bias",
        "last.parametrizations.weight.original0": "prototype_length",
        "last.parametrizations.weight.original1": "prototype_direction",
    }
    module.load_state_dict({ours: state[theirs][head] for ours, theirs in names.items()})
    return module, {theirs: module.get_parameter(ours) for ours, theirs in names.items()}


def naive_logits(module, x):
    return module["last"](nn.functional.normalize(module["mlp"](x), dim=-1))


def learning_rates(stage, n_steps, warmup, batch_size):
    """The authors' cosine_scheduler: numpy.linspace from 0, then a cosine over what is left."""
    peak = stage.lr * batch_size / stage.lr_batch if stage.lr_batch else stage.lr
    steps = np.arange(n_steps - warmup)
    final = peak * stage.final_lr
    rest = final + 0.5 * (peak - final) * (1 + np.cos(np.pi * steps / max(1, len(steps))))
    return np.concatenate((np.linspace(0, peak, warmup), rest))[:n_steps]


def naive_training(stage, features, neighbors, seed):
    """Training as the authors write it, a head at a time: losses (steps, heads) and every head's teacher."""
    n_samples, size = len(features), min(stage.batch_size, len(features))
    per_epoch = n_samples // size
    unit = per_epoch if stage.unit == "epochs" else 1
    n_steps, warmup, frozen = (n * unit for n in (stage.length, stage.warmup, stage.freeze_last_layer))
    start = HeadEnsemble(
        feature_dim=features.shape[1],
        n_clusters=stage.n_clusters,
        n_heads=stage.n_heads,
        hidden_dim=stage.hidden_dim,
        bottleneck_dim=stage.bottleneck_dim,
        seed=seed,
    ).state_dict()
    students = [naive_head(start, head) for head in range(stage.n_heads)]
    teachers = copy.deepcopy(students)
    optimizers = []
    for _, named in students:
        biases = [p for name, p in named.items() if name.endswith("bias")]
        others = [p for name, p in named.items() if not name.endswith("bias")]
        groups = [{"params": others, "weight_decay": stage.weight_decay}, {"params": biases, "weight_decay": 0.0}]
        optimizers.append(torch.optim.AdamW(groups, lr=1.0))
    rates = learning_rates(stage, n_steps, warmup, size)
    generator = torch_generator(seed, 2)
    marginals = [torch.full((stage.n_clusters,), 1 / stage.n_clusters) for _ in students]
    beta, history = stage.objective_settings.get("beta", 0.6), []
    for step in range(n_steps):
        if step % per_epoch == 0:
            order = torch.randperm(n_samples, generator=generator)
        rows = order[(step % per_epoch) * size :][:size]
        partners = neighbors[rows, torch.randint(neighbors.shape[1], (size,), generator=generator)]
        views = features[rows], features[partners.long()]
        with torch.no_grad():
            q = [[torch.softmax(naive_logits(module, x) / 0.1, -1) for x in views] for module, _ in teachers]
            weight = sum((one * other).sum(-1) for one, other in q) / len(q)
        losses = []
        for head, (module, named) in enumerate(students):
            p = [torch.softmax(naive_logits(module, x) / 0.1, -1) for x in views]
            marginals[head] = 0.9 * marginals[head] + 0.1 * torch.cat(q[head]).mean(0)
            pmi = [torch.log(((p[v] * q[head][1 - v]) ** beta / marginals[head]).sum(-1)) for v in (0, 1)]
            loss = -(weight * (pmi[0] + pmi[1])).mean() / 2
            optimizers[head].zero_grad()
            (loss / len(students) if stage.reduction == "mean" else loss).backward()
            if step < frozen:
                named["prototype_direction"].grad = named["prototype_length"].grad = None
            for group in optimizers[head].param_groups:
                group["lr"] = rates[step]
            optimizers[head].step()
            losses.append(float(loss.detach()))
        with torch.no_grad():
            for (_, slow), (_, fast) in zip(teachers, students, strict=True):
                for name, parameter in slow.items():
                    parameter.mul_(stage.teacher_momentum).add_((1 - stage.teacher_momentum) * fast[name])
        history.append(losses)
    return np.array(history), [named for _, named in teachers]


@pytest.mark.parametrize(
    "settings",
    [
        {**STEPS, "length": 10, "warmup": 4, "freeze_last_layer": 2, "lr": 1e-2, "reduction": "sum"},
        {**STEPS, "length": 9, "warmup": 0, "freeze_last_layer": 0, "lr": 1e-2, "final_lr": 0.0, "weight_decay": 0.3},
        {"unit": "epochs", "length": 3, "warmup": 1, "freeze_last_layer": 1, "lr": 3e-2, "teacher_momentum": 0.8},
        {**STEPS, "length": 6, "warmup": 1, "freeze_last_layer": 0, "lr": 1e-2, "batch_size": 500},
        {**STEPS, "length": 6, "warmup": 1, "lr": 1e-2, "objective_settings": {"beta": 1.0}},
    ],
    ids=["steps", "decay", "epochs", "one-batch", "beta"],
)
def test_equal_to_a_loop_over_heads_with_adamw_each(data, settings):
    stage = Stage(**{**SMALL, **settings})
    trained = train_stage(stage, *data, seed=11)
    losses, teachers = naive_training(stage, *data, seed=11)
    ends = [record["step"] for record in trained.history]
    starts = [0, *ends[:-1]]
    wanted = [losses[start:end].mean(0) for start, end in zip(starts, ends, strict=True)]
    np.testing.assert_allclose([record["loss"] for record in trained.history], wanted, rtol=1e-4, atol=1e-5)
    assert ends[-1] == len(losses)
    for head, named in enumerate(teachers):
        for name, parameter in named.items():
            found = trained.heads.state_dict()[name][head]
            torch.testing.assert_close(
                found, parameter.detach(), rtol=2e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
            )


@given(
    length=st.integers(1, 12),
    warmup=st.integers(0, 12),
    per_epoch=st.integers(1, 5),
    final_lr=st.sampled_from([1.0, 0.0, 0.3]),
    unit=st.sampled_from(["epochs", "steps"]),
)
def test_learning_rates_are_linspace_then_the_authors_cosine(length, warmup, per_epoch, final_lr, unit):
    stage = Stage(objective="temi", unit=unit, length=length, warmup=warmup, final_lr=final_lr, lr=1.0, lr_batch=0)
    schedule = Schedule(stage, steps_per_epoch=per_epoch)
    factor = per_epoch if unit == "epochs" else 1
    assert (schedule.n_steps, schedule.warmup_steps) == (length * factor, warmup * factor)
    wanted = learning_rates(stage, schedule.n_steps, schedule.warmup_steps, batch_size=1)
    found = [schedule.lr_share(step) for step in range(schedule.n_steps)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@given(length=st.integers(1, 40), per_epoch=st.integers(1, 5), unit=st.sampled_from(["epochs", "steps"]))
def test_segments_are_epochs_or_tenths(length, per_epoch, unit):
    schedule = Schedule(Stage(objective="temi", unit=unit, length=length), steps_per_epoch=per_epoch)
    assert sum(schedule.segments) == schedule.n_steps
    if unit == "epochs":
        assert schedule.segments == [per_epoch] * length
    else:
        assert len(schedule.segments) == min(10, length)
        assert max(schedule.segments) - min(schedule.segments) <= 1


def test_adamw_decays_all_but_biases():
    stage = Stage(**SMALL, weight_decay=0.03)
    student = HeadEnsemble(feature_dim=12, n_clusters=4, n_heads=3, hidden_dim=10, bottleneck_dim=6)
    optimizer = train._optimizer(stage, student)
    assert isinstance(optimizer, torch.optim.AdamW)
    names = {id(p): name for name, p in student.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {name: 0.0 if name.endswith("_bias") else 0.03 for name in names.values()}
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.999)}
    assert {group["eps"] for group in optimizer.param_groups} == {1e-8}


def test_the_last_layer_is_frozen_at_first(data):
    start = HeadEnsemble(feature_dim=12, n_clusters=4, n_heads=3, hidden_dim=10, bottleneck_dim=6, seed=1).state_dict()
    common = {**SMALL, **STEPS, "warmup": 0, "lr": 1e-2, "teacher_momentum": 0.5}
    frozen = train_stage(Stage(**common, length=5, freeze_last_layer=5), *data, seed=1).heads.state_dict()
    thawed = train_stage(Stage(**common, length=5, freeze_last_layer=4), *data, seed=1).heads.state_dict()
    for name in start:
        last = name.startswith("prototype")
        assert torch.equal(frozen[name], start[name]) == last, name
        assert not torch.equal(thawed[name], start[name]), name


@pytest.mark.parametrize("n_samples", [2, 7, 24])
def test_fewer_images_than_a_batch_work(data, n_samples):
    features = data[0][:n_samples]
    neighbors = nearest_neighbors(features, min(5, n_samples - 1)).indices
    trained = train_stage(Stage(**SMALL, length=4, warmup=0), features, neighbors, seed=0)
    assert [record["step"] for record in trained.history] == [1, 2, 3, 4]  # an epoch is one batch of all
    assert np.isfinite(trained.losses).all()


def test_an_epoch_drops_what_fills_no_batch(data):
    trained = train_stage(Stage(**{**SMALL, "batch_size": 50}, length=2, warmup=0), *data, seed=0)
    assert [record["step"] for record in trained.history] == [2, 4]  # 120 samples: two batches of 50, 20 left


@pytest.mark.parametrize(("size", "n_samples"), [(25, 120), (500, 120)])
def test_the_learning_rate_is_scaled_to_the_batch(data, size, n_samples):
    stage = Stage(**{**SMALL, "batch_size": size}, length=2, warmup=0, lr=1e-3, lr_batch=256)
    trained = train_stage(stage, *data, seed=0)
    assert trained.history[-1]["lr"] == pytest.approx(1e-3 * min(size, n_samples) / 256)


def test_losses_are_those_of_the_last_segment(data):
    trained = train_stage(Stage(**SMALL, **STEPS, length=20, warmup=0, lr=1e-2), *data, seed=0)
    assert trained.losses == trained.history[-1]["loss"]
    assert len(trained.losses) == 3
    assert trained.losses != trained.history[0]["loss"]


def test_training_twice_gives_the_same_bits_and_another_seed_others(data):
    stage = Stage(**SMALL, length=2, warmup=0)
    first, second, other = (train_stage(stage, *data, seed=seed) for seed in (3, 3, 4))
    assert first.history == second.history
    for name, tensor in first.heads.state_dict().items():
        assert torch.equal(tensor, second.heads.state_dict()[name])
    assert first.history != other.history


def test_training_leaves_global_generators_alone(data):
    before = torch.get_rng_state()
    train_stage(Stage(**SMALL, length=1, warmup=0), *data, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_loss_that_is_no_number_is_told_in_one_line(data):
    stage = Stage(**SMALL, **STEPS, length=20, warmup=0, lr=1e30)
    with pytest.raises(HeadclustError, match=r"the loss stopped being finite before step \d+: lower lr"):
        train_stage(stage, *data, seed=0)


def test_the_authors_preset_is_the_readme_command():
    # methods.md 1b: the README's flags, and the argument parser's defaults where it is silent.
    (stage,) = PRESETS["temi"]["authors"]
    assert dataclasses.asdict(stage) == {
        "objective": "temi",
        "objective_settings": {},  # beta 0.6, both temperatures 0.1, momentum 0.9 are the objective's own defaults
        "n_clusters": 0,
        "n_heads": 16,
        "hidden_dim": 512,
        "bottleneck_dim": 256,
        "transform": "none",
        "n_components": 256,
        "n_neighbors": 50,
        "batch_size": 1024,
        "unit": "epochs",
        "length": 100,
        "warmup": 20,
        "freeze_last_layer": 1,
        "lr": 1e-4,
        "lr_batch": 256,
        "final_lr": 1.0,
        "weight_decay": 1e-4,
        "teacher_momentum": 0.996,
        "reduction": "mean",
    }
    objective = train.OBJECTIVES["temi"](n_heads=1, n_clusters=2)
    found = (
        objective.beta,
        objective.student_temperature,
        objective.temperature,
        objective.marginal_momentum,
    )
    assert found == (0.6, 0.1, 0.1, 0.9)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("objective", ("pmi",)),
        ("transform", ("whiten",)),
        ("unit", ("days",)),
        ("reduction", ("max",)),
        ("teacher_momentum", (1.0, 0.0, -1.0, math.nan)),
        ("lr", (0.0, -1.0, math.nan)),
        ("final_lr", (-0.1, math.nan)),
        ("weight_decay", (-1e-9,)),
        *((name, (0, -1)) for name in ("n_heads", "hidden_dim", "bottleneck_dim", "n_components", "n_neighbors")),
        *((name, (0, -1)) for name in ("batch_size", "length")),
        *((name, (-1,)) for name in ("n_clusters", "warmup", "freeze_last_layer", "lr_batch")),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, values):
    for value in values:
        with pytest.raises(SettingError, match=rf"^{name} is .*: wanted "):
            Stage(**{"objective": "temi", name: value})


def test_an_objectives_settings_are_checked_before_anything_is_trained():
    with pytest.raises(SettingError, match=r"^beta is 2: wanted"):
        Stage(objective="temi", objective_settings={"beta": 2})
