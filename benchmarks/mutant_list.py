"""The defects of mutants.py: small mistakes that are easy to make. A defect that no test can notice is not listed."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A defect.

    Attributes:
        name: What is wrong.
        file: Below headclust/.
        before: Text that is in the file exactly once.
        after: What it becomes.
        tests: Test files that should notice it, or single tests of them.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


# (file, tests) -> {name: (before, after)}
_LIST: dict[tuple[str, ...], dict[str, tuple[str, str]]] = {
    (
        "training/objectives/temi.py",
        "training/objectives/test_temi.py::test_closed_form_all_uniform",
        "training/objectives/test_temi.py::test_equal_to_a_loop_over_the_formulas",
    ): {
        "temi-marginal-floor": ("clamp_min(torch.finfo(torch.float32).tiny)", "clamp_min(1e-4)"),
        "temi-own-teacher": ("log_q.flip(0).mul_", "log_q.clone().mul_"),
        "temi-marginal-of-anchors": ("batch_mean(q, dims=(0, 2)", "batch_mean(q[:1], dims=(0, 2)"),
        "wmi-shared-weights": (
            "        return _agreement(q)\n\n\nclass Pmi",
            "        return _agreement(q).mean(0, keepdim=True)\n\n\nclass Pmi",
        ),
    },
    (
        "training/objectives/turtle.py",
        "training/objectives/test_turtle.py::test_inner_classifiers_learn_the_labels",
        "training/objectives/test_turtle_training.py",
    ): {
        "turtle-bias-gradient-sign": ("residual.sum(1, keepdim=True)", "-residual.sum(1, keepdim=True)"),
        "turtle-bias-without-gradient": ("residual.sum(1, keepdim=True)", "0 * residual.sum(1, keepdim=True)"),
        "turtle-moments-not-reset": ("            square.zero_()\n", ""),
        "turtle-second-moment-uncorrected": ("(square / second).sqrt()", "square.sqrt()"),
    },
    ("training/objectives/scan.py", "training/objectives/test_scan.py"): {
        "scan-entropy-of-neighbors": ("marginal_entropy(log_p[0], self", "marginal_entropy(log_p[1], self"),
    },
    (
        "training/objectives/self_label.py",
        "training/objectives/test_self_label.py::test_equal_to_a_loop_over_the_formulas",
    ): {
        "self-label-mean-over-batch": ("sums.sum(-1) / _nonzero(shares.sum(-1))", "sums.sum(-1)"),
        "self-label-at-threshold": ("confidence > self", "confidence >= self"),
    },
    (
        "training/objectives/imc_swav.py",
        "training/objectives/test_imc_swav.py::test_equal_to_loops_over_the_formulas",
    ): {
        "imc-swav-own-code": (" - (codes * log_u[:n_codes]).sum((0, -1))", ""),
        "imc-swav-signed-excess": ("torch.relu(logits.abs() - bound)", "torch.relu(logits - bound)"),
    },
    ("training/train.py", "training/test_train.py"): {
        "recent-window-double": ("deque(maxlen=max(schedule.segments))", "deque(maxlen=2 * max(schedule.segments))"),
        "teacher-momentum-swapped": (
            "ema_update_(teacher, student, stage.teacher_momentum)",
            "ema_update_(teacher, student, 1 - stage.teacher_momentum)",
        ),
        "lr-without-batch": ("stage.lr * batch_size / stage.lr_batch", "stage.lr * stage.batch_size / stage.lr_batch"),
        "freeze-one-step-more": ("freeze = step < schedule.frozen_steps", "freeze = step <= schedule.frozen_steps"),
    },
    ("training/stages.py", "training/test_stages.py"): {
        "warmup-off-by-one": ("step / max(1, self.warmup_steps - 1)", "step / max(1, self.warmup_steps)"),
        "cosine-without-warmup": (
            "(step - self.warmup_steps) / max(1, self.n_steps - self.warmup_steps)",
            "step / max(1, self.n_steps)",
        ),
    },
    ("training/sampling.py", "training/test_sampling.py"): {
        "last-full-batch-dropped": (
            "range(0, n_samples - batch_size + 1, batch_size)",
            "range(0, n_samples - batch_size, batch_size)",
        ),
        "last-neighbor-never-drawn": (
            "torch.randint(neighbors.shape[1], ",
            "torch.randint(max(1, neighbors.shape[1] - 1), ",
        ),
    },
    ("training/stopping.py", "training/test_train.py::test_a_stopped_head_is_restored"): {
        "patience-one-more": ("self.flat[head] >= self.patience", "self.flat[head] > self.patience"),
    },
    (
        "graph/neighbors.py",
        "graph/test_neighbors.py::test_a_zero_vector_is_as_far_from_everything",
        "graph/test_neighbors.py::test_rows_that_nearly_point_the_same_way",
    ): {
        "ties-in-reverse": (
            "numbers, order = numbers.sort(dim=1)",
            "numbers, order = numbers.sort(dim=1, descending=True)",
        ),
        "distance-without-half": ("(block.square().sum(1) / 2)", "block.square().sum(1)"),
    },
    (
        "graph/matrix.py",
        "graph/test_matrix.py::test_weights_are_those_of_a_plain_loop",
        "graph/test_matrix.py::test_distances_are_those_of_a_random_walk",
    ): {
        "graph-temperature-half": ("(similarities - 1) / temperature", "(similarities - 1) / (2 * temperature)"),
        "diffusion-negative": ("values.clamp(0, 1) ** steps", "values.abs().clamp(0, 1) ** steps"),
    },
    ("graph/walk.py", "graph/test_walk.py"): {
        "walk-not-lazy": ("self._state.add_(moved).mul_(0.5)", "moved"),
        "walk-without-degrees": ("rows * root[:, None]", "rows"),
        "walk-modes-not-squared": (".square().sum() / _PROBES", ".abs().sum() / _PROBES"),
    },
    ("features/structure.py", "features/test_format.py"): {
        "cut-short-unnoticed": ("start is None or start + n_bytes > size", "start is None or start > size"),
    },
    ("features/reading.py", "features/test_format.py"): {
        "signature-unread": ("if start != SIGNATURE:", "if start[:1] != SIGNATURE[:1]:"),
        "view-out-of-range": ("not 0 <= view < self.n_views", "not 0 <= view <= self.n_views"),
        "rows-not-copied": ('["C", "W", "O"]', '["C"]'),
        "array-not-copied": ("values = feature_array(array).copy()", "values = feature_array(array)"),
        "array-not-checked": ("        check_rows(values, ids, int_labels, ())\n", ""),
        "second-view-first": ("(view or 0) * math.prod(shape)", "0 * math.prod(shape)"),
        "changed-unnoticed": ("        _check_unchanged(file, sha256)\n", ""),
    },
    ("features/verifying.py", "features/test_format.py"): {
        "slabs-with-gaps": ("yield (slice(start, start + step),)", "yield (slice(start, start + step - (step > 1)),)"),
        "slab-finite-first-only": ("if finite and name in", "if index[-1].start == 0 and finite and name in"),
        "views-not-finite": ('name in ("features", "views")', 'name in ("features",)'),
    },
    ("features/rows.py", "features/test_rows.py"): {
        "minus-zero-differs": ("(rows + 0.0).contiguous()", "rows.contiguous()"),
    },
    ("methods/lloyd.py", "methods/test_lloyd.py"): {
        "kmeans-random-starts": ("return points[chosen]", "return points[(numbers[:, :, 0] * len(points)).long()]"),
        "kmeans-worst-candidate": ("distances.sum(2).argmin(1)", "distances.sum(2).argmax(1)"),
        "kmeans-empty-nearest": ("gaps.topk(len(empty)).indices", "gaps.topk(len(empty), largest=False).indices"),
    },
    (
        "methods/temi.py",
        "methods/test_temi.py::test_the_authors_preset_is_their_readme_command",
    ): {
        name: ('neighbor_search="exact"', f'neighbor_search="exact", {change}')
        for name, change in {
            "temi-authors-lr": "lr=2e-4",
            "temi-authors-warmup": "warmup=10",
            "temi-authors-neighbors": "n_neighbors=25",
            "temi-authors-momentum": "teacher_momentum=0.99",
            "temi-authors-batch": "batch_size=512",
            "temi-authors-width": 'head_settings={"hidden_dim": 256}',
        }.items()
    },
    ("methods/turtle.py", "methods/test_turtle.py::test_the_authors_preset_is_their_argument_parsers_defaults"): {
        "turtle-authors-score": ("score_samples=10**9", "score_samples=2000"),
        "turtle-authors-reduction": ('reduction: str = "sum"', 'reduction: str = "mean"'),
    },
    ("methods/scan.py", "methods/test_scan.py::test_the_authors_preset_is_their_configuration_of_imagenets_subsets"): {
        "scan-authors-neighbors-of-labels": (
            'objective_settings={"balance": False},\n            n_neighbors=50',
            'objective_settings={"balance": False},\n            n_neighbors=20',
        ),
    },
    ("methods/imc_swav.py", "methods/test_imc_swav.py::test_the_authors_preset_is_the_readme_command"): {
        "imc-swav-authors-reduction": (
            "            batch_size=256,\n            length=500,",
            '            reduction="sum",\n            batch_size=256,\n            length=500,',
        ),
    },
    ("training/parts.py", "methods/test_imc_swav.py::test_the_authors_preset_is_the_readme_command"): {
        "imc-swav-authors-views": ("n_augmented: int = 5", "n_augmented: int = 4"),
    },
    ("methods/consensus/pair_whitening.py", "methods/test_pair_whitening.py"): {
        "scatter-without-half": ("total / (2 * max(1, n_pairs))", "total / max(1, n_pairs)"),
        "whitening-root-twice": ("(vectors * values.rsqrt())", "(vectors * values.reciprocal())"),
        "shrinkage-without-level": ("+ shrinkage * level * torch.eye", "+ shrinkage * torch.eye"),
    },
    (
        "methods/consensus/calibration.py",
        "methods/test_consensus.py::test_confidence_is_as_large_as_heads_and_neighbors_agree",
    ): {
        "calibration-without-neighbors": (" * np.mean(samples.clusters == neighbors.clusters)", ""),
        "calibration-with-itself": ("in (chosen, nearest[chosen].long())", "in (chosen, chosen)"),
        "calibration-wrong-way": ("if confidence < target else", "if confidence > target else"),
        "calibration-low-end": ("np.exp((low + high) / 2)))", "np.exp(low / 2)))"),
    },
    ("methods/consensus/refit.py", "methods/test_constraints.py"): {
        "refit-prior-without-root": ("values.clamp_min(0) ** 0.25", "values.clamp_min(0) ** 0.5"),
        "refit-variance": ("math.sqrt(_VARIANCE / max", "(_VARIANCE / max"),
        "refit-without-mean": ("cluster_bias.sub_(change @ mean)", "cluster_bias.sub_(0 * (change @ mean))"),
        "refit-temperature": ("change[group_of] * temperature", "change[group_of]"),
        "refit-satisfied-pairs": ("!= is_together)", "== is_together)"),
        "refit-apart-as-together": ("- other.sum()", "+ other.sum()"),
        "refit-level": ("- level).tolist()", ").tolist()"),
        "refit-pinned-confidence": (
            "= constraints.pinned[is_pinned], 1\n",
            "= constraints.pinned[is_pinned], confidence[is_pinned]\n",
        ),
    },
    ("duplicates/sketch.py", "duplicates/test_duplicate_groups.py"): {
        "detail-without-mean": ("cells[1:-1, 1:-1] - around", "cells[1:-1, 1:-1]"),
        "detail-ignored": ("return min(_correlation(part, whole), ", "return max(_correlation(part, whole), "),
        "window-transposed": ("(image.T, whole.T)", "(image.T, whole)"),
        "cells-transposed": (
            "_averages(rows[None])[0] @ image @ _averages(columns[None])[0].T",
            "_averages(columns[None])[0] @ image @ _averages(rows[None])[0].T",
        ),
        "sharpness-unscaled": (" / max(float(np.var(pixels)), 1.0)", ""),
        "no-crop": ("_SCALES = (1.0, 0.95, 0.9, 0.85, 0.8)", "_SCALES = (1.0, 0.95, 0.9)"),
    },
    ("granularity/cuts.py", "granularity/test_cuts.py"): {
        "modularity-degrees": ("np.square(degrees / total).sum()", "(degrees / total).sum()"),
        "silhouette-with-itself": ("* size / (size - 1).clamp_min(1)", ""),
        "strength-by-pairs": ("np.average(shares, weights=sizes[many])", "np.average(shares)"),
        "strength-same-half": ("zip(halves, reversed(runs), strict=True)", "zip(halves, runs, strict=True)"),
    },
    ("granularity/choice.py", "granularity/test_choice.py"): {
        "smoothing-of-numbers": ("place = np.log(counts)", "place = np.asarray(counts, float)"),
        "null-first-only": (
            "all(best > _FACTOR * max(null.score) for null in nulls)",
            "any(best > _FACTOR * max(null.score) for null in nulls)",
        ),
        "null-without-factor": ("best > _FACTOR * max(null.score)", "best > max(null.score)"),
    },
    (
        "granularity/space.py",
        "granularity/test_suggest_range.py::test_the_null_has_the_covariance_but_not_the_clusters",
    ): {
        "null-not-rotated-back": ("(mixed.gather(0, orders) @ rotation.T)", "mixed.gather(0, orders)"),
        "null-not-shuffled": ("mixed.gather(0, orders)", "mixed"),
    },
    ("scoring/metrics.py", "scoring/test_metrics.py"): {
        "confusion-transposed": ("rows * len(classes) + columns", "rows * len(clusters) + columns"),
        "majority-of-all": ("majority[leftover].sum()", "majority.sum()"),
        "entropy-of-used": ("/ np.log(n_clusters))", "/ np.log(max(2, len(used))))"),
        "nmi-minimum": ('"nmi": _on_known("normalized_mutual_info_score")', '"nmi": _on_known("homogeneity_score")'),
    },
    ("scoring/statistics.py", "scoring/test_statistics.py"): {
        "gain-one-sided": ("student_t.ppf((1 + LEVEL) / 2", "student_t.ppf(LEVEL"),
        "gain-degrees": ("mean.n - 1)) * mean.sd", "mean.n)) * mean.sd"),
    },
    ("model/transform.py", "model/test_model.py", "model/test_transform.py"): {
        "pca-ascending": ("return mean, values.flip(0), vectors.flip(1)", "return mean, values, vectors"),
        "pca-not-centered": (" - torch.outer(offset, offset)", ""),
        "pca-scale": ("(n_components / values.sum()).sqrt()", "n_components / values.sum()"),
        "side-by-side-length": (
            "torch.cat(list(rows), dim=-1) / math.sqrt(len(rows))",
            "torch.cat(list(rows), dim=-1)",
        ),
    },
}
MUTANTS = tuple(
    Mutant(name, file, before, after, tuple(f"tests/{test}" for test in tests))
    for (file, *tests), defects in _LIST.items()
    for name, (before, after) in defects.items()
)
