"""What a results file says, as Markdown, CSV, JSON or LaTeX. The same results give the same bytes."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from headclust.progress import printable
from headclust.scoring.statistics import Gain, Spread
from study.published import SCORES, TRUST, Published
from study.sections import Section, sections
from study.summary import PROBES, Line, summarize
from study.tables import Average, Row

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{sign: f"{{{sign}}}" for sign in "[]*"},  # after a line's end these would be read as its argument
}
_SPECIAL = re.compile(r"[\\`*<>\[\]|~&]|(?<!\w)_|_(?!\w)")


def markdown(results: Iterable[Line]) -> str:
    """Tables whose columns line up, so that a terminal shows them as well as a browser."""
    return in_markdown(sections(summarize(results)))


def in_markdown(found: Iterable[Section]) -> str:
    """Sections one below the other."""
    return "\n".join(_markdown_section(section) for section in found)


def latex(results: Iterable[Line]) -> str:
    """Long tables with booktabs' rules; they are wide, so best on landscape pages."""
    start = "% Needs \\usepackage{booktabs,longtable}.\n"
    return start + "\n".join(_latex_section(section) for section in sections(summarize(results)))


def csv_table(results: Iterable[Line]) -> str:
    """One line a row of the table, in full precision: shares from 0 to 1, seconds, empty where nothing is known."""
    records = [{name: _field(value) for name, value in record(row).items()} for row in summarize(results).rows]
    columns = list(dict.fromkeys(name for one in records for name in one))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def json_table(results: Iterable[Line]) -> str:
    """Everything there is to say, in full precision: `rows` as in the CSV, averages, ablations, published numbers."""
    summary = summarize(results)
    content = {
        "rows": [record(row) for row in summary.rows],
        "averages": [_average(one) for one in summary.averages],
        "ablations": [
            {**point.unit._asdict(), **point.contender._asdict(), "setting": point.curve, "value": point.value}
            | _spreads(point.scores)
            for point in summary.points
        ],
        "published": [asdict(one) for one in summary.published],
        "trust": TRUST,
        "failures": [{"id": name, "error": error} for name, error in summary.failures],
        "made_with": list(summary.made_with),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Iterable[Line]], str]] = {
    "markdown": markdown,
    "csv": csv_table,
    "json": json_table,
    "latex": latex,
}


def record(row: Row) -> dict[str, Any]:
    """A row as flat fields: the columns of the CSV."""
    fields: dict[str, Any] = {**row.unit._asdict(), **row.contender._asdict(), **row.facts}
    fields |= {"n_clusters": row.n_clusters, "head_choice": row.head_choice, "seeds": list(row.seeds)}
    fields |= {
        "failed": row.failed,
        "stale": row.stale,
        **_spreads(row.scores),
        "baseline": row.baseline,
        **_gains(row.gains),
    }
    for name in ("clusters_used", "seconds", "neighbor_seconds", "steps_reached", "steps_planned"):
        fields[name] = row.details[name].mean if name in row.details else None
    fields["capped"] = row.capped
    for name in SCORES:
        oracle = row.details.get(f"oracle_{name}")
        fields[f"oracle_{name}"] = oracle.mean if oracle else None
    fields["published"] = "; ".join(map(_cited, row.published))
    last = (*PROBES, "published")
    return {name: value for name, value in fields.items() if name not in last} | {name: fields[name] for name in last}


def _average(one: Average) -> dict[str, Any]:
    counts = {"pairs": one.n, "ahead": one.ahead, "paired": one.paired}
    return {"scope": one.scope, **one.contender._asdict(), **counts, **_spreads(one.scores), **_gains(one.gains)}


def _spreads(scores: Mapping[str, Spread]) -> dict[str, float | None]:
    fields: dict[str, float | None] = {}
    for name in SCORES:
        found = scores.get(name)
        fields |= {name: found.mean if found else None, f"{name}_sd": found.sd if found else None}
    return fields


def _gains(gains: Mapping[str, Gain]) -> dict[str, float | None]:
    fields: dict[str, float | None] = {}
    for name in SCORES:
        found = gains.get(name)
        for end in ("mean", "low", "high"):
            fields[f"{name}_gain{'' if end == 'mean' else '_' + end}"] = getattr(found, end) if found else None
    return fields


def _cited(one: Published) -> str:
    scores = ", ".join(f"{name} {value:g}" for name, value in one.scores.items())
    return f"{scores} [{one.trust}] {one.source}"


def _field(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return printable(value) if isinstance(value, str) else value


def _markdown_section(section: Section) -> str:
    columns = [name.removeprefix(">") for name in section.columns]
    rows = [[_in_markdown(cell) for cell in row] for row in section.rows]
    widths = [max(3, *(len(cells[i]) for cells in [columns, *rows])) for i in range(len(columns))]
    right = [name.startswith(">") for name in section.columns]
    rule = ["-" * (width - 1) + ":" if is_right else "-" * width for width, is_right in zip(widths, right, strict=True)]
    lines = [_markdown_line(columns, widths, right), _markdown_line(rule, widths, right)]
    lines += [_markdown_line(row, widths, right) for row in rows]
    notes = "".join(f"\n{note}\n" for note in section.notes)
    return f"## {_in_markdown(section.title)}\n\n" + "\n".join(lines) + f"\n{notes}"


def _markdown_line(cells: Iterable[str], widths: Iterable[int], right: Iterable[bool]) -> str:
    padded = [
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(cells, widths, right, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _in_markdown(text: str) -> str:
    return _SPECIAL.sub(lambda sign: f"\\{sign[0]}", printable(text))


def _latex_section(section: Section) -> str:
    numbers = [name.startswith(">") for name in section.columns]
    head = " & ".join(_in_latex(name.removeprefix(">")) for name in section.columns)
    body = [
        " & ".join(_number(cell) if number else _in_latex(cell) for cell, number in zip(row, numbers, strict=True))
        for row in section.rows
    ]
    lines = [
        r"\begingroup\scriptsize\setlength{\tabcolsep}{3pt}",
        f"\\begin{{longtable}}{{{''.join('r' if number else 'l' for number in numbers)}}}",
        f"\\caption{{{_in_latex(section.title)}}}\\\\",
        rf"\toprule {head} \\ \midrule \endhead",
        r"\bottomrule \endfoot",
        *(rf"{row} \\" for row in body),
        r"\end{longtable}",
        *(_in_latex(note) for note in section.notes),
        r"\par\endgroup",
    ]
    return "\n".join(lines) + "\n"


def _number(cell: str) -> str:
    return re.sub(r"(?<!\w)([+-])(?=\d)", r"$\1$", _in_latex(cell))


def _in_latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in printable(text)).replace("--", "-{}-")
