"""Requirements on every objective in OBJECTIVES."""

import copy
import inspect
import math

import pytest
import torch
from torch import nn

from headclust.methods import PRESETS
from headclust.model.heads import HEADS, HeadOutput, select
from headclust.training.objectives import OBJECTIVES, Batch
from headclust.training.parts import HEAD_SETTINGS
from headclust.training.sampling import Samples
from headclust.training.stages import Stage, build_objective, part_defaults
from headclust.training.train import train_stage

NAMES = sorted(OBJECTIVES)
HEADS_, BATCH, CLUSTERS, DIM = 3, 16, 5, 6
# In these a head's loss depends on the other heads. They are not left out: see the tests of a head alone.
SHARED = {"temi": "a pair's weight is the mean over all heads of how far each one's teacher agrees on it"}
# Settings with which a few random samples are enough to see something.
SETTINGS = {
    "self-label": {"threshold": 0.25},  # else nothing is confident, and nothing learned
    "imc-swav": {"n_prototypes": 12, "projection_dim": 7, "n_augmented": 2},  # else a thousand prototypes
}
# In these random draws within the objective tell clusters or heads apart unless they are switched off.
NO_DRAWS = {"turtle": {"warm_start": True}}


def build(name, *, n_heads=HEADS_, n_clusters=CLUSTERS, seed=0, **settings):
    """The objective, with the further arguments that its signature names."""
    parameters = inspect.signature(OBJECTIVES[name]).parameters
    more = {key: value for key, value in (("feature_dims", (DIM,)), ("seed", seed)) if key in parameters}
    given = {**SETTINGS.get(name, {}), **settings}
    return OBJECTIVES[name](n_heads=n_heads, n_clusters=n_clusters, **more, **given)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_batch(objective, *, batch=BATCH, seed=0):
    """Views of random samples that lie near each other."""
    views = len(objective.views)
    features = normal(1, batch, DIM, seed=seed) + 0.3 * normal(views, batch, DIM, seed=seed + 1)
    return Batch((features,), torch.arange(batch).expand(views, batch))


def make_output(logits, *, seed=0, grad=False):
    """A head's output with these logits; one space, and an embedding of its own."""
    logits = logits.clone().requires_grad_(grad)
    embedding = nn.functional.normalize(normal(*logits.shape[:-1], 8, seed=seed), dim=-1).requires_grad_(grad)
    return HeadOutput(logits, embedding, (logits,))


def run(objective, student_logits, teacher_logits, *, seed=0, progress=0.5):
    """Losses, and the gradients of their sum by the logits and every other tensor that requires one."""
    student = make_output(student_logits, seed=seed, grad=True)
    teacher = make_output(teacher_logits, seed=seed + 1) if objective.uses_teacher else None
    batch = make_batch(objective, batch=student_logits.shape[2], seed=seed)
    objective.zero_grad()
    loss = objective(batch, student, teacher, progress)
    loss.sum().backward()
    others = [student.embedding.grad, *(parameter.grad for parameter in objective.parameters())]
    return loss.detach(), student.logits.grad, [gradient for gradient in others if gradient is not None]


def random_logits(objective, *, n_heads=HEADS_, batch=BATCH, n_clusters=CLUSTERS, scale=1.0, seed=0):
    shape = len(objective.views), n_heads, batch, n_clusters
    return [normal(*shape, seed=seed + more) * scale for more in (0, 1000)]


def assert_finite(loss, gradient, others):
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()
    assert all(torch.isfinite(other).all() for other in others)


def head_kind(name):
    """The kind of head that a method gives this objective."""
    for presets in PRESETS.values():
        for recipe in presets.values():
            if isinstance(recipe[0], Stage) and any(stage.objective == name for stage in recipe):
                return recipe[0].head
    return "mlp"


def head_settings(kind):
    return {name: min(12, value) for name, value in part_defaults(HEAD_SETTINGS[kind]).items() if name.endswith("_dim")}


@pytest.mark.parametrize("name", NAMES)
def test_one_loss_a_head_of_its_own(name):
    objective = build(name)
    student_logits, teacher_logits = random_logits(objective)
    student = make_output(student_logits, grad=True)
    teacher = make_output(teacher_logits, grad=True) if objective.uses_teacher else None
    batch = make_batch(objective)
    loss = objective(batch, student, teacher, 0.5)
    assert loss.shape == (HEADS_,)
    assert loss.dtype == torch.float32
    assert len(set(loss.tolist())) == HEADS_  # not a mean over heads
    loss[1].backward()
    touched = student.logits.grad.abs().amax((0, 2, 3)) > 0
    assert touched.tolist() == [False, True, False]
    assert teacher is None or teacher.logits.grad is None
    assert not any(space.requires_grad for space in batch.features)


@pytest.mark.parametrize("name", NAMES)
def test_attributes(name):
    objective = build(name)
    assert isinstance(objective, nn.Module)
    assert set(objective.views) <= {"anchor", "neighbor", "plain", "augmented", "strong"}
    assert isinstance(objective.uses_teacher, bool)
    assert objective.temperature > 0
    for tensor in objective.state_dict().values():
        assert tensor.shape[0] == HEADS_
    for step in range(3):
        run(objective, *random_logits(objective, seed=step))
    for values in objective.summary().values():
        assert values.shape == (HEADS_,)
        assert torch.isfinite(values).all()
        assert not values.requires_grad


RECIPES = [recipe for presets in PRESETS.values() for recipe in presets.values()]
STAGES = [stage for recipe in RECIPES for stage in recipe if isinstance(stage, Stage)]
STAGES += [
    Stage(objective="temi", objective_settings={"teacher_temperature": 0.7}),
    Stage(objective="temi-scan", objective_settings={"teacher_temperature": 0.3}),
    *(Stage(objective="clc", objective_settings={"positive": positive}) for positive in ("augmented", "neighbor")),
    Stage(objective="clc", objective_settings={"cluster_temperature": 0.2}),
    Stage(objective="imc-swav", head="batchnorm", objective_settings={"n_augmented": 1, "n_partners": 2}),
]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.objective)
def test_traits_are_those_of_an_objective_with_the_same_settings(stage):
    objective = build_objective(stage, n_heads=2, n_clusters=3, feature_dims=(4,), seed=0)
    assert stage.traits.views == objective.views
    assert stage.traits.uses_teacher == objective.uses_teacher
    assert stage.traits.temperature == objective.temperature
    assert stage.traits.reports_confidence == ("confident" in objective.summary())


def test_every_objective_has_its_traits_tested():
    assert {stage.objective for stage in STAGES} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_state_changes_only_in_training_mode(name):
    objective = build(name)
    for step in range(2):
        run(objective, *random_logits(objective, seed=step))
    before = copy.deepcopy(objective.state_dict())
    objective.eval()
    logits = random_logits(objective, seed=7)
    losses = [run(objective, *logits)[0] for _ in range(2)]
    assert torch.equal(*losses)
    for key, tensor in objective.state_dict().items():
        assert torch.equal(tensor, before[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_global_generators_are_left_alone(name):
    before = torch.get_rng_state()
    objective = build(name)
    run(objective, *random_logits(objective))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_the_ends_of_the_schedule(name, progress):
    objective = build(name)
    assert_finite(*run(objective, *random_logits(objective), progress=progress))


@pytest.mark.parametrize("name", NAMES)
def test_permuting_clusters_changes_nothing(name):
    objective = build(name, **NO_DRAWS.get(name, {}))
    other = copy.deepcopy(objective)
    order = torch.tensor([3, 0, 4, 1, 2])
    # Of what an objective keeps, the second axis is the clusters where it is as long as there are clusters.
    state = {key: t[:, order] if t.shape[1:2] == (CLUSTERS,) else t for key, t in objective.state_dict().items()}
    other.load_state_dict(state)
    for step in range(2):
        student, teacher = random_logits(objective, seed=step)
        loss, gradient, others = run(objective, student, teacher)
        again, permuted, others_again = run(other, student[..., order], teacher[..., order])
        torch.testing.assert_close(again, loss, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(permuted, gradient[..., order], rtol=1e-4, atol=1e-5)
        for first, second in zip(others, others_again, strict=True):
            torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e3, 1e6])
@pytest.mark.parametrize("clusters", [2, 10, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_saturated_logits_stay_finite(name, clusters, scale):
    objective = build(name, n_heads=2, n_clusters=clusters)
    for step in range(3):
        logits = random_logits(objective, n_heads=2, batch=8, n_clusters=clusters, scale=scale, seed=step)
        assert_finite(*run(objective, *logits))
    assert all(torch.isfinite(tensor).all() for tensor in objective.state_dict().values())


@pytest.mark.parametrize("clusters", [1, 2, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_clusters(name, clusters):
    objective = build(name, n_heads=2, n_clusters=clusters)
    assert_finite(*run(objective, *random_logits(objective, n_heads=2, batch=8, n_clusters=clusters)))


@pytest.mark.parametrize("name", NAMES)
def test_dead_clusters_stay_finite(name):
    objective = build(name)
    logits, _ = random_logits(objective)
    alive, gone = logits.clone(), logits.clone()
    alive[..., 2:] -= 1e4  # two clusters of five are left
    gone[..., :4] -= 1e4  # and now only one of the dead
    for _ in range(30):
        assert_finite(*run(objective, alive, alive))
    for student, teacher in ((gone, alive), (alive, gone), (gone, gone), (logits, logits)):
        assert_finite(*run(objective, student, teacher))


@pytest.mark.parametrize("clusters", [2, 60])
@pytest.mark.parametrize("name", NAMES)
def test_one_sample_a_cluster(name, clusters):
    objective = build(name, n_heads=2, n_clusters=clusters)
    logits = (torch.eye(clusters) * 10).expand(len(objective.views), 2, clusters, clusters)
    assert_finite(*run(objective, logits, logits))


@pytest.mark.parametrize("name", NAMES)
def test_a_single_sample(name):
    objective = build(name)
    assert_finite(*run(objective, *random_logits(objective, batch=1)))


def steps_of(objective, student, teacher):
    """Change of every tensor of the heads and of the objective in two steps of gradient descent."""
    before = {key: value.clone() for key, value in {**student.state_dict(), **objective.state_dict()}.items()}
    parameters = [*student.parameters(), *objective.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=1.0)  # far enough for float32 to tell steps to 1e-5
    for step in range(2):
        batch = make_batch(objective, seed=step)
        with torch.no_grad():
            slow = teacher(*batch.features) if objective.uses_teacher else None
        optimizer.zero_grad()
        objective(batch, student(*batch.features), slow, 0.5).sum().backward()
        optimizer.step()
    after = {**student.state_dict(), **objective.state_dict()}
    return {key: (after[key] - before[key]).float() for key in before}


def far_apart(name, *, alike):
    """The largest difference between a head's steps alone and within the ensemble, as a share of that step.

    Args:
        name: The objective.
        alike: Whether all heads have the same teacher.
    """
    kind = HEADS[head_kind(name)]
    settings = head_settings(kind.kind)
    student, teacher = (
        kind(feature_dims=(DIM,), n_clusters=CLUSTERS, n_heads=HEADS_, seed=seed, **settings) for seed in (0, 1)
    )
    if alike:
        teacher.load_state_dict({key: t[:1].expand_as(t) for key, t in teacher.state_dict().items()})
    objective = build(name, **NO_DRAWS.get(name, {}))
    worst = 0.0
    alone = []
    for head in range(HEADS_):
        single = build(name, n_heads=1, **NO_DRAWS.get(name, {}))
        single.load_state_dict(select(objective.state_dict(), head))
        copies = [kind.from_state(select(heads.state_dict(), head)) for heads in (student, teacher)]
        alone.append(steps_of(single, *copies))
    together = steps_of(objective, student, teacher)
    assert max(float(step.abs().max()) for step in together.values()) > 1e-4  # something happens
    for head, steps in enumerate(alone):
        # What hardly moves beside the others does so by rounding: a bias before a batch normalization, for one.
        least = 1e-2 * max(float(step.abs().max()) for step in steps.values())
        for key, step in steps.items():
            gap = float((together[key][head] - step[0]).abs().max())
            worst = max(worst, gap / max(least, float(step.abs().max())))
    return worst


@pytest.mark.parametrize("name", NAMES)
def test_steps_of_a_head_alone_equal_its_steps_within_the_ensemble(name):
    # The teachers' agreement is shared: with one teacher for all heads, there is no difference.
    assert far_apart(name, alike=name in SHARED) < 1e-5


@pytest.mark.parametrize("name", sorted(SHARED))
def test_shared_objectives_depend_on_the_other_heads(name):
    assert far_apart(name, alike=False) > 1e-3


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SHARED)))
def test_the_first_heads_of_a_larger_ensemble_train_as_they_would_without_the_others(name):
    features = normal(40, DIM)
    neighbors = torch.cdist(features, features).fill_diagonal_(math.inf).topk(4, largest=False).indices
    samples = Samples((features,), neighbors, (features + 0.1 * normal(3, 40, DIM, seed=1),))
    kind = head_kind(name)
    common = {"n_clusters": CLUSTERS, "unit": "steps", "length": 6, "warmup": 0, "lr_batch": 0, "lr": 0.1}
    common |= {"freeze_last_layer": 0, "batch_size": 16, "optimizer": "sgd", "reduction": "sum"}
    common |= {"head": kind, "head_settings": head_settings(kind), "objective_settings": SETTINGS.get(name, {})}
    few, many = (train_stage(Stage(objective=name, n_heads=n_heads, **common), samples, seed=3) for n_heads in (2, 4))
    for first, second in zip(few.history, many.history, strict=True):
        assert first["loss"] == pytest.approx(second["loss"][:2], rel=1e-4, abs=1e-5)
    for key, tensor in few.heads.state_dict().items():
        torch.testing.assert_close(many.heads.state_dict()[key][:2], tensor, rtol=1e-4, atol=1e-5)
