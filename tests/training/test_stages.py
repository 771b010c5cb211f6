import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headclust.errors import SettingError
from headclust.training.stages import Schedule, Stage, build_objective, part_defaults


def learning_rates(stage, n_steps, warmup, batch_size):
    """The authors' cosine_scheduler: numpy.linspace from 0, then a cosine over what is left."""
    peak = stage.lr * batch_size / stage.lr_batch if stage.lr_batch else stage.lr
    steps = np.arange(n_steps - warmup)
    final = peak * stage.final_lr
    rest = final + 0.5 * (peak - final) * (1 + np.cos(np.pi * steps / max(1, len(steps))))
    return np.concatenate((np.linspace(0, peak, warmup), rest))[:n_steps]


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
    expected = learning_rates(stage, schedule.n_steps, schedule.warmup_steps, batch_size=1)
    actual = [schedule.lr_share(step) for step in range(schedule.n_steps)]
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


@given(length=st.integers(1, 40), per_epoch=st.integers(1, 5), unit=st.sampled_from(["epochs", "steps"]))
def test_segments_are_epochs_or_tenths(length, per_epoch, unit):
    schedule = Schedule(Stage(objective="temi", unit=unit, length=length), steps_per_epoch=per_epoch)
    assert sum(schedule.segments) == schedule.n_steps
    if unit == "epochs":
        assert schedule.segments == [per_epoch] * length
    else:
        assert len(schedule.segments) == min(10, length)
        assert max(schedule.segments) - min(schedule.segments) <= 1


def test_steps_of_the_learning_rate_are_equal_factors():
    # IMC-SwAV: times 0.4 at epochs 150, 300 and 400 of 500.
    stage = Stage(objective="temi", unit="epochs", length=500, warmup=0, decay="steps", final_lr=0.4**3)
    schedule = Schedule(stage, steps_per_epoch=2)
    actual = [schedule.lr_share(epoch * 2) for epoch in (0, 149, 150, 299, 300, 399, 400, 499)]
    np.testing.assert_allclose(actual, [1, 1, 0.4, 0.4, 0.16, 0.16, 0.064, 0.064])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("transform", ("whiten",)),
        ("unit", ("days",)),
        ("reduction", ("max",)),
        ("teacher_momentum", (1.0, 0.0, -1.0, math.nan)),
        ("neighbor_list", ("all",)),
        ("neighbor_search", ("fast",)),
        ("decay", ("linear",)),
        ("lr", (0.0, -1.0, math.nan)),
        ("final_lr", (-0.1, math.nan)),
        ("max_seconds", (-1.0, math.nan)),
        *((name, (0, -1)) for name in ("n_heads", "n_components", "n_neighbors")),
        ("batch_size", (0, -1)),
        ("length", (-1,)),
        *((name, (-1,)) for name in ("n_clusters", "warmup", "freeze_last_layer", "lr_batch", "patience")),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, values):
    for value in values:
        with pytest.raises(SettingError, match=rf"^{name} is .*: expected "):
            Stage(**{"objective": "temi", name: value})


def test_an_objectives_settings_are_checked_before_anything_is_trained():
    with pytest.raises(SettingError, match=r"^beta is 2: expected"):
        Stage(objective="temi", objective_settings={"beta": 2})


def test_the_settings_of_each_part_are_checked_by_it():
    for part, settings in (("head", {"depth": 3}), ("optimizer", {"nesterov": True}), ("objective", {"gamma": 2})):
        with pytest.raises(TypeError):
            Stage(**{"objective": "temi", f"{part}_settings": settings})
    with pytest.raises(SettingError, match=r"^weight_decay is -1: expected 0 or more"):
        Stage(objective="temi", optimizer_settings={"weight_decay": -1})
    with pytest.raises(SettingError, match=r"^beta1 is 1: expected"):
        Stage(objective="temi", optimizer_settings={"beta1": 1})


@pytest.mark.parametrize(("part", "name"), [("objective", "tmi"), ("head", "centroids"), ("optimizer", "lion")])
def test_unknown_parts_are_refused(part, name):
    # Centroids are heads, but none that can be trained.
    with pytest.raises(SettingError, match=rf"^unknown {part} '{name}'"):
        Stage(**{"objective": "temi", part: name})


def test_fields_that_an_objective_does_not_use_are_no_settings():
    assert Stage(objective="temi").unused == {"patience"}


def test_an_objective_is_built_with_what_its_signature_names():
    objective = build_objective(
        Stage(objective="temi", objective_settings={"beta": 0.7}), n_heads=3, n_clusters=5, feature_dims=(2,), seed=1
    )
    assert objective.settings.beta == 0.7
    assert objective.marginal.shape == (3, 5)


def test_a_seed_is_no_setting():
    def build(*, n_heads: int, seed: int = 0, width: int = 3) -> None: ...

    assert part_defaults(build) == {"width": 3}
