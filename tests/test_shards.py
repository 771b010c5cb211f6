"""The parts of a work, and where a process learns which is its own."""

import pytest

from headclust.errors import SettingError
from headclust.shards import Shard, local_processes, local_rank, parse_shard, process_shard

ARRAY = {f"SLURM_ARRAY_TASK_{name}": value for name, value in (("MIN", "0"), ("MAX", "6"), ("COUNT", "4"))}
ARRAY["SLURM_ARRAY_TASK_STEP"] = "2"


@pytest.mark.parametrize(("n_blocks", "of"), [(0, 1), (1, 1), (7, 3), (8, 8), (3, 7), (100, 6)])
def test_shards_have_every_block_once_in_order(n_blocks, of):
    ranges = [shard.range(n_blocks) for shard in Shard(1, of).siblings()]
    assert [block for blocks in ranges for block in blocks] == list(range(n_blocks))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


def test_names():
    shard = parse_shard("3/8")
    assert (shard, str(shard), shard.name) == (Shard(3, 8), "3/8", "3-of-8")


@pytest.mark.parametrize(
    "text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "1/4 ", "a/b", "1/4/2", "1.0/2", "٣/٨", "1/999999"]
)
def test_what_is_no_shard_is_one_line(text):
    with pytest.raises(SettingError, match="expected I/N"):
        parse_shard(text)


@pytest.mark.parametrize(
    ("text", "environment", "shard", "line"),
    [
        (None, {}, None, ""),
        ("2/4", {}, Shard(2, 4), ""),
        ("1/1", {"RANK": "1", "WORLD_SIZE": "2"}, None, ""),
        (None, {"RANK": "1", "WORLD_SIZE": "4"}, Shard(2, 4), "shard 2/4, from torchrun"),
        ("2/4", {"RANK": "1", "WORLD_SIZE": "4"}, Shard(2, 4), ""),
        (None, {"RANK": "0", "WORLD_SIZE": "1"}, None, ""),
        (None, {**ARRAY, "SLURM_ARRAY_TASK_ID": "4"}, Shard(3, 4), "shard 3/4, from SLURM_ARRAY_TASK_ID"),
        (None, {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "1"}, None, ""),
        # Each of four jobs runs torchrun with two processes.
        (None, {**ARRAY, "SLURM_ARRAY_TASK_ID": "4", "RANK": "1", "WORLD_SIZE": "2"}, Shard(6, 8), "shard 6/8"),
        # Jobs that are submitted again, with their shards named.
        ("7/9", {**ARRAY, "SLURM_ARRAY_TASK_ID": "4"}, Shard(7, 9), ""),
        ("7/9", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2"}, Shard(7, 9), ""),
    ],
)
def test_the_shard_of_a_process(text, environment, shard, line, capsys):
    assert process_shard(text, environment) == shard
    error = capsys.readouterr().err
    assert line in error
    assert bool(error) is bool(line)


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("1/4", {"RANK": "1", "WORLD_SIZE": "4"}, "--shard 1/4 contradicts torchrun .* which gives 2/4"),
        ("1/2", {"RANK": "1", "WORLD_SIZE": "4"}, "contradicts"),
        ("1/4", {**ARRAY, "SLURM_ARRAY_TASK_ID": "6"}, "contradicts SLURM_ARRAY_TASK_ID, which gives 4/4"),
        (None, {"RANK": "4", "WORLD_SIZE": "4"}, "RANK is 4 and WORLD_SIZE 4: expected 0 to 3"),
        (None, {"RANK": "x", "WORLD_SIZE": "4"}, "RANK is 'x': expected a whole number"),
        (None, {**ARRAY, "SLURM_ARRAY_TASK_ID": "3"}, "array with gaps"),
        (None, {**ARRAY, "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_ID": "2"}, "name the shard with --shard"),
        (None, {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2"}, "name the shard with --shard"),
    ],
)
def test_an_environment_that_does_not_fit_is_one_line(text, environment, message):
    with pytest.raises(SettingError, match=message):
        process_shard(text, environment)


def test_the_number_on_the_machine():
    assert local_rank({}) is None
    assert local_rank({"LOCAL_RANK": "3"}) == 3
    assert local_processes({}) == 1
    assert local_processes({"LOCAL_WORLD_SIZE": "8"}) == 8
