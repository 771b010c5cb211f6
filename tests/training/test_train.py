import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from headclust.errors import HeadclustError
from headclust.graph.neighbors import nearest_neighbors
from headclust.model.heads import HeadEnsemble
from headclust.seeding import torch_generator
from headclust.training import stopping, train
from headclust.training.sampling import Samples
from headclust.training.stages import Stage
from headclust.training.stopping import PerHeadEarlyStopping
from headclust.training.train import train_stage

HEAD = {"hidden_dim": 10, "bottleneck_dim": 6}
SMALL = {"objective": "temi", "n_clusters": 4, "n_heads": 3, "head_settings": HEAD, "batch_size": 25}
STEPS = {"unit": "steps", "lr_batch": 0}


@pytest.fixture(scope="module")
def data(blobs):
    features = torch.tensor(blobs.features)
    return Samples((features,), nearest_neighbors(features, 5).indices)


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
    module.load_state_dict({torch_name: state[name][head] for torch_name, name in names.items()})
    return module, {name: module.get_parameter(torch_name) for torch_name, name in names.items()}


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
        feature_dims=(features.shape[1],),
        n_clusters=stage.n_clusters,
        n_heads=stage.n_heads,
        **stage.head_settings,
        seed=seed,
    ).state_dict()
    students = [naive_head(start, head) for head in range(stage.n_heads)]
    teachers = copy.deepcopy(students)
    optimizers = []
    for _, named in students:
        biases = [p for name, p in named.items() if name.endswith("bias")]
        others = [p for name, p in named.items() if not name.endswith("bias")]
        groups = [
            {"params": others, "weight_decay": stage.optimizer_settings.get("weight_decay", 1e-4)},
            {"params": biases, "weight_decay": 0.0},
        ]
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
            weight = sum((anchor * neighbor).sum(-1) for anchor, neighbor in q) / len(q)
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
        {
            **STEPS,
            "length": 9,
            "warmup": 0,
            "freeze_last_layer": 0,
            "lr": 1e-2,
            "final_lr": 0.0,
            "optimizer_settings": {"weight_decay": 0.3},
        },
        {"unit": "epochs", "length": 3, "warmup": 1, "freeze_last_layer": 1, "lr": 3e-2, "teacher_momentum": 0.8},
        {**STEPS, "length": 6, "warmup": 1, "freeze_last_layer": 0, "lr": 1e-2, "batch_size": 500},
        {**STEPS, "length": 6, "warmup": 1, "lr": 1e-2, "objective_settings": {"beta": 1.0}},
    ],
    ids=["steps", "decay", "epochs", "one-batch", "beta"],
)
def test_equal_to_a_loop_over_heads_with_adamw_each(data, settings):
    stage = Stage(**{**SMALL, **settings})
    trained = train_stage(stage, data, seed=11)
    losses, teachers = naive_training(stage, data.spaces[0], data.neighbors, seed=11)
    ends = [record["step"] for record in trained.history]
    starts = [0, *ends[:-1]]
    expected = [losses[start:end].mean(0) for start, end in zip(starts, ends, strict=True)]
    np.testing.assert_allclose([record["loss"] for record in trained.history], expected, rtol=1e-4, atol=1e-5)
    assert ends[-1] == len(losses)
    for head, named in enumerate(teachers):
        for name, parameter in named.items():
            actual = trained.heads.state_dict()[name][head]
            torch.testing.assert_close(
                actual, parameter.detach(), rtol=2e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_the_last_layer_is_frozen_at_first(data):
    start = HeadEnsemble(
        feature_dims=(12,), n_clusters=4, n_heads=3, hidden_dim=10, bottleneck_dim=6, seed=1
    ).state_dict()
    common = {**SMALL, **STEPS, "warmup": 0, "lr": 1e-2, "teacher_momentum": 0.5}
    frozen = train_stage(Stage(**common, length=5, freeze_last_layer=5), data, seed=1).heads.state_dict()
    thawed = train_stage(Stage(**common, length=5, freeze_last_layer=4), data, seed=1).heads.state_dict()
    for name in start:
        last = name.startswith("prototype")
        assert torch.equal(frozen[name], start[name]) == last, name
        assert not torch.equal(thawed[name], start[name]), name


@pytest.mark.parametrize("n_samples", [2, 7, 24])
def test_fewer_images_than_a_batch_work(data, n_samples):
    features = data.spaces[0][:n_samples]
    samples = Samples((features,), nearest_neighbors(features, min(5, n_samples - 1)).indices)
    trained = train_stage(Stage(**SMALL, length=4, warmup=0), samples, seed=0)
    assert [record["step"] for record in trained.history] == [1, 2, 3, 4]  # an epoch is one batch of all
    assert np.isfinite(trained.losses).all()


def test_an_epoch_drops_an_incomplete_batch(data):
    trained = train_stage(Stage(**{**SMALL, "batch_size": 50}, length=2, warmup=0), data, seed=0)
    assert [record["step"] for record in trained.history] == [2, 4]  # 120 samples: two batches of 50, 20 left


@pytest.mark.parametrize(("size", "n_samples"), [(25, 120), (500, 120)])
def test_the_learning_rate_is_scaled_to_the_batch(data, size, n_samples):
    stage = Stage(**{**SMALL, "batch_size": size}, length=2, warmup=0, lr=1e-3, lr_batch=256)
    trained = train_stage(stage, data, seed=0)
    assert trained.history[-1]["lr"] == pytest.approx(1e-3 * min(size, n_samples) / 256)


def test_losses_are_those_of_the_last_segment(data):
    trained = train_stage(Stage(**SMALL, **STEPS, length=20, warmup=0, lr=1e-2), data, seed=0)
    assert trained.losses == trained.history[-1]["loss"]
    assert len(trained.losses) == 3
    assert trained.losses != trained.history[0]["loss"]


@pytest.mark.usefixtures("two_threads")
def test_training_twice_gives_the_same_bits_and_another_seed_others(data):
    stage = Stage(**SMALL, length=2, warmup=0)
    first, second, other = (train_stage(stage, data, seed=seed) for seed in (3, 3, 4))
    assert first.history == second.history
    for name, tensor in first.heads.state_dict().items():
        assert torch.equal(tensor, second.heads.state_dict()[name])
    assert first.history != other.history


def test_training_leaves_global_generators_alone(data):
    before = torch.get_rng_state()
    train_stage(Stage(**SMALL, length=1, warmup=0), data, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_loss_that_is_not_finite_is_a_one_line_error(data):
    stage = Stage(**SMALL, **STEPS, length=20, warmup=0, lr=1e30)
    with pytest.raises(HeadclustError, match=r"the loss stopped being finite before step \d+: lower lr"):
        train_stage(stage, data, seed=0)


def test_checkpoints_are_the_best_head_by_loss_after_so_many_records(data):
    stage = Stage(**SMALL, **STEPS, length=50, warmup=0, lr=1e-2, checkpoint_every=4)
    trained = train_stage(stage, data, seed=0)
    assert [step for step, _ in trained.checkpoints] == [20, 40, 50]
    best = int(np.argmin(trained.losses))
    for name, tensor in trained.checkpoints[-1][1].state_dict().items():
        assert torch.equal(tensor, trained.heads.state_dict()[name][best : best + 1])
    assert train_stage(Stage(**SMALL, **STEPS, length=2, warmup=0), data, seed=0).checkpoints == []


def test_training_stops_when_its_time_is_up(data, capsys):
    stage = Stage(**SMALL, **STEPS, length=10**6, warmup=0, lr=1e-2, max_seconds=0.2)
    trained = train_stage(stage, data, seed=0)
    reached = trained.history[-1]["step"]
    assert 1 <= reached < 10**5
    assert trained.history[-1]["n_steps"] == 10**6
    assert np.isfinite(trained.losses).all()
    assert f"stopped after 0.2 s, at step {reached} of 1000000" in capsys.readouterr().err


@pytest.mark.parametrize("length", [1, 2])
def test_a_time_limit_that_passes_in_the_last_segment_ends_the_training(data, length):
    trained = train_stage(Stage(**{**SMALL, "batch_size": 10}, length=length, max_seconds=1e-9), data, seed=0)
    assert [record["step"] for record in trained.history] == [1]


def test_a_head_is_not_chosen_by_the_few_steps_before_the_clock(data, monkeypatch):
    # Once by a single batch, where the clock stopped training right after a record.
    times = iter([0.0, *[0.0] * 22, *[100.0] * 10])
    monkeypatch.setattr(stopping.time, "monotonic", lambda: next(times))
    stage = Stage(**SMALL, **STEPS, length=100, warmup=0, lr=1e-2, max_seconds=50)
    of_steps = []
    real = train._update_
    monkeypatch.setattr(train, "_update_", lambda *given, **more: of_steps.append(real(*given, **more)) or of_steps[-1])
    trained = train_stage(stage, data, seed=0)
    monkeypatch.undo()
    steps = train_stage(Stage(**SMALL, **STEPS, length=100, warmup=0, lr=1e-2), data, seed=0).history
    assert [record["step"] for record in trained.history] == [10, 20, 22]
    assert trained.history[:2] == steps[:2]
    # As many steps as a full segment has: the last two, and eight of the ten before them.
    assert trained.losses == pytest.approx(torch.stack(of_steps[-10:]).mean(0).tolist(), rel=1e-6)


def test_the_end_is_a_checkpoint_wherever_it_comes(data):
    stage = Stage(**SMALL, **STEPS, length=10**6, warmup=0, lr=1e-2, max_seconds=0.1, checkpoint_every=20)
    trained = train_stage(stage, data, seed=0)
    assert [step for step, _ in trained.checkpoints] == [trained.history[-1]["step"]]


def test_a_checkpoint_is_of_the_head_that_would_be_used(data):
    stage = Stage(**SMALL, **STEPS, length=20, warmup=0, lr=1e-2, checkpoint_every=5)
    for head in range(3):
        trained = train_stage(stage, data, seed=0, chosen=head)
        for name, tensor in trained.checkpoints[-1][1].state_dict().items():
            assert torch.equal(tensor, trained.heads.state_dict()[name][head : head + 1])


def test_a_step_beyond_float32_is_a_one_line_error(data, monkeypatch):
    # Once a RuntimeError, of torch's own words.
    def step(self):
        raise RuntimeError("value cannot be converted to type float without overflow")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(HeadclustError, match=r"without overflow: lower lr .it is 0\.01"):
        train_stage(Stage(**SMALL, **STEPS, length=1, warmup=0, lr=1e-2), data, seed=0)


def test_a_stage_goes_on_from_given_heads_and_leaves_them_alone(data):
    first = train_stage(Stage(**SMALL, **STEPS, length=3, warmup=0, lr=1e-2), data, seed=0)
    before = {name: tensor.clone() for name, tensor in first.heads.state_dict().items()}
    stage = Stage(objective="temi", n_heads=9, **STEPS, length=1, warmup=0, lr=1e-6, batch_size=25)
    second = train_stage(stage, data, seed=0, start=first.heads, position=1)
    assert len(second.losses) == 3
    for name, tensor in second.heads.state_dict().items():
        assert torch.equal(first.heads.state_dict()[name], before[name])
        torch.testing.assert_close(tensor, before[name], atol=1e-4, rtol=1e-4)
    others = train_stage(stage, data, seed=0, start=first.heads, position=2)
    assert others.losses != second.losses  # other batches


def heads_at(value):
    heads = HeadEnsemble(feature_dims=(2,), n_clusters=2, n_heads=2, hidden_dim=2, bottleneck_dim=2)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.fill_(value)
    return heads


def test_a_stopped_head_is_restored():
    stopping, heads = PerHeadEarlyStopping(2, n_heads=2), heads_at(0.0)
    shares = [(0.5, 0.1), (0.5, 0.2), (0.5004, 0.3), (0.9, 0.3), (0.9, 0.3)]  # 0.0004 is no growth
    done = []
    for value, confident in enumerate(shares):
        with torch.no_grad():
            for parameter in heads.parameters():
                parameter.fill_(value)
        done.append(stopping.all_stopped(list(confident), heads))
    assert done == [False, False, False, False, True]
    stopping.restore_(heads)
    for parameter in heads.parameters():
        assert (parameter[0] == 2).all()  # though it would have grown again: alone it had stopped
        assert (parameter[1] == 4).all()


def test_no_patience_goes_to_the_end():
    stopping = PerHeadEarlyStopping(0, n_heads=2)
    assert not any(stopping.all_stopped([0.0, 0.0], heads_at(0.0)) for _ in range(5))
    assert not PerHeadEarlyStopping(1, n_heads=2).all_stopped(None, heads_at(0.0))
