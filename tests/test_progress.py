import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headclust import progress


def test_a_note_is_a_line_on_stderr(capsys):
    progress.note("three files")
    assert capsys.readouterr() == ("", "three files\n")


def test_a_note_cannot_move_the_cursor(capsys):
    progress.note("evil\x1b[2Jname\nsecond\udce9")
    assert capsys.readouterr().err == "evil\\x1b[2Jname\\nsecond\\udce9\n"


@given(st.text(alphabet=st.characters()))
def test_printable_text_holds_no_control_character_and_can_be_encoded(text):
    shown = progress.printable(text)
    shown.encode("utf-8")
    assert all(unicodedata.category(c)[0] != "C" for c in shown)
    assert progress.printable(shown) == shown


@given(st.text(alphabet="aé字🙂 \\'\""))
def test_ordinary_text_is_shown_as_it_is(text):
    assert progress.printable(text) == text


def test_no_bar_where_nobody_watches(capsys):
    with progress.bar("working", 3, start=1) as advance:
        advance(1)
        advance(1)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal_counts_and_cleans_up(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress.bar("a [red]bold\x1b name", 7, start=2) as advance:
        advance(3)
    assert "a [red]bold\\x1b name" in terminal.getvalue()
    assert "5/7" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_a_bar_within_a_bar_is_not_shown(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress.bar("outer", 3) as advance:
        with progress.bar("inner", 5) as inner:
            inner(5)
        advance(1)
    assert "outer" in terminal.getvalue()
    assert "inner" not in terminal.getvalue()
    with progress.bar("afterwards", 2):
        pass
    assert "afterwards" in terminal.getvalue()


def test_a_bar_lets_errors_through():
    with pytest.raises(KeyboardInterrupt), progress.bar("working", 3):
        raise KeyboardInterrupt


@pytest.mark.parametrize("closed", [False, True])
def test_without_stderr_nothing_is_said(monkeypatch, closed):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr("sys.stderr", stream if closed else None)
    progress.note("three files")
    with progress.bar("working", 3) as advance:
        advance(1)


def test_quiet_is_quiet(monkeypatch, capsys):
    progress.be_quiet()
    try:
        progress.note("three files")
        monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
        with progress.bar("working", 3) as advance:
            advance(1)
    finally:
        progress.be_quiet(False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("elapsed", "remaining", "text"),
    [
        (61, 50, "1:01 elapsed, about 0:50 left"),
        (3725.4, 7200, "1:02:05 elapsed, about 2:00:00 left"),
        (3, None, "0:03 elapsed"),
        (59.7, 0, "1:00 elapsed"),
        (None, None, "0:00 elapsed"),
    ],
)
def test_the_two_times_of_a_bar_cannot_be_taken_for_one(elapsed, remaining, text):
    assert progress.times(elapsed, remaining) == text


def test_at_80_columns_the_times_are_in_one_line(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(progress, "times", lambda *_: "1:01 elapsed, about 0:50 left")
    with progress.bar("generalization scores of many heads", 50_000, start=2) as advance:
        advance(30_000)
    assert "1:01 elapsed, about 0:50 left" in terminal.getvalue()


def test_a_bar_of_a_child_process_is_lines_for_its_parent(monkeypatch, capsys):
    monkeypatch.setenv(progress.PROGRESS_LINES, "1")
    with progress.bar("two\nsteps", 3) as advance:
        with progress.bar("inner", 9) as inner:
            inner(9)
        advance(2)
        advance(1)
    lines = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert progress.parse_progress(lines[0]) == ("two\\nsteps", 0, 3)
    assert progress.parse_progress(lines[-1]) == ("two\\nsteps", 3, 3)
    assert all(progress.parse_progress(line)[0] == "two\\nsteps" for line in lines)
    assert progress.parse_progress("a note") is None
    assert progress.parse_progress("\x1enothing") is None
