"""IMC-SwAV's loss in float64 loops over its formulas, and what its tests build things with."""

import math

import numpy as np
import torch

from headclust.model.heads import HeadOutput
from headclust.training.objectives import OBJECTIVES, Batch

SMALL = {"n_augmented": 2, "n_prototypes": 5, "projection_dim": 4}


def build(heads=2, clusters=3, dim=6, seed=0, **settings):
    return OBJECTIVES["imc-swav"](
        n_heads=heads, n_clusters=clusters, feature_dims=(dim,), seed=seed, **{**SMALL, **settings}
    )


def random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def sampled(objective, batch=7, dim=6, seed=0):
    views = len(objective.views)
    return Batch((random(views, batch, dim, seed=seed),), torch.arange(batch).expand(views, -1))


def run(objective, batch, logits, progress=1.0):
    """Losses and the gradient of their sum for logits (views, heads, batch, clusters)."""
    logits = logits.clone().requires_grad_()
    loss = objective(batch, HeadOutput(logits), None, progress)
    loss.sum().backward()
    return loss.detach(), logits.grad


def softmax(values):
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def naive_scores(objective, features, head):
    """Cosines of one view (batch, dim) as lists, the two layers of the projection one after the other."""

    def linear(x, weight, bias):
        return [
            sum(w * value for w, value in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)
        ]

    state = {name: tensor[head].double().tolist() for name, tensor in objective.state_dict().items()}
    scores = []
    for x in features.double().tolist():
        mixed = linear(x, state["mixing_weight"], state["mixing_bias"])
        e = linear(mixed, state["projection_weight"], state["projection_bias"])
        scores.append(
            [
                sum(a * b for a, b in zip(e, c, strict=True)) / math.hypot(*e) / math.hypot(*c)
                for c in state["prototypes"]
            ]
        )
    return scores


def naive_codes(scores, epsilon, iterations):
    """Sinkhorn as SwAV and IMC-SwAV write it: exponentials, then prototypes and samples brought to their mass."""
    samples, prototypes = len(scores), len(scores[0])
    q = [[math.exp(value / epsilon) for value in row] for row in scores]
    for _ in range(iterations):
        for k in range(prototypes):
            mass = sum(row[k] for row in q)
            for row in q:
                row[k] /= mass * prototypes
        for b in range(samples):
            mass = sum(q[b])
            q[b] = [value / (mass * samples) for value in q[b]]
    return [[value * samples for value in row] for row in q]


def naive_swapped(u, n_codes, *, epsilon=0.05, iterations=3, tau=0.1):
    """Swapped prediction of scores u[view][sample][prototype], pair after pair, with the authors' clamp."""
    pairs = []
    for i in range(n_codes):
        q = naive_codes(u[i], epsilon, iterations)
        for p in range(len(u)):
            if p != i:
                predicted = [softmax([value / tau for value in row]) for row in u[p]]
                losses = [
                    -sum(a * math.log(max(b, 1e-17)) for a, b in zip(code, row, strict=True))
                    for code, row in zip(q, predicted, strict=True)
                ]
                pairs.append(sum(losses) / len(losses))
    return sum(pairs) / len(pairs)


def naive_information(y, u, *, balance=4.0, tau=0.1):
    """The weighted mutual information of logits y[view][sample] and scores u[view][sample], pair after pair."""
    pairs = []
    for logits in y:
        py = [softmax(row) for row in logits]
        for scores in u:
            pu = [softmax([value / tau for value in row]) for row in scores]
            joint = np.array(py).T @ np.array(pu)
            joint /= joint.sum()
            conditional = (joint * (np.log(joint.sum(0))[None] - np.log(joint))).sum()
            pairs.append(conditional + balance * (joint.sum(1) * np.log(joint.sum(1))).sum())
    return sum(pairs) / len(pairs)


def naive_loss(objective, features, logits, head):
    u = [naive_scores(objective, view, head) for view in features]
    y = logits[:, head].double().tolist()
    swapped = naive_swapped(
        u,
        objective.settings.n_codes,
        epsilon=objective.settings.code_temperature,
        iterations=objective.settings.code_iterations,
        tau=objective.settings.prototype_temperature,
    )
    information = naive_information(
        y, u, balance=objective.settings.balance, tau=objective.settings.prototype_temperature
    )
    excess = np.mean([sum(max(abs(v) - objective.settings.logit_bound, 0) for v in row) for view in y for row in view])
    return swapped + information + objective.settings.logit_weight * excess
