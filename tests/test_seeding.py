import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from headclust.seeding import stream_seed, torch_generator

seeds = st.integers(0, 2**70)


@given(seeds, st.integers(0, 5), st.integers(0, 60))
def test_a_stream_seed_is_repeatable_and_fits_63_bits(seed, purpose, head):
    found = stream_seed(seed, purpose, head)
    assert 0 <= found < 2**63
    assert found == stream_seed(seed, purpose, head)


def test_streams_and_seeds_differ():
    paths = [(seed, purpose, head) for seed in range(6) for purpose in range(4) for head in range(50)]
    assert len({stream_seed(*path) for path in paths}) == len(paths)


def test_the_numbers_stay_the_same_from_version_to_version():
    # A recorded seed has to mean the same run next year.
    assert [stream_seed(0), stream_seed(0, 1, 3), stream_seed(7, 2)] == [
        7896617691693857887,
        5276725955892761082,
        9139555415570476218,
    ]


def test_a_generator_draws_its_stream():
    expected = torch.Generator().manual_seed(stream_seed(3, 1))
    assert torch.equal(torch.rand(5, generator=torch_generator(3, 1)), torch.rand(5, generator=expected))


def test_global_generators_are_left_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    torch_generator(3, 1)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
