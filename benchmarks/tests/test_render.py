import csv
import io
import json
import random
import re

import pytest
from study.published import TRUST
from study.render import FORMATS
from study.summary import summarize

from .lines import SCORES, failed_line, fit_line, point_line, probe_line

HOSTILE = (
    r"a|b*c_d`e<f>[g](h)&i;%$#{}~^\textbf{x}\\ -- \"q\""
    "\u202e"
    'z"q,;\n=cmd\r'
    "é\udce9"
)


@pytest.fixture
def lines():
    steps = {"reached": 412, "planned": 1900, "capped": True}
    oracle = {name: {"score": 0.52, "step": 380} for name in SCORES}
    return [
        *(fit_line("kmeans", 0.60 + 0.01 * seed, seed=seed) for seed in range(3)),
        *(fit_line("temi", accuracy, seed=seed) for seed, accuracy in enumerate((0.70, 0.68, 0.75))),
        fit_line("temi", 0.5, preset="authors", settings={"max_seconds": 120.0}, steps=steps, oracle=oracle),
        failed_line("turtle"),
        fit_line("kmeans", 0.4, dataset="cifar100", backbone="dino_vitb16"),
        fit_line("temi", 0.3, dataset="cifar100", backbone="dino_vitb16"),
        fit_line("temi", 0.2, dataset="cifar100"),
        point_line("beta", 0.5, 0.4),
        probe_line(),
    ]


def markdown_tables(text):
    """Title -> rows, each a dict by column title."""
    found = {}
    for section in text.split("## ")[1:]:
        title, body = section.split("\n", 1)
        table = [line for line in body.splitlines() if line.startswith("| ")]
        cells = [[cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]
        found[title] = [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
    return found


def test_markdown_says_what_the_summary_says(lines):
    tables = markdown_tables(FORMATS["markdown"](lines))
    assert list(tables) == [
        "Features",
        "cifar100",
        "digits",
        "Averages over data sets and backbones",
        "Ablations",
        "Published by others",
        "Cells that failed",
        "Made with",
    ]
    kmeans, temi, turtle, authors = tables["digits"]
    assert (temi["method"], temi["preset"], temi["seeds"], temi["ACC"]) == ("temi", "ours", "3", "71.0 ± 3.6")
    summary = summarize(lines)
    rows = summary.rows[(summary.rows["dataset"] == "digits") & (summary.rows["method"] == "temi")]
    low, high = rows[["accuracy_gain_low", "accuracy_gain_high"]].iloc[0]
    assert temi["over k-means"] == "+10.0"
    assert temi["95 %"] == f"{100 * low:+.1f} to {100 * high:+.1f}"
    assert (kmeans["over k-means"], kmeans["95 %"]) == ("-", "-")
    assert (turtle["seeds"], turtle["ACC"], turtle["clusters"]) == ("0 of 1", "-", "-")
    assert authors["preset"] == "authors, max_seconds 120"
    assert (authors["over k-means"], authors["95 %"]) == ("-10.0", "-")  # one seed: no interval
    assert (authors["steps"], authors["oracle ACC"], temi["oracle ACC"]) == ("412 of 1,900", "52.0", "-")
    assert (authors["clusters"], authors["seconds"], authors["head"]) == ("9 of 10", "12.5", "lowest training loss")
    features = {(row["data set"], row["backbone"]): row for row in tables["Features"]}
    digits = features["digits", "efficientnet_lite0"]
    assert [digits[name] for name in ("fitted on", "scored on", "feature point", "px", "text", "kNN", "purity")] == [
        *("train, 1,437", "test, 360", "pool", "128", "no", "90.0", "60.0")
    ]
    assert features["cifar100", "dino_vitb16"]["kNN"] == "-"


def test_columns_for_what_nobody_recorded_are_left_out():
    tables = markdown_tables(FORMATS["markdown"]([fit_line("temi"), fit_line("kmeans")]))
    assert not {"steps", "oracle ACC", "published ACC"} & set(tables["digits"][0])
    assert "Ablations" not in tables
    assert "Averages over data sets and backbones" not in tables


def test_published_numbers_have_a_column_and_a_table_of_their_own(lines):
    tables = markdown_tables(FORMATS["markdown"](lines))
    cells = {(row["backbone"], row["method"]): row["published ACC"] for row in tables["cifar100"]}
    assert cells == {
        ("dino_vitb16", "kmeans"): "-",
        ("dino_vitb16", "temi"): "67.1 [A], 64.22 [R]",
        ("efficientnet_lite0", "temi"): "-",
    }
    assert {row["trust"] for row in tables["Published by others"]} <= set(TRUST)
    assert all(row["source"] for row in tables["Published by others"])


def test_markdown_columns_line_up(lines):
    for section in FORMATS["markdown"](lines).split("## ")[1:]:
        assert len({len(line) for line in section.splitlines() if line.startswith("| ")}) == 1


def test_csv_holds_full_precision(lines):
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](lines))))
    summary = summarize(lines)
    assert len(rows) == len(summary.rows)
    for row, expected in zip(rows, summary.rows.to_dict("records"), strict=True):
        for name in ("dataset", "backbone", "method"):
            assert row[name] == expected[name]
        assert row["seeds"] == " ".join(map(str, expected["seeds"]))
        for name in SCORES:
            for column in (name, f"{name}_sd", f"{name}_gain", f"{name}_gain_low"):
                assert row[column] == ("" if expected[column] is None else str(expected[column]))
    authors = rows[-1]
    assert [authors[name] for name in ("capped", "steps_reached", "steps_planned", "oracle_accuracy")] == [
        *("yes", "412.0", "1900.0", "0.52")
    ]
    assert authors["settings"] == '{"max_seconds": 120.0}'
    assert authors["trained_on_classes"] == "no"
    columns = "dataset backbone method preset fit_split eval_split feature_point resolution head_choice seeds accuracy "
    columns += "accuracy_sd accuracy_gain_low accuracy_gain_high baseline clusters_used seconds text_supervised "
    columns += "trained_on_classes knn_accuracy linear_accuracy neighbor_purity oracle_accuracy published"
    assert set(columns.split()) <= set(authors)


def test_json_is_the_csv_and_more(lines):
    content = json.loads(FORMATS["json"](lines))
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](lines))))
    assert [list(row) for row in content["rows"]] == [list(row) for row in rows]
    assert [row["accuracy"] for row in content["rows"]] == [
        float(row["accuracy"]) if row["accuracy"] else None for row in rows
    ]
    assert content["failures"] == [{"id": "efficientnet_lite0/digits/turtle/ours/s0", "error": lines[7]["error"]}]
    assert {one["setting"] for one in content["ablations"]} == {"beta"}
    assert {one["trust"] for one in content["published"]} <= set(content["trust"])
    (temi,) = [
        one for one in content["averages"] if (one["scope"], one["method"], one["preset"]) == ("all", "temi", "ours")
    ]
    assert (temi["pairs"], temi["paired"], temi["ahead"]) == (3, 2, 1)


def plain_latex(text):
    """What TeX would set, for the commands we use; anything else left is an error."""
    names = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">"}
    for name, sign in {**names, "textbar": "|"}.items():
        text = text.replace(f"\\{name}{{}}", f"\0{ord(sign)};")
    text = re.sub(r"\\([&%$#_{}])", lambda sign: f"\0{ord(sign[1])};", text)
    text = text.replace(r"$\pm$", "±").replace("-{}-", "--").replace("{''}", '"')
    text = re.sub(r"\{([\[\]*])\}", r"\1", re.sub(r"\$([+-])\$", r"\1", text))
    assert not re.search(r"[\\{}$&%#_~^]", text), text
    return re.sub(r"\0(\d+);", lambda code: chr(int(code[1])), text)


def longtables(text):
    """The head and the body of each table, without the lines for a break between pages."""
    parts = re.findall(r"\\begin\{longtable\}(.*?)\\end\{longtable\}", text, re.DOTALL)
    return [(part.partition(r"\endfirsthead")[0], part.partition(r"\endlastfoot")[2]) for part in parts]


def test_latex_says_what_markdown_says(lines):
    text = FORMATS["latex"](lines)
    tables = {}
    for head, body in longtables(text):
        title = plain_latex(re.search(r"\\caption\{(.*)\} \\\\", head)[1])
        rows = [line.removesuffix(r" \\") for line in body.splitlines() if line.endswith(r" \\")]
        head = re.search(r"\\toprule\n(.*) \\\\\n\\midrule", head)[1]
        columns, *cells = ([plain_latex(cell) for cell in re.split(r"(?<!\\) & ", row)] for row in (head, *rows))
        tables[title] = [dict(zip(columns, row, strict=True)) for row in cells]
    assert tables == markdown_tables(FORMATS["markdown"](lines))


def test_every_row_of_latex_has_as_many_cells_as_columns(lines):
    for head, body in longtables(FORMATS["latex"](lines)):
        spec = re.match(r"\{(\w+)\}", head)[1]
        rows = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert rows
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(spec)}


@pytest.mark.parametrize("name", FORMATS)
def test_hostile_names_stay_in_their_cells(name):
    def lines_of(dataset):
        return [
            fit_line("temi", dataset=dataset),
            fit_line("kmeans", dataset=dataset),
            failed_line("clc", dataset, dataset=dataset, id=dataset),
        ]

    hostile, harmless = (FORMATS[name](lines_of(text)) for text in (HOSTILE, "harmless"))
    hostile.encode("utf-8")
    assert len(hostile.splitlines()) == len(harmless.splitlines())
    if name == "markdown":
        for mine, theirs in zip(hostile.splitlines(), harmless.splitlines(), strict=True):
            assert len(re.findall(r"(?<!\\)\|", mine)) == len(re.findall(r"(?<!\\)\|", theirs))
        for sign in "<>`[]*":
            assert not re.search(rf"(?<!\\)\{sign}", hostile)
    elif name == "csv":
        rows = list(csv.DictReader(io.StringIO(hostile)))
        assert [row["method"] for row in rows] == ["kmeans", "clc", "temi"]
        assert rows[0]["dataset"].startswith(r"a|b*c_d`e<f>[g](h)&i;%$#{}~^\textbf{x}")
    elif name == "json":
        assert json.loads(hostile)["rows"][0]["dataset"] == HOSTILE
    else:
        rows = [line for _, body in longtables(hostile) for line in body.splitlines() if line.endswith(r" \\")]
        cells = [plain_latex(cell) for row in rows for cell in re.split(r"(?<!\\) & ", row.removesuffix(r" \\"))]
        assert any(cell.startswith(r"a|b*c_d`e<f>[g](h)&i;%$#{}~^\textbf{x}\\ -- ") for cell in cells)
        assert hostile.count("{") == hostile.count("}")


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_results_give_the_same_bytes(lines, name):
    expected = FORMATS[name](lines)
    for seed in range(3):
        random.Random(seed).shuffle(lines)
        assert FORMATS[name](lines) == expected


@pytest.mark.parametrize("name", FORMATS)
def test_bare_and_missing_lines(name):
    bare = {"format": "headclust-results", "version": 1, "kind": "fit", "status": "done", "id": "x"}
    assert FORMATS[name]([bare])
    assert isinstance(FORMATS[name]([]), str)
