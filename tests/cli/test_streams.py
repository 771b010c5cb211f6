"""Streams that cannot take everything: encodings, full disks, closed ones, and a current folder that is gone."""

import errno
import io
import os
import sys

import pytest

from headclust import cli
from headclust.cli.streams import prepare_stdout
from headclust.progress import last_note, last_notes, note

NAME = "caf\udce9 \u2615 \u00e4"  # a byte that is not UTF-8, a character beyond Latin-1, and one within


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", b"caf\xe9 \xe2\x98\x95 \xc3\xa4"),
        ("ascii", b"caf\xe9 \xe2\x98\x95 \xc3\xa4"),  # the C locale
        ("latin-1", b"caf\xe9 \\u2615 \xe4"),
        ("cp1252", b"caf\xe9 \\u2615 \xe4"),
        ("koi8-r", b"caf\xe9 \\u2615 \\xe4"),
    ],
)
def test_any_name_can_be_printed_in_any_encoding(monkeypatch, encoding, expected):
    stream = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, encoding=encoding))
    prepare_stdout()
    sys.stdout.write(NAME)
    sys.stdout.flush()
    assert stream.getvalue() == expected


def test_a_closed_stdout_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    prepare_stdout()


def _main(monkeypatch, command):
    monkeypatch.setattr(cli.cli, "main", lambda **_: command())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def _raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device: stdout"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset by peer"),
        (OSError("a library says\nthis"), "a library says this"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a\nb"), "No such file: a\\nb"),
    ],
)
def test_errors_of_the_system_name_stdout_only_if_it_is_stdout(monkeypatch, capsys, error, line):
    assert _main(monkeypatch, _raising(error)) == 2
    assert capsys.readouterr().err == f"headclust: error: {line}\n"


def test_a_current_folder_that_is_gone_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(os, "getcwd", _raising(FileNotFoundError(2, "No such file or directory")))
    assert _main(monkeypatch, lambda: 0) == 2
    expected = "headclust: error: the current folder no longer exists: change to another one (cd).\n"
    assert capsys.readouterr().err == expected


def test_a_command_that_left_out_many_images_ends_with_the_line_and_another_exit_code(monkeypatch, capsys):
    def command():
        last_note("WARNING: many")
        note("the next step")

    assert _main(monkeypatch, command) == 3
    assert capsys.readouterr().err == "the next step\nWARNING: many\n"
    last_note("at once, without a command")
    assert capsys.readouterr().err == "at once, without a command\n"


def test_the_line_comes_before_an_error_that_follows(monkeypatch, capsys):
    from headclust.errors import DataError

    def command():
        last_note("WARNING: many")
        raise DataError("too few.")

    assert _main(monkeypatch, command) == 2
    assert capsys.readouterr().err == "WARNING: many\nheadclust: error: too few.\n"


def test_a_stderr_on_a_full_disk_ends_nothing(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    with last_notes():
        note("a line")
        last_note("another")
