"""Content of a results file as Markdown, CSV, JSON or LaTeX. The same results give the same bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from headclust.cli.formats import LATEX
from headclust.progress import printable
from study.published import TRUST, Published
from study.sections import Section, sections
from study.summary import COLUMNS, Line, Summary, summarize

_SPECIAL = re.compile(r"[\\`*<>\[\]|~&]|(?<!\w)_|_(?!\w)")


def markdown(results: Iterable[Line]) -> str:
    """Tables whose columns line up, so that a terminal shows them as well as a browser."""
    return in_markdown(sections(summarize(results)))


def in_markdown(tables: Iterable[Section]) -> str:
    """Sections one below the other."""
    return "\n".join(map(_markdown_section, tables))


def latex(results: Iterable[Line]) -> str:
    """Long tables with booktabs' rules; they are wide, so best on landscape pages."""
    start = "% Needs \\usepackage{booktabs,longtable}.\n"
    return start + "\n".join(map(_latex_section, sections(summarize(results))))


def csv_table(results: Iterable[Line]) -> str:
    """One line per row of the table, in full precision: shares from 0 to 1, seconds, empty for unknown values."""
    rows = [list(map(_field, row)) for row in _rows(summarize(results)).itertuples(index=False, name=None)]
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object).to_csv(index=False, lineterminator="\n")


def json_table(results: Iterable[Line]) -> str:
    """The whole summary in full precision: `rows` as in the CSV, averages, ablations, published numbers."""
    summary = summarize(results)
    content = {
        "rows": _rows(summary).to_dict("records"),
        "averages": summary.averages.to_dict("records"),
        "ablations": summary.points.drop(columns="seeds").to_dict("records"),
        "published": [result._asdict() for result in summary.published],
        "trust": TRUST,
        "failures": [{"id": name, "error": error} for name, error in summary.failures],
        "made_with": summary.made_with,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Iterable[Line]], str]] = {
    "markdown": markdown,
    "csv": csv_table,
    "json": json_table,
    "latex": latex,
}


def _rows(summary: Summary) -> pd.DataFrame:
    cited = ["; ".join(map(_cited, results)) for results in summary.rows["published"]]
    return summary.rows[list(COLUMNS)].assign(published=cited)


def _cited(result: Published) -> str:
    scores = ", ".join(f"{name} {value:g}" for name, value in result.scores.items())
    return f"{scores} [{result.trust}] {result.source}"


def _field(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return printable(value) if isinstance(value, str) else value


def _markdown_section(section: Section) -> str:
    right = [column.startswith(">") for column in section.columns]
    table = [
        [_in_markdown(text) for text in row] for row in ([c.removeprefix(">") for c in section.columns], *section.rows)
    ]
    widths = [max(3, *map(len, column)) for column in zip(*table, strict=True)]
    table.insert(1, ["-" * (width - is_right) + ":" * is_right for width, is_right in zip(widths, right, strict=True)])
    lines = [
        " | ".join(
            f"{text:{'>' if is_right else '<'}{width}}"
            for text, width, is_right in zip(row, widths, right, strict=True)
        )
        for row in table
    ]
    body = "".join(f"| {line} |\n" for line in lines)
    return f"## {_in_markdown(section.title)}\n\n{body}" + "".join(f"\n{note}\n" for note in section.notes)


def _in_markdown(text: str) -> str:
    return _SPECIAL.sub(lambda sign: f"\\{sign[0]}", printable(text))


def _latex_section(section: Section) -> str:
    is_number = [column.startswith(">") for column in section.columns]
    titles = [_in_latex(column.removeprefix(">")) for column in section.columns]
    rows = [
        [_in_latex(text, is_number=right) for text, right in zip(row, is_number, strict=True)] for row in section.rows
    ]
    table = pd.DataFrame(rows, columns=pd.Index(titles, dtype=object), dtype=object).to_latex(
        index=False,
        escape=False,  # pandas escapes neither <, > and | nor what follows the end of a line
        longtable=True,
        caption=_in_latex(section.title),
        column_format="".join("r" if right else "l" for right in is_number),
    )
    notes = "".join(f"{_in_latex(note)}\n" for note in section.notes)
    return "\\begingroup\\scriptsize\\setlength{\\tabcolsep}{3pt}\n" + table + notes + "\\par\\endgroup\n"


def _in_latex(text: str, *, is_number: bool = False) -> str:
    escaped = "".join(LATEX.get(sign, sign) for sign in printable(text)).replace("--", "-{}-")
    return re.sub(r"(?<!\w)([+-])(?=\d)", r"$\1$", escaped) if is_number else escaped
