import json
import os
import re

import pytest
import torch

from headclust.graph.neighbors import nearest_neighbors
from headclust.training import train, unfinished
from headclust.training.sampling import Samples
from headclust.training.stages import Stage
from headclust.training.train import train_stage
from headclust.training.unfinished import keep, seconds_before

COMMON = {"n_clusters": 4, "n_heads": 3, "batch_size": 25, "lr": 0.1, "lr_batch": 256, "final_lr": 0.1, "warmup": 1}
HEAD = {"hidden_dim": 10, "bottleneck_dim": 6}
EPOCHS, STEPS = {"length": 6}, {"unit": "steps", "length": 23}
BATCHNORM = {"head": "batchnorm", "head_settings": {"hidden_dim": 8, "second_dim": 8}}
LINEAR = {"head": "linear", "length": 12}
PROTOTYPES = {"projection_dim": 5, "n_prototypes": 7}
STAGES = {
    "temi": {"objective": "temi", "head_settings": HEAD, **EPOCHS},
    "sgd, frozen": {"objective": "pmi", "head_settings": HEAD, "optimizer": "sgd", "freeze_last_layer": 2, **EPOCHS},
    "checkpoints": {"objective": "wmi", "head_settings": HEAD, "checkpoint_every": 1, **STEPS},
    "scan": {"objective": "scan", "head": "linear", "optimizer": "adam", **EPOCHS},
    "self-label": {"objective": "self-label", "objective_settings": {"threshold": 0.3}, "patience": 2, **LINEAR},
    "some heads stop": {"objective": "self-label", "objective_settings": {"threshold": 0.9}, "patience": 2, **LINEAR},
    "clc": {"objective": "clc", "head_settings": HEAD, **EPOCHS},
    "imc-swav": {"objective": "imc-swav", "objective_settings": PROTOTYPES, **BATCHNORM, **STEPS},
    "turtle": {"objective": "turtle", "head": "task", **STEPS},
    "turtle, warm": {"objective": "turtle", "objective_settings": {"warm_start": True}, "head": "task", **EPOCHS},
}


@pytest.fixture(scope="module")
def data(blobs):
    features = torch.tensor(blobs.features)
    noise = torch.randn(2, *features.shape, generator=torch.Generator().manual_seed(0))
    return Samples((features,), nearest_neighbors(features, 5).indices, (features + 0.1 * noise,))


@pytest.fixture
def always(monkeypatch):
    """A state is kept after every step."""
    monkeypatch.setattr(unfinished, "_INTERVAL", 0.0)


def fit(stage, data, folder, *, seed=0, stop_after=None, depends_on="this fit", **options):
    """Train a stage inside of `keep`; with `stop_after`, Ctrl-C comes in the step after that many."""
    real, done = train._update_, []

    def step(*given, **more):
        if len(done) == stop_after:
            raise KeyboardInterrupt
        done.append(real(*given, **more))
        return done[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_update_", step)
        with keep(folder, depends_on=depends_on):
            return train_stage(stage, data, seed=seed, **options), len(done)


def assert_same(first, second):
    assert (first.losses, first.history) == (second.losses, second.history)
    pairs = zip(((-1, first.heads), *first.checkpoints), ((-1, second.heads), *second.checkpoints), strict=True)
    for (step, heads), (other, others) in pairs:
        assert step == other
        for name, tensor in heads.state_dict().items():
            assert torch.equal(tensor, others.state_dict()[name]), (step, name)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("stop_after", [1, 10, 18])
def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(name, stop_after, data, always, tmp_path):
    stage = Stage(**{**COMMON, **STAGES[name]})
    whole = train_stage(stage, data, seed=3)
    with pytest.raises(KeyboardInterrupt):
        fit(stage, data, tmp_path / "run.partial", seed=3, stop_after=stop_after)
    rest, n_steps = fit(stage, data, tmp_path / "run.partial", seed=3)
    assert_same(rest, whole)
    assert n_steps == whole.history[-1]["step"] - stop_after  # no step is done twice
    assert list(tmp_path.iterdir()) == []


def test_stages_that_have_ended_are_not_trained_again(data, always, tmp_path):
    first, second = (Stage(**{**COMMON, **STAGES[name]}) for name in ("scan", "self-label"))
    whole = train_stage(first, data, seed=0)
    folder = tmp_path / "run.partial"

    def both():
        with keep(folder, depends_on=0):
            trained = train_stage(first, data, seed=0)
            fit(second, data, folder, stop_after=5, depends_on=0, start=trained.heads, position=1)

    with pytest.raises(KeyboardInterrupt):
        both()
    assert len(list(folder.iterdir())) == 2
    trained, n_steps = fit(first, data, folder, depends_on=0)
    assert n_steps == 0
    assert_same(trained, whole)


@pytest.mark.parametrize("change", [{"depends_on": "another"}, {"depends_on": {"seed": 1}}])
def test_another_fit_starts_anew(change, data, always, tmp_path):
    stage = Stage(**COMMON, **STAGES["temi"])
    with pytest.raises(KeyboardInterrupt):
        fit(stage, data, tmp_path / "run.partial", stop_after=5)
    _, n_steps = fit(stage, data, tmp_path / "run.partial", **change)
    assert n_steps == train_stage(stage, data, seed=0).history[-1]["step"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_state_is_not_used(damage, data, always, tmp_path, capsys):
    stage, folder = Stage(**COMMON, **STAGES["turtle"]), tmp_path / "run.partial"
    with pytest.raises(KeyboardInterrupt):
        fit(stage, data, folder, stop_after=5)
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes({"flipped": content, "cut": content[:-300], "empty": b""}[damage])
    trained, _ = fit(stage, data, folder)
    assert_same(trained, train_stage(stage, data, seed=0))
    assert re.search(
        r"training-1-\w+-\w+\.safetensors cannot be read \(.+\): the training starts anew\.$", capsys.readouterr().err
    )


def test_a_state_of_other_heads_is_not_used(data, always, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        fit(Stage(**COMMON, **STAGES["scan"]), data, tmp_path / "run.partial", stop_after=5)
    stage = Stage(**COMMON, **STAGES["clc"])
    trained, _ = fit(stage, data, tmp_path / "run.partial")
    assert_same(trained, train_stage(stage, data, seed=0))
    assert "of another version: it starts anew" in capsys.readouterr().err


def test_it_says_where_the_training_is_kept_and_where_it_goes_on(data, always, tmp_path, capsys):
    stage = Stage(**COMMON, **STAGES["temi"])
    with pytest.raises(KeyboardInterrupt):
        fit(stage, data, tmp_path / "run.partial", stop_after=0)
    assert capsys.readouterr().err == ""
    with pytest.raises(KeyboardInterrupt):
        fit(stage, data, tmp_path / "run.partial", stop_after=5)
    assert capsys.readouterr().err == f"{tmp_path}/run.partial keeps the training: the same command goes on with it.\n"
    fit(stage, data, tmp_path / "run.partial")
    assert capsys.readouterr().err == "the training goes on after step 5.\n"


def test_only_own_files_are_removed(data, always, tmp_path):
    folder = tmp_path / "run.partial"
    folder.mkdir()
    for name in ("notes.txt", "training-set.safetensors", ".headclust-writing.tmp", ".headclust-killed.tmp"):
        (folder / name).write_text("")
    os.utime(folder / ".headclust-killed.tmp", (0, 0))
    os.utime(folder / ".headclust-writing.tmp", (2**32, 2**32))  # later than now, as the interval is 0 here
    fit(Stage(**COMMON, **STAGES["temi"]), data, folder)
    names = {file.name for file in folder.iterdir()}
    assert names == {"notes.txt", "training-set.safetensors", ".headclust-writing.tmp"}


def test_a_fit_with_other_settings_leaves_a_state_alone(data, always, tmp_path):
    stage = Stage(**COMMON, **STAGES["temi"])
    whole, folder = train_stage(stage, data, seed=0), tmp_path / "run.partial"
    with pytest.raises(KeyboardInterrupt):
        fit(stage, data, folder, stop_after=5)
    fit(stage, data, folder, seed=1, depends_on="another fit")
    trained, n_steps = fit(stage, data, folder)
    assert_same(trained, whole)
    assert n_steps == whole.history[-1]["step"] - 5
    assert not folder.exists()


def test_a_stage_from_other_heads_starts_anew(data, always, tmp_path):
    first, second = (Stage(**{**COMMON, **STAGES[name]}) for name in ("scan", "self-label"))
    heads, others = (train_stage(first, data, seed=seed).heads for seed in (0, 1))
    with pytest.raises(KeyboardInterrupt):
        fit(second, data, tmp_path / "run.partial", stop_after=5, start=heads, position=1)
    trained, _ = fit(second, data, tmp_path / "run.partial", start=others, position=1)
    assert_same(trained, train_stage(second, data, seed=0, start=others, position=1))
    assert not (tmp_path / "run.partial").exists()


@pytest.mark.parametrize("target", ["precious", "missing", "the link itself"])
def test_a_link_is_not_followed(target, data, always, tmp_path, capsys):
    stage, folder = Stage(**COMMON, **STAGES["temi"]), tmp_path / "run.partial"
    (tmp_path / "precious").write_text("of the user")
    with pytest.raises(KeyboardInterrupt):
        fit(stage, data, folder, stop_after=5)
    (file,) = folder.iterdir()
    file.unlink()
    file.symlink_to(file if target == "the link itself" else tmp_path / target)
    capsys.readouterr()
    trained, _ = fit(stage, data, folder)
    assert_same(trained, train_stage(stage, data, seed=0))
    assert (tmp_path / "precious").read_text() == "of the user"
    assert "is a link" in capsys.readouterr().err.splitlines()[-1]


def test_a_name_that_is_too_long_ends_no_training(data, always, tmp_path, capsys):
    stage = Stage(**COMMON, **STAGES["temi"])
    trained, _ = fit(stage, data, tmp_path / ("x" * 250 + ".partial"))
    assert_same(trained, train_stage(stage, data, seed=0))
    assert "File name too long" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_ends_no_fit(data, always, tmp_path, capsys):
    (tmp_path / "run.partial").write_text("a file of the user")
    stage = Stage(**COMMON, **STAGES["temi"])
    trained, _ = fit(stage, data, tmp_path / "run.partial")
    assert_same(trained, train_stage(stage, data, seed=0))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("a fit that is killed loses what it has done since.")
    assert (tmp_path / "run.partial").read_text() == "a file of the user"


def test_a_disk_that_fills_is_told_once(data, always, tmp_path, monkeypatch, capsys):
    real, n_written = unfinished.atomic_file, []

    def full(path):
        n_written.append(path)
        if len(n_written) > 2:
            raise OSError(28, "No space left on device")
        return real(path)

    monkeypatch.setattr(unfinished, "atomic_file", full)
    fit(Stage(**COMMON, **STAGES["temi"]), data, tmp_path / "run.partial")
    assert capsys.readouterr().err.count("No space left on device") == 1
    assert not (tmp_path / "run.partial").exists()


def test_short_trainings_leave_no_state(data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(Stage(**COMMON, **STAGES["temi"]), data, tmp_path / "run.partial", stop_after=9)
    assert list(tmp_path.iterdir()) == []


def test_seconds_and_the_time_limit_count_what_was_spent_before(data, always, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    real = train._update_

    def slow(*given, **more):
        now[0] += 10
        return real(*given, **more)

    stage = Stage(**COMMON, **{**STAGES["temi"], "length": 100}, max_seconds=95)
    folder = tmp_path / "run.partial"
    monkeypatch.setattr(train, "_update_", slow)
    with pytest.raises(KeyboardInterrupt):
        fit(stage, data, folder, stop_after=6)
    with keep(folder, depends_on="this fit"):
        assert seconds_before() == 0
        trained = train_stage(stage, data, seed=0)
        assert seconds_before() == 60
    assert trained.history[-1]["step"] == 10


def test_the_state_is_readable_without_this_package(data, always, tmp_path):
    from safetensors import safe_open

    with pytest.raises(KeyboardInterrupt):
        fit(Stage(**COMMON, **STAGES["temi"]), data, tmp_path / "run.partial", stop_after=7)
    (path,) = (tmp_path / "run.partial").iterdir()
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["values"])["step"] == 7
        assert "student/hidden_weight" in file.keys()  # noqa: SIM118
