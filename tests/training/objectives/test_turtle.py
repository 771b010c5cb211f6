import copy
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput, select
from headclust.model.heads.task import TaskHeads
from headclust.training.objectives import OBJECTIVES, Batch
from headclust.training.objectives.turtle import Turtle

PARITY = {
    name: torch.from_numpy(value)
    for name, value in np.load(Path(__file__).parents[1] / "parity" / "turtle.npz").items()
}
DIMS = (5, 3)


def make(n_heads=2, n_clusters=4, dims=DIMS, seed=0, **settings):
    return Turtle(n_heads=n_heads, n_clusters=n_clusters, feature_dims=dims, seed=seed, **settings)


def as_batch(*spaces):
    """A batch of one view of spaces (batch, dim)."""
    return Batch(tuple(space[None] for space in spaces), torch.arange(len(spaces[0]))[None])


def random_spaces(batch=9, dims=DIMS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(batch, dim, generator=generator) for dim in dims)


def random_logits(heads=2, batch=9, clusters=4, n_spaces=2, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed + 100)
    return tuple(torch.randn(1, heads, batch, clusters, generator=generator) * scale for _ in range(n_spaces))


def run(objective, spaces, space_logits):
    """Losses and the gradients of their sum for logits (1, heads, batch, clusters) a space."""
    space_logits = tuple(logits.clone().requires_grad_() for logits in space_logits)
    loss = objective(as_batch(*spaces), HeadOutput(space_logits[0], space_logits=space_logits), None, 0.0)
    loss.sum().backward()
    return loss.detach(), [logits.grad for logits in space_logits]


def classifiers(objective):
    return {name: buffer.clone() for name, buffer in objective.named_buffers()}


def test_parity_with_the_published_formulas():
    names = ("direction", "v"), ("length", "g"), ("bias", "b")
    heads = TaskHeads.from_state(
        {f"space{s}_{our}": PARITY[f"task_{their}{s}"][None] for s in (0, 1) for our, their in names}
    )
    objective = make(n_heads=1, n_clusters=7, dims=(9, 6)).eval()
    for s in (0, 1):
        inner = torch.cat((PARITY[f"inner_w{s}"], PARITY[f"inner_b{s}"][:, None]), dim=1)
        objective.get_buffer(f"space{s}_classifier").copy_(inner)
    batch = as_batch(PARITY["z0"], PARITY["z1"])
    loss = objective(batch, heads(*batch.features), None, 0.0)
    loss.sum().backward()
    torch.testing.assert_close(loss[0].detach(), PARITY["outer_loss_gamma10"], rtol=1e-6, atol=0)
    for s in (0, 1):
        gradient = heads.get_parameter(f"space{s}_direction").grad[0]
        torch.testing.assert_close(gradient, PARITY[f"grad_task_v{s}"], rtol=1e-4, atol=1e-6)
    summary = make(n_heads=1, n_clusters=7, dims=(9, 6), inner_lr=1e-12, warm_start=True)
    summary.load_state_dict(objective.state_dict())
    summary(batch, heads(*batch.features), None, 0.0)
    terms = summary.summary()
    torch.testing.assert_close(terms["prediction_error"][0], PARITY["prediction_error"], rtol=1e-5, atol=0)
    torch.testing.assert_close(terms["share_entropy"][0], PARITY["entropy"], rtol=1e-5, atol=0)


def naive_loss(p, inner, gamma):
    """The formula in float64 Python loops: probabilities p and inner logits, (spaces, batch, clusters) of one head."""
    n_spaces, batch, clusters = p.shape
    loss = 0.0
    for s in range(n_spaces):
        for i in range(batch):
            log_sum = math.log(sum(math.exp(value) for value in inner[s, i]))
            for c in range(clusters):
                loss -= sum(p[t, i, c] for t in range(n_spaces)) / n_spaces * (inner[s, i, c] - log_sum) / batch
        for c in range(clusters):
            share = sum(p[s, i, c] for i in range(batch)) / batch
            loss += gamma * share * math.log(share)
    return loss


@pytest.mark.parametrize("gamma", [0.0, 1.0, 10.0])
@pytest.mark.parametrize(("heads", "batch", "clusters", "n_spaces"), [(1, 1, 2, 1), (3, 5, 4, 2), (2, 9, 11, 3)])
def test_equal_to_a_loop_over_the_formula(gamma, heads, batch, clusters, n_spaces):
    dims = (5, 3, 4)[:n_spaces]
    objective = make(heads, clusters, dims, gamma=gamma).eval()
    spaces, logits = random_spaces(batch, dims), random_logits(heads, batch, clusters, n_spaces)
    loss, _ = run(objective, spaces, logits)
    for head in range(heads):
        inner = []
        for space, rows in enumerate(spaces):
            classifier = objective.get_buffer(f"space{space}_classifier")[head].double()
            inner.append((rows.double() @ classifier[:, :-1].T + classifier[:, -1]).numpy())
        p = np.stack([torch.softmax(of_space[0, head].double(), -1).numpy() for of_space in logits])
        assert float(loss[head]) == pytest.approx(naive_loss(p, np.stack(inner), gamma), rel=1e-5, abs=1e-5)


def test_gradient_equals_finite_differences():
    objective = make(inner_steps=2).double().eval()
    batch = as_batch(*(space.double() for space in random_spaces(4)))
    logits = tuple(of_space[:, :, :4].double().requires_grad_() for of_space in random_logits())
    assert torch.autograd.gradcheck(
        lambda *spaces: objective(batch, HeadOutput(spaces[0], space_logits=spaces), None, 0.0), logits
    )


@pytest.mark.parametrize("clusters", [2, 10])
def test_closed_form_before_and_after_learning(clusters):
    # Classifiers of zero know nothing: log K of error. Balanced one-hot labels: an entropy of log K.
    objective = make(1, clusters, (clusters,), gamma=3.0).eval()
    rows, logits = torch.eye(clusters), (torch.eye(clusters) * 100)[None, None]
    classifier = objective.space0_classifier
    classifier.zero_()
    loss, _ = run(objective, (rows,), (logits,))
    assert float(loss) == pytest.approx((1 - 3) * math.log(clusters), rel=1e-5)
    classifier[0, :, :-1] = torch.eye(clusters) * 100
    loss, _ = run(objective, (rows,), (logits,))
    assert float(loss) == pytest.approx(-3 * math.log(clusters), rel=1e-5)


@pytest.mark.parametrize("clusters", [2, 10, 1000])
@pytest.mark.parametrize("scale", [10.0, 1e3, 1e6])
def test_saturated_logits_stay_finite(clusters, scale):
    # The authors' entropy has a gradient of inf * 0 here.
    objective = make(2, clusters)
    spaces = tuple(space * scale for space in random_spaces())
    for step in range(2):
        loss, gradients = run(objective, spaces, random_logits(2, 9, clusters, seed=step, scale=scale))
        assert torch.isfinite(loss).all()
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert all(torch.isfinite(buffer).all() for buffer in objective.buffers())


def test_dead_clusters_stay_finite_and_cost():
    dead = torch.zeros(1, 2, 9, 4)
    dead[..., 0] = 1e4
    loss, gradients = run(make(), random_spaces(), (dead, dead))
    assert torch.isfinite(loss).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    even, _ = run(make(), random_spaces(), (torch.zeros_like(dead),) * 2)
    assert (loss > even + 20).all()  # 2 * 10 * log 4 of entropy is lost, up to 2 log 4 of error gained


@pytest.mark.parametrize("clusters", [2, 1000])
def test_one_sample_a_cluster(clusters):
    logits = (torch.eye(clusters) * 20)[None, None].expand(1, 2, clusters, clusters)
    loss, (gradient,) = run(make(2, clusters, (5,)), random_spaces(clusters, (5,)), (logits,))
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()


@settings(max_examples=25)
@given(seed=st.integers(0, 50), clusters=st.integers(2, 9))
def test_permuting_clusters_changes_nothing(seed, clusters):
    order = torch.randperm(clusters, generator=torch.Generator().manual_seed(seed))
    first, second = (make(3, clusters, seed=seed, warm_start=True) for _ in range(2))
    for space in range(2):  # the classifiers are drawn by cluster
        second.get_buffer(f"space{space}_classifier").copy_(first.get_buffer(f"space{space}_classifier")[:, order])
    spaces, logits = random_spaces(seed=seed), random_logits(3, 9, clusters, seed=seed)
    loss, gradients = run(first, spaces, logits)
    permuted_loss, permuted = run(second, spaces, [of_space[..., order] for of_space in logits])
    torch.testing.assert_close(permuted_loss, loss, rtol=1e-5, atol=1e-5)
    for gradient, expected in zip(permuted, gradients, strict=True):
        torch.testing.assert_close(gradient, expected[..., order], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_head_alone_equals_itself_in_the_ensemble(warm_start):
    # A smaller ensemble has the first heads of a larger one, with the same streams.
    together, first, pair = (make(n, warm_start=warm_start, seed=3) for n in (4, 1, 2))
    for step in range(3):
        spaces, logits = random_spaces(seed=step), random_logits(4, seed=step)
        loss, gradients = run(together, spaces, logits)
        for objective, n in ((first, 1), (pair, 2)):
            own_loss, own = run(objective, spaces, [of_space[:, :n] for of_space in logits])
            torch.testing.assert_close(own_loss, loss[:n], rtol=1e-5, atol=1e-5)
            for gradient, expected in zip(own, gradients, strict=True):
                torch.testing.assert_close(gradient, expected[:, :n], rtol=1e-5, atol=1e-6)
    for name, buffer in classifiers(pair).items():
        torch.testing.assert_close(buffer, together.get_buffer(name)[:2], rtol=1e-5, atol=1e-6)


def test_any_head_alone_goes_on_as_it_would_in_the_ensemble():
    together = make(4, warm_start=True)
    run(together, random_spaces(), random_logits(4))
    alone = [make(1, warm_start=True) for _ in range(4)]
    for head, objective in enumerate(alone):
        objective.load_state_dict(select(together.state_dict(), head))
    spaces, logits = random_spaces(seed=1), random_logits(4, seed=1)
    loss, gradients = run(together, spaces, logits)
    for head, objective in enumerate(alone):
        own_loss, own = run(objective, spaces, [of_space[:, head : head + 1] for of_space in logits])
        torch.testing.assert_close(own_loss[0], loss[head], rtol=1e-5, atol=1e-5)
        for gradient, expected in zip(own, gradients, strict=True):
            torch.testing.assert_close(gradient[:, 0], expected[:, head], rtol=1e-5, atol=1e-6)


def test_inner_classifiers_learn_the_labels():
    spaces = random_spaces(dims=(20, 20))
    logits = (torch.eye(4)[torch.arange(9) % 4] * 20)[None, None].expand(1, 2, 9, 4)
    objective = make(dims=(20, 20), inner_steps=200, inner_lr=0.05)
    run(objective, spaces, (logits, logits))
    for space, rows in enumerate(spaces):
        classifier = objective.get_buffer(f"space{space}_classifier")
        actual = (rows @ classifier[..., :-1].transpose(1, 2) + classifier[:, None, :, -1]).argmax(-1)
        assert (actual == torch.arange(9) % 4).all()
    assert (objective.summary()["prediction_error"] < 0.1).all()


def test_warm_starts_go_on():
    objective, spaces, logits = make(warm_start=True), random_spaces(), random_logits()
    losses = [run(objective, spaces, logits)[0] for _ in range(4)]
    assert objective.inner_updates.tolist() == [40] * 2
    assert all((after < before).all() for before, after in itertools.pairwise(losses))
    once = make(warm_start=True, inner_steps=40)
    torch.testing.assert_close(run(once, spaces, logits)[0], losses[-1])


def test_cold_starts_draw_anew():
    objective, spaces, logits = make(), random_spaces(), random_logits()
    first, second = (run(objective, spaces, logits)[0] for _ in range(2))
    assert objective.inner_updates.tolist() == [10] * 2
    assert not torch.isclose(first, second).any()


def test_state_changes_only_in_training_mode():
    objective, spaces, logits = make(), random_spaces(), random_logits()
    run(objective, spaces, logits)
    before, summary = classifiers(objective), copy.deepcopy(objective).summary()
    objective.eval()
    first, _ = run(objective, spaces, logits)
    second, _ = run(objective, spaces, logits)
    assert torch.equal(first, second)
    after = copy.deepcopy(objective).summary()
    assert all(torch.equal(after[name], mean) for name, mean in summary.items())
    assert all(torch.equal(buffer, before[name]) for name, buffer in classifiers(objective).items())
    objective.train()
    run(objective, spaces, logits)
    assert not torch.equal(objective.space0_classifier, before["space0_classifier"])


def test_evaluation_takes_nothing_from_the_streams():
    evaluated, untouched = make(), make()
    evaluated.eval()
    run(evaluated, random_spaces(), random_logits())
    evaluated.train()
    losses = [run(objective, random_spaces(), random_logits())[0] for objective in (evaluated, untouched)]
    assert torch.equal(*losses)


def test_the_summary_is_a_mean_since_the_last_call():
    at_once, each = make(), make()
    singles = []
    for step in range(2):
        for objective in (at_once, each):
            run(objective, random_spaces(seed=step), random_logits(seed=step))
        singles.append(each.summary())
    for name, mean in at_once.summary().items():
        torch.testing.assert_close(mean, (singles[0][name] + singles[1][name]) / 2)
    assert torch.equal(at_once.summary()["prediction_error"], torch.zeros(2))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    run(make(), random_spaces(), random_logits())
    assert torch.equal(before, torch.get_rng_state())


def test_attributes():
    objective = OBJECTIVES["turtle"](n_heads=3, n_clusters=4, feature_dims=(5,), seed=0)
    assert objective.views == ("plain",)
    assert not objective.uses_teacher
    assert objective.temperature == 1.0
    assert all(len(buffer) == 3 and not buffer.requires_grad for buffer in objective.buffers())
    assert dict(objective.named_parameters()) == {}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gamma", (-1, math.nan, math.inf)),
        ("inner_steps", (0, -3)),
        ("inner_lr", (0, -0.1, math.nan, math.inf)),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, values):
    for value in values:
        with pytest.raises(SettingError, match=name):
            make(**{name: value})
