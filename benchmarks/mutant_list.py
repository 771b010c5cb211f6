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
        tests: Tests that should notice it: files, or single tests of them.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


# (file, folder of its tests, tests) -> {name: (before, after)}
_LIST: dict[tuple[str, ...], dict[str, tuple[str, str]]] = {
    (
        "training/objectives/temi.py",
        "training/objectives",
        "test_temi.py::test_closed_form_all_uniform",
        "test_temi.py::test_parity_of_the_variants_with_the_authors_code",
    ): {
        "temi-marginal-floor": ("clamp_min(torch.finfo(torch.float32).tiny)", "clamp_min(1e-4)"),
        "temi-own-teacher": ("log_q.flip(0).mul_", "log_q.clone().mul_"),
    },
    (
        "training/objectives/turtle.py",
        "training/objectives",
        "test_turtle_training.py::test_training_equals_a_plain_loop_over_restarts",
    ): {
        "turtle-bias-gradient-sign": ("residual.sum(1, keepdim=True)", "-residual.sum(1, keepdim=True)"),
        "turtle-bias-without-gradient": ("residual.sum(1, keepdim=True)", "0 * residual.sum(1, keepdim=True)"),
        "turtle-moments-not-reset": ("            square.zero_()\n", ""),
    },
    (
        "training/objectives/self_label.py",
        "training/objectives",
        "test_self_label.py::test_a_probability_of_just_the_threshold_is_not_confident",
    ): {
        "self-label-at-threshold": ("confidence > self", "confidence >= self"),
    },
    (
        "training/train.py",
        "training",
        "test_train.py::test_the_last_layer_is_frozen_at_first",
        "test_train.py::test_the_learning_rate_is_scaled_to_the_batch",
    ): {
        "lr-of-a-full-batch": (
            "stage.lr * batch_size / stage.lr_batch",
            "stage.lr * stage.batch_size / stage.lr_batch",
        ),
        "freeze-one-step-more": ("freeze = course.step < schedule", "freeze = course.step <= schedule"),
    },
    (
        "training/course.py",
        "training",
        "test_train.py::test_a_head_is_not_chosen_by_the_few_steps_before_the_clock",
        "test_unfinished.py::test_a_training_that_was_stopped_ends_as_if_it_had_not_been",
    ): {
        "recent-window-double": ("deque(maxlen=max(schedule.segments))", "deque(maxlen=2 * max(schedule.segments))"),
        "state-without-total": ('self._total = parts["losses"]["total"].to(device)', "pass"),
        "state-without-moments": ('dict(_numbered(parts, "optimizer"))', "{}"),
        "state-without-flat": (
            'state.values["flat"], state.values["best"]',
            'self._stopping.flat, state.values["best"]',
        ),
        "state-without-stopped": ('dict(_numbered(parts, "stopped"))', "{}"),
        "checkpoints-in-the-order-of-names": ("return sorted((int(", "return list((int("),
    },
    (
        "training/unfinished.py",
        "training",
        "test_unfinished.py::test_only_own_files_are_removed",
        "test_unfinished.py::test_a_fit_with_other_settings_leaves_a_state_alone",
        "test_unfinished.py::test_a_stage_from_other_heads_starts_anew",
        "test_unfinished.py::test_a_link_is_not_followed",
        "test_unfinished.py::test_seconds_and_the_time_limit_count_what_was_spent_before",
    ): {
        "states-of-all-fits-removed": ("training-*-{self.key}-*.safetensors", "training-*.safetensors"),
        "state-from-any-heads": ("{_digest(start)[:_KEY]}", "0"),
        "state-through-a-link": ("if self._path.is_symlink():", "if False:"),
        "seconds-not-added": ("self._fit.seconds += self.seconds_before", "pass"),
    },
    (
        "training/sampling.py",
        "training",
        "test_unfinished.py::test_a_training_that_was_stopped_ends_as_if_it_had_not_been",
    ): {
        "skip-one-less": ("if skip:", "if skip > 1:"),
    },
    ("graph/neighbors.py", "graph", "test_neighbors.py::test_a_zero_vector_is_as_far_from_everything"): {
        "ties-in-reverse": (
            "numbers, order = numbers.sort(dim=1)",
            "numbers, order = numbers.sort(dim=1, descending=True)",
        ),
    },
    (
        "graph/matrix.py",
        "graph",
        "test_matrix.py::test_weights_are_those_of_a_plain_loop",
        "test_matrix.py::test_distances_are_those_of_a_random_walk",
    ): {
        "graph-temperature": ("(similarities - 1) / temperature", "(similarities - 1) / (2 * temperature)"),
        "diffusion-of-alternation": ("values.clamp(0, 1) ** steps", "values.abs().clamp(0, 1) ** steps"),
    },
    ("graph/walk.py", "graph", "test_walk.py"): {
        "walk-without-degrees": ("rows * root[:, None]", "rows"),
        "walk-modes-not-squared": (".square().sum() / _PROBES", ".abs().sum() / _PROBES"),
    },
    (
        "features/reading.py",
        "features",
        "test_format.py::test_rows_are_copies",
        "test_format.py::test_from_array",
        "test_format.py::test_an_array_that_changes_later_leaves_its_features_as_they_were",
    ): {
        "rows-not-copied": ('["C", "W", "O"]', '["C"]'),
        "array-not-copied": ("values = feature_array(array).copy()", "values = feature_array(array)"),
        "array-not-checked": ("        check_rows(values, ids, int_labels, ())\n", ""),
    },
    (
        "features/opened.py",
        "features",
        "test_format.py::test_foreign_bytes",
        "test_format.py::test_a_file_replaced_after_opening_is_noticed",
    ): {
        "signature-of-one-byte": ("if start != SIGNATURE:", "if start[:1] != SIGNATURE[:1]:"),
        "changed-file-unnoticed": ("        _check_unchanged(file, sha256)\n", ""),
    },
    (
        "features/verifying.py",
        "features",
        "test_format.py::test_every_row_is_verified_whatever_fits_into_a_slab",
    ): {
        "slabs-with-gaps": ("yield (slice(start, start + step),)", "yield (slice(start, start + step - (step > 1)),)"),
        "finite-in-the-first-slab": ("if finite and name in", "if index[-1].start == 0 and finite and name in"),
        "views-not-finite": ('name in ("features", "views")', 'name in ("features",)'),
    },
    (
        "methods/lloyd.py",
        "methods",
        "test_lloyd.py::test_seeds_are_as_good_as_those_of_scikit_learn",
        "test_lloyd.py::test_a_cluster_without_points_takes_the_furthest_point",
    ): {
        "kmeans-random-starts": (
            "return points[chosen]",
            "return points[(numbers[:, :, 0] * len(points)).long()]",
        ),
        "kmeans-empty-cluster-nearest": (
            "far.topk(min(len(empty), len(far))).indices",
            "far.topk(min(len(empty), len(far)), largest=False).indices",
        ),
    },
    ("methods/temi.py", "methods", "test_temi.py::test_the_authors_preset_is_their_readme_command"): {
        f"temi-authors-{change.partition('=')[0]}": (
            'neighbor_search="exact"',
            f'neighbor_search="exact", {change}',
        )
        for change in (
            "lr=2e-4",
            "warmup=10",
            "n_neighbors=25",
            "teacher_momentum=0.99",
            "batch_size=512",
            'head_settings={"hidden_dim": 256}',
        )
    },
    ("training/parts.py", "methods", "test_imc_swav.py::test_the_authors_preset_is_the_readme_command"): {
        "imc-swav-authors-views": ("n_augmented: int = 5", "n_augmented: int = 4"),
    },
    (
        "methods/consensus/calibration.py",
        "methods",
        "test_consensus.py::test_confidence_is_as_large_as_heads_and_neighbors_agree",
    ): {
        "calibration-with-itself": ("in (chosen, nearest[chosen].long()))", "in (chosen, chosen))"),
        "calibration-low-end": ("np.exp((low + high) / 2))\n", "np.exp(low / 2))\n"),
    },
    (
        "methods/consensus/calibration.py",
        "methods",
        "test_consensus.py::test_a_head_is_as_confident_as_it_is_reliable",
    ): {
        "temper-with-itself": (
            ".logits[0] for each in (chosen, nearest[chosen].long())",
            ".logits[0] for each in (chosen, chosen)",
        ),
        "temper-biases-stay": ("heads.cluster_bias[head] *= power", "heads.cluster_bias[head] *= 1.0"),
    },
    (
        "methods/consensus/partitions.py",
        "methods",
        "test_consensus.py::test_a_third_of_the_heads_starts_from_each_kind",
    ): {
        "partitions-kinds-not-in-turn": ("_KINDS[head % len(_KINDS)]", "_KINDS[head % 2]"),
        "partitions-kmeans-of-rows-restarted": ('"kmeans": 1}', '"kmeans": 3}'),
        "partitions-restarts-of-many-clusters": ("_RESTARTED // stage.n_clusters)", "_RESTARTED)"),
    },
    ("methods/consensus/partitions.py", "methods", "test_consensus.py::test_heads_cut_all_graphs_in_turn"): {
        "partitions-one-graph-for-three-heads": (
            "(head + head // len(_KINDS)) % n_graphs",
            "head // len(_KINDS) % n_graphs",
        ),
        "partitions-one-graph-for-all-mixed-heads": ("(head + head // len(_KINDS)) % n_graphs", "head % n_graphs"),
    },
    ("methods/consensus/refinement.py", "methods", "test_consensus.py::test_few_samples_are_not_passed_over_often"): {
        "passes-unlimited": ("length=min(refinement.length, most)", "length=refinement.length"),
        "passes-of-batches": ("math.ceil(passes * n_samples", "math.ceil(n_samples"),
    },
    ("training/objectives/pairs.py", "training", "objectives/test_pairs.py"): {
        "pairs-marginal-of-anchors": ("log_batch_mean(log_p, dims=(0, 2)", "log_batch_mean(log_p[:1], dims=(0, 2)"),
        "pairs-marginal-detached": ("group=self.batch_group)[:, None]", "group=self.batch_group)[:, None].detach()"),
        "pairs-noise-unweighted": ("log_ratio + math.log(1 - noise)", "log_ratio"),
    },
    (
        "methods/consensus/refit.py",
        "methods",
        "test_constraints.py::test_probabilities_change_by_the_evidence_around_an_average_image",
        "test_constraints.py::test_parts_of_a_group_have_its_logit_together",
        "test_constraints.py::test_a_fit_keeps_groups_and_everything_fixed",
    ): {
        "refit-without-mean": ("cluster_bias.sub_(change @ mean)", "cluster_bias.sub_(0 * (change @ mean))"),
        "refit-without-temperature": ("change[group_of] * temperature", "change[group_of]"),
        "refit-level": ("- level).tolist()", ").tolist()"),
        "refit-pinned-confidence": (
            "= constraints.pinned[is_pinned], 1\n",
            "= constraints.pinned[is_pinned], confidence[is_pinned]\n",
        ),
    },
    (
        "duplicates/sketch.py",
        "duplicates",
        "test_duplicate_groups.py::test_copies_are_alike",
        "test_duplicate_groups.py::test_smooth_images_are_alike_only_if_their_detail_is",
        "test_duplicate_groups.py::test_rows_and_columns_are_fitted_alike",
        "test_duplicate_groups.py::test_sharpness_falls_when_an_image_is_enlarged_but_not_with_its_contrast",
    ): {
        "detail-ignored": ("return min(_correlation(part, whole), ", "return max(_correlation(part, whole), "),
        "fit-transposed": ("(image.T, whole.T)", "(image.T, whole)"),
        "window-transposed": (
            "_averages(rows[None])[0] @ image @ _averages(columns[None])[0].T",
            "_averages(columns[None])[0] @ image @ _averages(rows[None])[0].T",
        ),
        "sharpness-of-contrast": (" / max(float(np.var(pixels)), 1.0)", ""),
        "narrower-crops-only": ("(1.0, 0.95, 0.9, 0.85, 0.8)", "(1.0, 0.95, 0.9)"),
    },
    ("granularity/cuts.py", "granularity", "test_cuts.py"): {
        "strength-of-the-same-half": ("zip(halves, reversed(runs), strict=True)", "zip(halves, runs, strict=True)"),
    },
    ("granularity/choice.py", "granularity", "test_choice.py::test_a_null_that_is_as_good_means_no_structure"): {
        "null-without-factor": ("best > _FACTOR * max(null.score)", "best > max(null.score)"),
    },
    (
        "granularity/space.py",
        "granularity",
        "test_suggest_range.py::test_the_null_has_the_covariance_but_not_the_clusters",
    ): {
        "null-not-shuffled": ("mixed.gather(0, orders)", "mixed"),
    },
    ("methods/consensus/pair_whitening.py", "methods", "test_pair_whitening.py"): {
        "shrinkage-without-level": ("+ shrinkage * level * torch.eye", "+ shrinkage * torch.eye"),
    },
    ("scoring/metrics.py", "scoring", "test_metrics.py::test_more_clusters_than_classes_by_hand"): {
        "majority-of-all": ("majority[leftover].sum()", "majority.sum()"),
    },
    ("scoring/statistics.py", "scoring", "test_statistics.py"): {
        "gain-one-sided": ("student_t.ppf((1 + LEVEL) / 2", "student_t.ppf(LEVEL"),
    },
    ("model/transform.py", "model", "test_model.py"): {
        "pca-scale": ("(n_components / values.sum()).sqrt()", "n_components / values.sum()"),
    },
}
MUTANTS = tuple(
    Mutant(name, file, before, after, tuple(f"tests/{folder}/{test}" for test in tests))
    for (file, folder, *tests), defects in _LIST.items()
    for name, (before, after) in defects.items()
)
