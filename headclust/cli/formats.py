"""Tables in the formats of documents: Markdown and LaTeX, with everything escaped that these read as markup."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",
    "±": r"$\pm$",
    # At the start of a row LaTeX would read these as the argument of the line end.
    **{character: f"{{{character}}}" for character in "[]*"},
}
_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\|`*_<>[]"})


def in_markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of cells of text."""
    head, *body = ([" ".join(cell.translate(_MARKDOWN).split()) for cell in line] for line in (columns, *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(columns), *body))


def in_latex(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A LaTeX tabular with the rules of booktabs, of cells of text."""
    head, *body = (" & ".join(map(_latex, line)) + r" \\" for line in (columns, *rows))
    lines = [rf"\begin{{tabular}}{{{'l' * len(columns)}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def in_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """CSV of values; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue().rstrip("\n")


def _latex(text: str) -> str:
    return " ".join("".join(LATEX.get(character, character) for character in text).split())
