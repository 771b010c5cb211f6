import math
import sys
from pathlib import Path

import pytest

from headclust.cli import compare, formats
from headclust.cli.printing import flat, number, plain, print_json, table
from headclust.progress import percent

ROWS = [["temi", "79.5 %", "a meaning of several words that is long"], ["写真", "9.0 %", "x" * 40]]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.7947, "79.5 %"),
        ("ari", -0.01, "-1.0 %"),
        ("agreement", None, "-"),
        ("entropy", 1, "100.0 %"),
        ("seconds", 12.34, "12.3 s"),
        ("n_samples", 1200, "1200"),
        ("learning_rate", 1e-5, "1e-05"),
        ("whiten", True, "yes"),
        ("mean", [0.5, 0.25], "0.5, 0.25"),
        ("class_names", [str(i) for i in range(100)], "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... (100 in all)"),
    ],
)
def test_one_form_of_numbers(name, value, text):
    assert number(name, value) == text


def test_a_share_has_one_decimal_and_the_unit():
    assert [percent(share) for share in (0, 0.0625, 0.7947, 1)] == ["0.0 %", "6.2 %", "79.5 %", "100.0 %"]


def test_what_is_inside_has_the_name_of_what_is_around_it():
    values = {"a": 1, "eval": {"accuracy": 0.5}, "features": [{"path": "x"}], "empty": {}, "two": [{"n": 1}, {"n": 2}]}
    expected = [["a", "1"], ["eval.accuracy", "50.0 %"], ["features.path", "x"], ["empty", "{}"]]
    assert flat(values) == [*expected, ["two.1.n", "1"], ["two.2.n", "2"]]
    assert plain([]) == "-"


def test_json_has_paths_as_text_and_no_nan(capsys):
    print_json({"path": Path("a") / "b", "numbers": (1, math.nan, -math.inf), 3: [None]})
    assert "".join(capsys.readouterr().out.split()) == '{"path":"a/b","numbers":[1,null,null],"3":[null]}'


def test_in_a_pipe_a_row_is_a_line_without_boxes_and_without_padding(capsys):
    table(("method", "ACC", "meaning"), [*ROWS, ["evil\x1b[2J\nname", "-", ""]])
    assert capsys.readouterr().out.splitlines() == [
        "method             ACC     meaning",
        "temi               79.5 %  a meaning of several words that is long",
        "写真               9.0 %   " + "x" * 40,
        "evil\\x1b[2J\\nname  -",
    ]


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of a width: terminal(columns)."""

    def of_width(columns):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))

    return of_width


def test_on_a_terminal_the_last_column_is_wrapped(terminal, capsys):
    terminal(40)
    table(("method", "ACC", "meaning"), ROWS)
    lines = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in capsys.readouterr().out.splitlines()]
    assert lines[1:4] == ["temi    79.5 %  a meaning of several", " " * 16 + "words that is long", lines[3]]
    assert all(len(line) <= 40 for line in lines)


def test_on_a_terminal_columns_are_left_out_and_that_is_written(terminal, capsys):
    terminal(30)
    table(("method", "ACC", "seconds"), [["spherical-kmeans", "79.5 %", "12.5"]], spare=("seconds", "ACC"))
    out, err = capsys.readouterr()
    assert "spherical-kmeans  79.5 %" in out
    assert "12.5" not in out
    assert err == "no room for the columns seconds: widen the window, or use --json.\n"


def test_on_a_terminal_one_line_is_cut(terminal, capsys):
    terminal(40)
    table(("method", "ACC", "meaning"), ROWS[:1], one_line=True)
    assert capsys.readouterr().out.splitlines()[1] == "temi    79.5 %  a meaning of several ..."


SPECIAL = "a_b & 5 % | <x> \\ {y} ~ ^ # $ *\n± é"


def test_markdown_is_escaped():
    text = formats.in_markdown(["method", "ACC"], [[SPECIAL, "79.5 %"]])
    assert text.splitlines()[:2] == ["| method | ACC |", "| --- | --- |"]
    assert text.splitlines()[2] == r"| a\_b & 5 % \| \<x\> \\ {y} ~ ^ # $ \* ± é | 79.5 % |"


def test_latex_is_escaped():
    head, *lines = formats.in_latex(["method", "ACC"], [[SPECIAL, "79.5 %"]]).splitlines()
    assert (head, lines[-1]) == (r"\begin{tabular}{ll}", r"\end{tabular}")
    assert lines[3] == (
        r"a\_b \& 5 \% \textbar{} \textless{}x\textgreater{} \textbackslash{} \{y\} \textasciitilde{} "
        r"\textasciicircum{} \# \$ {*} $\pm$ é & 79.5 \% \\"
    )


def comparison(n_seeds=2, n_methods=2):
    names = [f"a-method-with-a-long-name-{number}" for number in range(n_methods)]
    gain = {"accuracy": {"mean": 0.012, "low": -0.003, "high": 0.027}}
    mean = {"accuracy": 0.7947, "nmi": 0.5, "ami": 0.4, "ari": 0.3, "clusters_used": 3.5, "seconds": 1.26}
    numbers = {"mean": mean, "sd": dict.fromkeys(mean, 0.01 if n_seeds > 1 else None), "gain": gain}
    entries = [{"method": name, "fits": [{"seed": seed} for seed in range(n_seeds)], **numbers} for name in names]
    agreement = {a: dict.fromkeys(names, 0.5) for a in names}
    return {"n_clusters": 4, "seeds": list(range(n_seeds)), "methods": entries, "agreement": agreement}


def test_a_comparison_fits_a_terminal_of_80_columns_without_broken_words(terminal, capsys):
    terminal(80)
    table(*compare._texts(comparison()), spare=compare._SPARE)
    compare._print_agreement(comparison(n_methods=9))
    out, err = capsys.readouterr()
    assert all(len(line.replace("\x1b[1m", "").replace("\x1b[0m", "")) <= 80 for line in out.splitlines())
    assert "79.5 ± 1.0 %" in out
    assert "+1.2 [-0.3, +2.7]" in out
    assert "no room for the columns" in err


def test_a_comparison_as_csv_has_fractions_with_every_digit():
    titles, rows = compare._numbers(comparison())
    assert titles[:5] == ["method", "rows", "n_fits", "accuracy", "accuracy_sd"]
    assert rows[0][1:5] == ["fitted", 2, 0.7947, 0.01]
    assert formats.in_csv(titles, rows).splitlines()[1].startswith("a-method-with-a-long-name-0,fitted,2,0.7947,0.01,")
    assert formats.in_csv(["a"], [[None], ['x "y", z']]).splitlines() == ["a", '""', '"x ""y"", z"']


def test_columns_that_say_nothing_are_left_out():
    assert "seeds" not in compare._texts(comparison(n_seeds=1))[0]
    assert "rows" not in compare._texts(comparison())[0]
    assert compare._texts(comparison(n_seeds=1))[1][0][1] == "79.5 %"


def test_a_row_that_starts_with_a_bracket_is_no_argument_of_the_line_end():
    lines = formats.in_latex(["method"], [["[a"], ["*b"]]).splitlines()
    assert [line.partition(" ")[0] for line in lines[4:6]] == ["{[}a", "{*}b"]
