import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.training.objectives.clc import Clc, contrast
from headclust.training.objectives.terms import sinkhorn

NAMES = ("category_weight", "contrast_temperature", "cluster_temperature", "code_temperature", "code_iterations")


def run(objective, logits, embedding):
    """Losses and the gradients of their sum for logits and embeddings (2, heads, batch, clusters | dim)."""
    logits, embedding = logits.clone().requires_grad_(), embedding.clone().requires_grad_()
    loss = objective(None, HeadOutput(logits, embedding), None, 0.0)
    loss.sum().backward()
    return loss.detach(), logits.grad, embedding.grad


def random_output(heads, batch, clusters, *, dim=6, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, heads, batch, clusters, generator=generator) * scale
    return logits, F.normalize(torch.randn(2, heads, batch, dim, generator=generator), dim=-1)


# -- The formulas, in float64 Python loops -----------------------------------------------------------------------------


def naive_softmax(values, temperature):
    powers = [math.exp((value - max(values)) / temperature) for value in values]
    return [power / sum(powers) for power in powers]


def naive_codes(logits, epsilon, n_iterations):
    """Sinkhorn's iterations on the masses themselves, for the logits (batch, clusters) of one view of one head."""
    masses = [[math.exp(value / epsilon) for value in row] for row in logits]
    for _ in range(n_iterations):
        columns = [sum(column) for column in zip(*masses, strict=True)]
        masses = [[mass / column for mass, column in zip(row, columns, strict=True)] for row in masses]
        masses = [[mass / sum(row) for mass in row] for row in masses]
    return masses


def naive_loss(logits, embedding, codes, *, weight, contrast_t, cluster_t):
    """The loss of one head: logits, embedding and codes are lists [view][sample][cluster or dim]."""
    batch, total = len(logits[0]), 0.0
    for view in (0, 1):
        other = 1 - view
        for i in range(batch):
            p = naive_softmax(logits[view][i], cluster_t)
            similarities = []
            for j in range(batch):
                instance = sum(a * b for a, b in zip(embedding[view][i], embedding[other][j], strict=True))
                category = sum(a * b for a, b in zip(p, codes[other][j], strict=True))
                similarities.append((instance + weight * category) / contrast_t)
            total -= math.log(naive_softmax(similarities, 1.0)[i])
    return total / (2 * batch)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
@pytest.mark.parametrize(("heads", "batch", "clusters"), [(1, 1, 2), (3, 5, 4), (2, 9, 11)])
def test_equal_to_a_loop_over_the_formulas(weight, heads, batch, clusters):
    logits, embedding = random_output(heads, batch, clusters, seed=3)
    settings = dict(zip(NAMES, (weight, 0.4, 0.3, 0.2, 4), strict=True))
    loss, _, _ = run(Clc(n_heads=heads, n_clusters=clusters, **settings), logits, embedding)
    expected = []
    for head in range(heads):
        rows, z = logits[:, head].double().tolist(), embedding[:, head].double().tolist()
        codes = [naive_codes(view, 0.2, 4) for view in rows]
        expected.append(naive_loss(rows, z, codes, weight=weight, contrast_t=0.4, cluster_t=0.3))
    np.testing.assert_allclose(loss.numpy(), expected, rtol=2e-5, atol=2e-6)


def test_gradient_equals_finite_differences_with_the_codes_held():
    logits, embedding = (tensor.double() for tensor in random_output(1, 4, 3, dim=2, seed=5))
    objective = Clc(n_heads=1, n_clusters=3, cluster_temperature=0.7, category_weight=1.5)
    _, *gradients = run(objective, logits, embedding)
    codes = [naive_codes(view, 0.05, 3) for view in logits[:, 0].tolist()]
    step = 1e-6
    for which, gradient in enumerate(gradients):
        for place in np.ndindex(*gradient.shape):
            values = []
            for sign in (1, -1):
                moved = [logits.clone(), embedding.clone()]
                moved[which][place] += sign * step
                rows, z = (tensor[:, 0].tolist() for tensor in moved)
                values.append(naive_loss(rows, z, codes, weight=1.5, contrast_t=1.0, cluster_t=0.7))
            assert float(gradient[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-8)


def test_one_contrast_over_the_concatenated_parts():
    logits, embedding = random_output(2, 7, 4)
    loss, _, _ = run(Clc(n_heads=2, n_clusters=4, category_weight=3.0, contrast_temperature=0.5), logits, embedding)
    total = torch.zeros(2)
    for view in (0, 1):
        p, q = torch.softmax(logits[view] / 0.1, -1), sinkhorn(logits[1 - view])
        similarities = (
            torch.cat((embedding[view], 3**0.5 * p), -1) @ torch.cat((embedding[1 - view], 3**0.5 * q), -1).mT
        )
        for head in range(2):
            total[head] += F.cross_entropy(similarities[head] / 0.5, torch.arange(7)) / 2
    torch.testing.assert_close(loss, total)


# -- What the paper claims: harder negatives weigh more ----------------------------------------------------------------


def test_a_negatives_gradient_weight_grows_with_its_categorical_similarity():
    """All else equal, the weight of a negative is proportional to exp(category_weight <p, q> / contrast_temperature).

    One query and six negatives of the same instance similarity, with categorical similarities from 0 to 1. The
    gradient by the instance part of a negative's key is weight x query, so its length is the weight.
    """
    weight, temperature = 2.0, 0.5
    shares = torch.tensor([0.0, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0])  # <p, q> of the positive (not looked at), the negatives
    query = torch.tensor([[0.6, 0.8, math.sqrt(weight), 0.0]]).expand(7, 4) / temperature  # z, then p = (1, 0)
    instance = torch.tensor([0.8, -0.6]).expand(7, 2).clone().requires_grad_()  # <z, z'> = 0 for all
    codes = torch.stack((shares, 1 - shares), -1)
    contrast(query, torch.cat((instance, math.sqrt(weight) * codes), -1))[0].backward()
    actual = instance.grad.norm(dim=-1)[1:] * temperature
    torch.testing.assert_close(actual, torch.softmax(weight * shares / temperature, 0)[1:])
    assert (actual.diff() > 0).all()
    torch.testing.assert_close(actual[-1] / actual[0], torch.tensor(math.exp(weight / temperature)))


def test_the_weights_of_the_whole_objective_are_those_of_the_formula():
    """With z = identity in one view and 0 in the other, coordinate i of the gradient by z'_j is the pair's weight."""
    batch, weight, temperature = 6, 1.5, 0.5
    logits, _ = random_output(1, batch, 3, seed=2, scale=0.2)
    embedding = torch.stack((torch.eye(batch), torch.zeros(batch, batch)))[:, None]
    settings = {"category_weight": weight, "contrast_temperature": temperature}
    _, _, gradient = run(Clc(n_heads=1, n_clusters=3, **settings), logits, embedding)
    p, q = torch.softmax(logits[:, 0] / 0.1, -1), sinkhorn(logits[:, 0])
    category = [p[view] @ q[1 - view].T for view in (0, 1)]  # all instance similarities are 0
    first, second = (torch.softmax(weight * similarity / temperature, -1) for similarity in category)
    pulled = 2 * torch.eye(batch)
    torch.testing.assert_close(gradient[1, 0], (first.T + second - pulled) / (2 * batch * temperature))
    row = first[0][category[0][0].argsort()]  # from the least to the most similar negative of one sample
    assert (row.diff() >= 0).all()
    assert row[-1] > 2 * row[0]


# -- Why clusters come of it -------------------------------------------------------------------------------------------


def balanced_codes(batch, clusters):
    return torch.eye(clusters).repeat_interleave(batch // clusters, 0)


@pytest.mark.parametrize("clusters", [2, 5, 10])
def test_under_equipartition_the_category_alone_is_a_cross_entropy_with_the_code(clusters):
    """Instance parts that say nothing, one-hot codes of equal mass: CE(q, softmax(lambda p / tau)) + log(B / K)."""
    batch, weight, temperature = 20, 2.0, 0.7
    generator = torch.Generator().manual_seed(clusters)
    p = torch.softmax(torch.randn(batch, clusters, generator=generator), -1).requires_grad_()
    codes = balanced_codes(batch, clusters)
    loss = contrast(weight * p / temperature, codes)
    (gradient,) = torch.autograd.grad(loss.sum(), p)
    q = torch.softmax(weight * p / temperature, -1)
    torch.testing.assert_close(loss, -(codes * q.log()).sum(-1) + math.log(batch / clusters))
    torch.testing.assert_close(gradient, (q - codes) * weight / temperature)


def test_with_one_hot_codes_the_loss_is_the_surprise_at_the_cluster_and_within_it():
    """Logits of the cluster are lambda p / tau plus what the instance part says of it; see docs/methods/clc.md."""
    weight, temperature = 1.5, 0.5
    generator = torch.Generator().manual_seed(6)
    p = torch.softmax(torch.randn(12, 3, generator=generator), -1)
    z, other = F.normalize(torch.randn(2, 12, 5, generator=generator), dim=-1)
    codes = balanced_codes(12, 3)
    loss = contrast(torch.cat((z, weight * p), -1) / temperature, torch.cat((other, codes), -1))
    instance = z @ other.T / temperature
    evidence = (instance.exp() @ codes).log()  # log n_c
    at_cluster = -(codes * torch.log_softmax(weight * p / temperature + evidence, -1)).sum(-1)
    within = (codes * evidence).sum(-1) - instance.diagonal()
    torch.testing.assert_close(loss, at_cluster + within)


def test_agreeing_confident_balanced_clusters_take_up_to_log_clusters_off_the_loss():
    # With a large category_weight: log(batch) becomes log(batch / clusters), the samples of the own cluster.
    logits, silent = balanced_codes(60, 5).expand(2, 1, 60, 5) * 5.0, torch.zeros(2, 1, 60, 3)
    sure, _, _ = run(Clc(n_heads=1, n_clusters=5, category_weight=20.0), logits, silent)
    unsure, _, _ = run(Clc(n_heads=1, n_clusters=5, category_weight=20.0), torch.zeros_like(logits), silent)
    assert float(unsure) == pytest.approx(math.log(60), rel=1e-6)
    assert float(sure) == pytest.approx(math.log(60 / 5), rel=1e-6)


def test_where_all_samples_are_alike_nothing_pulls_the_clusters():
    # The collapse that is a stationary point: logits equal to the last bit.
    logits = torch.tensor([0.3, 0.1, -0.2]).expand(2, 1, 8, 3)
    _, gradient, _ = run(Clc(n_heads=1, n_clusters=3), logits, random_output(1, 8, 3)[1])
    assert gradient.abs().max() < 1e-7


@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_the_least_difference_that_the_views_share_grows(offset):
    """Near the collapse a step moves a sample's logits along its positive's own deviation: it is no attractor."""
    deviation = 1e-3 * torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    logits = (deviation + torch.tensor([offset, 0.0, 0.0])).expand(2, 1, 40, 3)
    _, gradient, _ = run(Clc(n_heads=1, n_clusters=3), logits, torch.zeros(2, 1, 40, 2))
    centered = deviation - deviation.mean(0)
    centered -= centered.mean(1, keepdim=True)
    step = -gradient[0, 0]
    step -= step.mean(1, keepdim=True)
    if offset == 0:
        assert F.cosine_similarity(step.flatten(), centered.flatten(), dim=0) > 0.99
    assert (step * centered).sum() > 0


def test_codes_do_not_know_of_an_offset_that_all_samples_share():
    # What "one cluster for all" is made of: the codes are as balanced as without it.
    scores = torch.randn(64, 5, generator=torch.Generator().manual_seed(1)) * 0.2
    farthest = []
    for n_iterations in (3, 10, 30):
        collapsed = sinkhorn(scores + torch.tensor([3.0, 0, 0, 0, 0]), n_iterations=n_iterations)
        torch.testing.assert_close(collapsed, sinkhorn(scores, n_iterations=n_iterations), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(collapsed.sum(1), torch.ones(64))
        farthest.append(float((collapsed.mean(0) - 1 / 5).abs().max()))
    assert farthest[0] < 0.05
    assert farthest[0] > farthest[1] > farthest[2]


def test_free_logits_leave_a_collapse_behind():
    # Every sample starts in cluster 0, four fifths of its probability there, and samples differ hardly at all.
    generator = torch.Generator().manual_seed(4)
    logits = (0.01 * torch.randn(1, 60, 4, generator=generator) + torch.tensor([0.25, 0.0, 0.0, 0.0])).requires_grad_()
    assert set(logits[0].argmax(-1).tolist()) == {0}
    objective, optimizer = Clc(n_heads=1, n_clusters=4), torch.optim.Adam([logits], lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        objective(None, HeadOutput(logits.expand(2, 1, 60, 4), torch.zeros(2, 1, 60, 2)), None, 0.0).sum().backward()
        optimizer.step()
    sizes = torch.bincount(logits[0].argmax(-1), minlength=4)
    assert sizes.min() >= 8  # of 15
    assert torch.softmax(logits[0] / 0.1, -1).amax(-1).mean() > 0.9


def test_an_instance_part_that_identifies_all_samples_leaves_no_gradient_for_clusters():
    # The shortcut, and why contrast_temperature is not low.
    logits, _ = random_output(1, 12, 3, scale=0.1)
    sizes = []
    for temperature in (1.0, 0.1, 0.02):
        objective = Clc(n_heads=1, n_clusters=3, contrast_temperature=temperature, category_weight=temperature)
        _, gradient, _ = run(objective, logits, torch.eye(12).expand(2, 1, 12, 12))
        sizes.append(float(gradient.norm()))
    assert sizes[0] > 3 * sizes[1] > 1e3 * sizes[2]


# -- Properties --------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 50), clusters=st.integers(2, 9))
def test_permuting_clusters_changes_nothing(seed, clusters):
    logits, embedding = random_output(3, 6, clusters, seed=seed)
    order = torch.randperm(clusters, generator=torch.Generator().manual_seed(seed))
    objective = Clc(n_heads=3, n_clusters=clusters)
    loss, gradient, by_embedding = run(objective, logits, embedding)
    again, permuted, by_embedding_again = run(objective, logits[..., order], embedding)
    torch.testing.assert_close(again, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(permuted, gradient[..., order], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(by_embedding_again, by_embedding, rtol=1e-4, atol=1e-6)


@given(seed=st.integers(0, 50))
def test_permuting_samples_swapping_views_and_turning_embeddings_changes_no_loss(seed):
    logits, embedding = random_output(2, 6, 4, seed=seed)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(seed)))
    objective = Clc(n_heads=2, n_clusters=4)
    loss, _, _ = run(objective, logits, embedding)
    others = (
        (logits[:, :, order], embedding[:, :, order]),
        (logits.flip(0), embedding.flip(0)),
        (logits, embedding @ turn),
    )
    for other in others:
        torch.testing.assert_close(run(objective, *other)[0], loss, rtol=1e-5, atol=1e-5)


def test_a_head_alone_equals_itself_in_the_ensemble():
    logits, embedding = random_output(4, 6, 5, seed=8)
    loss, *gradients = run(Clc(n_heads=4, n_clusters=5), logits, embedding)
    for head in range(4):
        own, *own_gradients = run(
            Clc(n_heads=1, n_clusters=5), logits[:, head : head + 1], embedding[:, head : head + 1]
        )
        torch.testing.assert_close(own[0], loss[head])
        for together, alone in zip(gradients, own_gradients, strict=True):
            torch.testing.assert_close(together[:, head], alone[:, 0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("clusters", [2, 10, 1000])
@pytest.mark.parametrize("scale", [10.0, 1e3, 1e6])
def test_saturated_logits_stay_finite(clusters, scale):
    for seed in range(3):
        logits, embedding = random_output(2, 8, clusters, seed=seed, scale=scale)
        for tensor in run(Clc(n_heads=2, n_clusters=clusters), logits, embedding):
            assert torch.isfinite(tensor).all()


def test_no_gradient_flows_through_the_codes():
    # With the instance part silent and p saturated, the codes are all that still depends on the logits.
    logits = torch.eye(4).expand(2, 1, 4, 4) * 1e4
    _, gradient, _ = run(Clc(n_heads=1, n_clusters=4), logits, torch.zeros(2, 1, 4, 2))
    assert not gradient.any()


def test_a_summary_is_the_mean_since_the_last_one():
    objective, seen = Clc(n_heads=2, n_clusters=3), []
    for seed in range(2):
        logits, z = random_output(2, 5, 3, seed=seed)
        run(objective, logits, z)
        p, q = torch.softmax(logits / 0.1, -1), sinkhorn(logits)
        category = ((p[0] * q[1]).sum(-1) + (p[1] * q[0]).sum(-1)).mean(-1) / 2
        seen.append((category, (z[0] * z[1]).sum(-1).mean(-1)))
    run(objective.eval(), *random_output(2, 5, 3, seed=9))  # nothing is counted but training steps
    summary = objective.summary()
    for place, name in enumerate(("category", "instance")):
        torch.testing.assert_close(summary[name], (seen[0][place] + seen[1][place]) / 2)
    assert objective.summary()["category"].tolist() == [0.0, 0.0]


def test_attributes():
    objective = Clc(n_heads=2, n_clusters=4, cluster_temperature=0.3)
    assert (objective.views, objective.uses_teacher, objective.temperature) == (("augmented", "augmented"), False, 0.3)
    assert Clc(n_heads=2, n_clusters=4, positive="neighbor").views == ("anchor", "neighbor")
    assert list(objective.parameters()) == []


def test_heads_without_an_embedding_are_refused():
    with pytest.raises(SettingError, match="do not have: use head=mlp"):
        Clc(n_heads=1, n_clusters=2)(None, HeadOutput(torch.zeros(2, 1, 3, 2)), None, 0.0)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("positive", ("nearest", "")),
        ("category_weight", (-0.1, math.inf, math.nan)),
        ("contrast_temperature", (0, -1, math.inf, math.nan)),
        ("cluster_temperature", (0, -1, math.inf, math.nan)),
        ("code_temperature", (0, -1, math.inf, math.nan)),
        ("code_iterations", (0, -1)),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, values):
    for value in values:
        with pytest.raises(SettingError, match=name):
            Clc(n_heads=1, n_clusters=2, **{name: value})
