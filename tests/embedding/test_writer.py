"""Blocks that are written behind the model."""

import threading

import pytest

from headclust.embedding.writer import writing_behind


def test_blocks_are_written_in_order_while_the_model_computes_the_next():
    written, model_went_on = [], threading.Event()

    def first():
        assert model_went_on.wait(10)
        written.append(0)

    with writing_behind() as write:
        write(first)
        write(lambda: written.append(1))
        assert written == []
        model_went_on.set()
        for block in range(2, 20):
            write(lambda block=block: written.append(block))
            assert len(written) >= block - 2  # two at most are behind
    assert written == list(range(20))


def test_a_block_that_cannot_be_written_ends_the_run_and_no_later_one_is():
    written = []

    def fails():
        raise OSError("disk full")

    def write_all():
        with writing_behind() as write:
            write(lambda: written.append(0))
            write(fails)
            for block in range(2, 9):
                write(lambda block=block: written.append(block))

    with pytest.raises(OSError, match="disk full"):
        write_all()
    assert written == [0]


def test_an_error_at_the_last_block_is_raised():
    def fails():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), writing_behind() as write:
        write(fails)


def test_blocks_that_were_computed_before_an_interruption_are_written():
    written = []

    def write_some():
        with writing_behind() as write:
            write(lambda: written.append(0))
            write(lambda: written.append(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_some()
    assert written == [0, 1]
