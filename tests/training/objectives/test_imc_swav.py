import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.training.objectives import OBJECTIVES, Batch
from headclust.training.objectives.imc_swav import logit_excess, weighted_information
from headclust.training.objectives.terms import sinkhorn

from .imc_swav_oracle import build, naive_codes, naive_loss, random, run, sampled

PARITY = {
    name: torch.from_numpy(values)
    for name, values in np.load(Path(__file__).parents[1] / "parity" / "imc_swav.npz").items()
}


def test_parity_with_the_authors_code():
    logits = PARITY["cluster_logits"][None, None].clone().requires_grad_()
    log_u = torch.log_softmax(PARITY["prototype_logits_over_temp"], -1)[None, None]
    information = weighted_information(logits, log_u, balance=4.0)
    regularizer = 1e-2 * logit_excess(logits, 5.0)
    torch.testing.assert_close(information[0], PARITY["mi_term"], rtol=1e-6, atol=0)
    torch.testing.assert_close(regularizer[0], PARITY["logit_regulariser"], rtol=1e-6, atol=0)
    (information + regularizer).sum().backward()
    torch.testing.assert_close(logits.grad[0, 0], PARITY["grad_cluster_logits"], rtol=1e-4, atol=1e-8)


def test_parity_of_sinkhorn_codes_and_of_the_oracle():
    expected = PARITY["sinkhorn_codes_eps0p05_iters3"]
    torch.testing.assert_close(sinkhorn(PARITY["prototype_scores"]), expected, rtol=1e-4, atol=1e-9)
    naive = naive_codes(PARITY["prototype_scores"].double().tolist(), 0.05, 3)
    np.testing.assert_allclose(naive, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_codes": 1, "balance": 1.0, "logit_weight": 0.3, "logit_bound": 0.5},
        {"n_codes": 3, "code_temperature": 0.2, "code_iterations": 1, "prototype_temperature": 0.5},
        {"n_augmented": 1, "n_partners": 2, "n_codes": 4},
        {"n_augmented": 0, "n_partners": 1},
    ],
    ids=["defaults", "one-code", "all-codes", "partners", "partner-only"],
)
@pytest.mark.parametrize(("heads", "batch", "clusters"), [(1, 2, 2), (3, 8, 4)])
def test_equal_to_loops_over_the_formulas(settings, heads, batch, clusters):
    objective = build(heads, clusters, **settings)
    drawn = sampled(objective, batch)
    logits = random(len(objective.views), heads, batch, clusters, seed=1, scale=4.0)
    expected = [naive_loss(objective, drawn.features[0], logits, head) for head in range(heads)]
    loss, _ = run(objective, drawn, logits)
    np.testing.assert_allclose(loss, expected, rtol=2e-5, atol=1e-5)
    named = objective.summary()
    total = named["swapped"] + named["information"] + objective.settings.logit_weight * named["excess"]
    torch.testing.assert_close(total, loss)


def test_gradient_of_the_logits_equals_finite_differences():
    objective = build(2, 3).double().eval()
    drawn = Batch((sampled(objective, 5).features[0].double(),), torch.zeros(3, 5))
    logits = random(3, 2, 5, 3, seed=1, scale=4.0).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: objective(drawn, HeadOutput(y), None, 1.0), logits)


def test_gradients_of_projection_and_prototypes_are_those_of_the_swapped_prediction_as_theirs():
    # Layer after layer and pair after pair; prototypes renewed in place and then a plain weight, with no gradient
    # through their length; codes without gradient; nothing of the information.
    objective = build()
    drawn = sampled(objective)
    run(objective, drawn, random(3, 2, 7, 3))
    for head in range(2):
        own = {name: p.detach()[head].double().requires_grad_() for name, p in objective.named_parameters()}
        u = []
        for view in drawn.features[0].double():
            mixed = torch.nn.functional.linear(view, own["mixing_weight"], own["mixing_bias"])
            projected = torch.nn.functional.linear(mixed, own["projection_weight"], own["projection_bias"])
            u.append(torch.nn.functional.normalize(projected, dim=1) @ own["prototypes"].T)
        pairs = []
        for i in range(2):
            q = torch.tensor(naive_codes(u[i].tolist(), 0.05, 3))
            pairs += [-(q * torch.softmax(u[p] / 0.1, -1).log()).sum(-1).mean() for p in range(3) if p != i]
        (sum(pairs) / len(pairs)).backward()
        for name, parameter in own.items():
            actual = objective.get_parameter(name).grad[head].double()
            torch.testing.assert_close(actual, parameter.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_mutual_information_in_closed_form():
    # Clusters that are a function of the prototypes, and balanced: I = H(Y) = log K.
    clusters = 4
    logits = (torch.eye(clusters) * 60).repeat(2, 1)[None, None]
    log_u = torch.log_softmax(logits, -1)
    for balance in (1.0, 4.0):
        loss = weighted_information(logits, log_u, balance=balance)
        assert float(loss) == pytest.approx(-balance * math.log(clusters), rel=1e-5)
    # Clusters that know nothing of the prototypes: H(Y|U) = H(Y) = log K.
    loss = weighted_information(torch.zeros(1, 1, 8, clusters), log_u, balance=4.0)
    assert float(loss) == pytest.approx(-3 * math.log(clusters), rel=1e-5)
    # All in one cluster: nothing.
    certain = torch.zeros(1, 1, 8, clusters)
    certain[..., 0] = 200
    assert float(weighted_information(certain, log_u, balance=4.0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("clusters", [2, 10, 1000])
@pytest.mark.parametrize("scale", [10.0, 1e3, 1e6])
def test_saturated_logits_stay_finite(clusters, scale):
    # The authors' joint holds exact zeros here, and 0 log 0 is not a number. Their regularizer is off.
    objective = build(2, clusters, logit_weight=0.0)
    drawn = sampled(objective, 8)
    for step in range(2):
        loss, gradient = run(objective, drawn, random(3, 2, 8, clusters, seed=step, scale=scale))
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in objective.parameters())


def test_exact_zeros_in_a_joint_contribute_nothing():
    # Half of the cells are exact zeros: clusters 0 and 1, prototypes that are one of two, and never crossed.
    logits = torch.tensor([[1e4, 0.0], [0.0, 1e4]])[None, None].requires_grad_()
    log_u = torch.log_softmax(torch.tensor([[1e4, 0.0], [0.0, 1e4]]), -1)[None, None]
    loss = weighted_information(logits, log_u, balance=4.0)
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(-4 * math.log(2), rel=1e-6)
    assert not logits.grad.any()


def test_dead_clusters_stay_finite_and_are_drawn_back_to():
    logits = torch.zeros(3, 1, 6, 5)
    logits[..., 4] = -60.0
    objective = build(1, 5)
    loss, gradient = run(objective, sampled(objective, 6), logits)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()
    assert (gradient[..., 4] < 0).all()  # a step down raises the dead cluster's logits


@given(seed=st.integers(0, 50))
def test_permuting_samples_and_prototypes_changes_nothing(seed):
    objective, other = build(2, 4), build(2, 4)
    drawn, logits = sampled(objective, 6), random(3, 2, 6, 4, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    samples, prototypes = torch.randperm(6, generator=generator), torch.randperm(5, generator=generator)
    other.prototypes.data = other.prototypes.data[:, prototypes]
    loss, _ = run(objective, drawn, logits)
    again, _ = run(other, Batch((drawn.features[0][:, samples],), drawn.rows), logits[:, :, samples])
    torch.testing.assert_close(again, loss, rtol=1e-5, atol=1e-6)


@given(seed=st.integers(0, 50))
def test_the_order_of_views_without_codes_changes_nothing(seed):
    objective = build(2, 4, n_augmented=4)
    drawn, logits = sampled(objective, 6, seed=seed), random(5, 2, 6, 4, seed=seed)
    loss, _ = run(objective, drawn, logits)
    order = torch.tensor([1, 0, 4, 2, 3])  # codes come from the first two, in whatever order
    again, _ = run(objective, Batch((drawn.features[0][order],), drawn.rows), logits[order])
    torch.testing.assert_close(again, loss, rtol=1e-5, atol=1e-6)


def test_each_part_learns_from_its_own_terms():
    # As detached as theirs: the classifier's terms leave the prototypes alone, the swapped prediction the classifier.
    objective = build()
    drawn, logits = sampled(objective), random(3, 2, 7, 3)
    run(objective, drawn, logits)
    first = [parameter.grad.clone() for parameter in objective.parameters()]
    objective.zero_grad()
    objective.settings = replace(objective.settings, balance=9.0, logit_weight=5.0, logit_bound=0.1)
    run(objective, drawn, random(3, 2, 7, 3, seed=5, scale=9.0))
    for before, parameter in zip(first, objective.parameters(), strict=True):
        assert before.abs().max() > 0
        torch.testing.assert_close(parameter.grad, before)
    swapped_alone = torch.autograd.grad(objective(drawn, HeadOutput(logits.requires_grad_()), None, 1.0).sum(), logits)
    objective.settings = replace(objective.settings, n_codes=1)
    again = torch.autograd.grad(objective(drawn, HeadOutput(logits), None, 1.0).sum(), logits)
    torch.testing.assert_close(swapped_alone, again)


def test_prototypes_are_frozen_for_a_first_share_of_the_training():
    objective = build(freeze_prototypes=0.3)
    drawn, logits = sampled(objective), random(3, 2, 7, 3)
    for progress, frozen in ((0.0, True), (0.29, True), (0.3, False), (1.0, False)):
        objective.zero_grad()
        run(objective, drawn, logits, progress)
        assert (objective.prototypes.grad is None) == frozen
        assert objective.projection_weight.grad.abs().max() > 0


def test_training_sets_prototypes_to_unit_length_and_predicting_leaves_them():
    objective = build()
    drawn, logits = sampled(objective), random(3, 2, 7, 3)
    objective.eval()
    before = copy.deepcopy(objective.state_dict())
    in_eval, _ = run(objective, drawn, logits)
    assert all(torch.equal(tensor, before[name]) for name, tensor in objective.state_dict().items())
    assert all(mean.tolist() == [0.0, 0.0] for mean in objective.summary().values())
    objective.train()
    in_training, _ = run(objective, drawn, logits)
    torch.testing.assert_close(objective.prototypes.norm(dim=-1), torch.ones(2, 5))
    torch.testing.assert_close(in_eval, in_training)


def test_summary_is_a_mean_since_the_last_call():
    objective = build()
    drawn = sampled(objective)
    terms = []
    for step in range(3):
        run(objective, drawn, random(3, 2, 7, 3, seed=step))
        terms.append(objective.summary()["information"])
    for step in range(3):
        run(objective, drawn, random(3, 2, 7, 3, seed=step))
    torch.testing.assert_close(objective.summary()["information"], torch.stack(terms).mean(0))
    assert all(mean.tolist() == [0.0, 0.0] for mean in objective.summary().values())


def test_own_parameters_start_from_streams_of_the_seed():
    few, many, other = build(2, seed=9), build(5, seed=9), build(2, seed=8)
    for name, tensor in few.named_parameters():
        assert torch.equal(tensor, many.get_parameter(name)[:2]), name
        assert not torch.equal(tensor[0], tensor[1])
        assert not torch.equal(tensor, other.get_parameter(name))
        assert tensor.shape[0] == 2
    before = torch.get_rng_state()
    build()
    assert torch.equal(before, torch.get_rng_state())


def test_attributes():
    objective = OBJECTIVES["imc-swav"](n_heads=1, n_clusters=2, feature_dims=(3,), seed=0)
    assert objective.views == ("plain", *("augmented",) * 5)
    assert (objective.uses_teacher, objective.temperature) == (False, 1.0)
    assert build(n_augmented=1, n_partners=2).views == ("plain", "augmented", "neighbor", "neighbor")
    assert {name.endswith("_bias") for name, p in objective.named_parameters() if p.dim() == 2} == {True}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, (0, -1)) for name in ("n_prototypes", "projection_dim", "code_iterations")),
        *((name, (0, -0.1, math.nan)) for name in ("code_temperature", "prototype_temperature")),
        *((name, (-0.1, math.nan)) for name in ("balance", "logit_bound", "logit_weight")),
        *((name, (-1,)) for name in ("n_augmented", "n_partners")),
        ("n_augmented and n_partners", ()),
        ("n_codes", (0, -1, 4)),
        ("freeze_prototypes", (-0.1, 1.1, math.nan)),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, values):
    for value in values:
        with pytest.raises(SettingError, match=f"^{name} is"):
            build(**{name: value})
    with pytest.raises(SettingError, match="n_augmented and n_partners are 0"):
        build(n_augmented=0)
