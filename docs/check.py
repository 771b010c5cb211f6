"""Compare the documentation with the code: `python docs/check.py` prints problems, `--write` first renews the generated
blocks, `--run` also runs the blocks of the tutorials and how-tos (docs/blocks.py).

Checked in every Markdown file of the project: blocks between `<!-- generated: WHAT -->` and `<!-- /generated -->` match
the code (WHAT is `help`, `help COMMAND`, `models` or `settings METHOD`); relative links and their anchors exist; code
fences are closed and have a language; JSON, Python and shell in them can be parsed; `make` targets exist; `headclust`
commands are valid, settings and presets included. Every command has a help text, a help text per option, and its block
in docs/command-line.md.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from blocks import is_run, read_page, run_pages
from click.testing import CliRunner

from headclust.backbones import CATALOG, list_backbones
from headclust.cli import cli
from headclust.errors import HeadclustError
from headclust.methods import METHODS, Recipe

ROOT = Path(__file__).resolve().parent.parent
COMMANDS_PAGE = "docs/command-line.md"
HELP_WIDTH = 78  # the width that click uses without a terminal: 80, minus 2
NOT_OURS = {"build", "dist", "node_modules", "features", "runs", "headclust-demo"}

_GENERATED = re.compile(r"(<!-- generated: (.+?) -->\n)(.*?)(<!-- /generated -->)", re.DOTALL)
_FENCE = re.compile(r"^( *)(```+|~~~+) *([^\n`]*)$")
_LINK = re.compile(r"!?\[[^\]\n]*(?:\[[^\]\n]*\][^\]\n]*)*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_REFERENCE = re.compile(r"^ {0,3}\[[^\]\n]+\]:\s+(\S+)", re.MULTILINE)
_INLINE_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_SHELL = ("sh", "bash", "shell", "console")
_OPERATORS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", ")"}


@dataclass(frozen=True)
class Fence:
    """A code fence: the line it starts at, its language and its content."""

    line: int
    language: str
    text: str


def main() -> int:
    """Check the documentation, after renewing it with `--write`; return the exit code, 1 if there is a problem."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="renew the generated parts first")
    parser.add_argument("--run", action="store_true", help="run the blocks of tutorials and how-tos too")
    options = parser.parse_args()
    if options.write:
        for path in renew(ROOT):
            print(f"{path.relative_to(ROOT)}: renewed.")
    problems = check(ROOT)
    if options.run:
        problems += run_pages(ROOT, [path for path in pages(ROOT) if is_run(path, ROOT)])
    print("\n".join(problems) or f"{len(pages(ROOT))} pages checked, no problems.")
    return 1 if problems else 0


def pages(root: Path) -> list[Path]:
    """The project's Markdown files, without hidden folders and the output of tools."""
    paths = []
    for folder, below, files in os.walk(root):
        below[:] = [
            name
            for name in below
            if not name.startswith(".") and name not in NOT_OURS and not Path(folder, name, "pyvenv.cfg").exists()
        ]
        paths += [Path(folder, name) for name in files if name.endswith(".md")]
    return sorted(paths)


def renew(root: Path) -> list[Path]:
    """Write the generated blocks again; return the files that changed."""
    changed = []
    for path in pages(root):
        before = path.read_text(encoding="utf-8")
        after = _GENERATED.sub(lambda match: match[1] + (_generated(match[2]) or match[3]) + match[4], before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    return changed


def check(root: Path) -> list[str]:
    """Problems of the documentation, one line each."""
    problems = [f"{where}: {line}" for where, line in check_commands(root)]
    for path in pages(root):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root).as_posix()
        fences, broken = split_fences(text)
        findings = [*broken, *check_generated(text), *check_links(path, root, _without_code(text))]
        for fence in fences:
            findings += [f"line {fence.line}: {line}" for line in check_fence(fence, root)]
        if is_run(path, root):
            findings += read_page(text).problems
        for code in _INLINE_CODE.findall(_without_fences(text)):
            findings += check_mention(code, root)
        problems += [f"{name}: {line}" for line in findings]
    return problems


# -- Generated blocks --------------------------------------------------------------------------------------------------


def _generated(what: str) -> str | None:
    """The content of a generated block; None for an unknown name."""
    kind, *arguments = what.split()
    if kind == "help" and len(arguments) <= 1 and set(arguments) <= set(cli.commands):
        return f"```text\n{help_text(*arguments)}```\n"
    if kind == "models" and not arguments:
        return models_table()
    if kind == "settings" and len(arguments) == 1 and arguments[0] in METHODS:
        return settings_table(arguments[0])
    return None


def help_text(*command: str) -> str:
    """The output of `headclust COMMAND --help` without a terminal."""
    result = CliRunner().invoke(
        cli, [*command, "--help"], prog_name="headclust", terminal_width=HELP_WIDTH, catch_exceptions=False
    )
    return result.output


def settings_table(method: str) -> str:
    """The output of `headclust settings METHOD` as a Markdown table."""
    result = CliRunner().invoke(cli, ["settings", method, "--json"], prog_name="headclust", catch_exceptions=False)
    listed = json.loads(result.stdout)
    presets = [name for name in listed[0] if name not in ("name", "meaning")]
    rows = [
        [f"`{row['name']}`", *(_value(row[preset]) for preset in presets), row["meaning"].replace("|", "\\|")]
        for row in listed
    ]
    titles = ["setting", *presets, "meaning"]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [titles, ["---"] * len(titles), *rows])


def models_table() -> str:
    """The output of `headclust models` as a Markdown table, without the parts that depend on the machine."""
    rows = [
        [
            f"`{row['name']}`",
            str(row["dim"]),
            str(row["input_size"]),
            f"{row['parameters'] / 1e6:.1f} M",
            "text" if row["text_supervised"] else "",
            "labels" if row["imagenet_labels"] else "",
            row["feature_point"],
            row["license"],
            row["source"].removeprefix("Hugging Face hub "),
        ]
        for row in list_backbones()
    ]
    titles = ["name", "dim", "px", "parameters", "text", "ImageNet labels", "feature point", "license", "weights"]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [titles, ["---"] * len(titles), *rows])


def _value(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_generated(text: str) -> Iterator[str]:
    """Generated blocks that differ from the code, one problem each."""
    if text.count("<!-- generated:") != len(_GENERATED.findall(text)):
        yield "a <!-- generated: ... --> block is not closed."
    for _, what, content, _ in _GENERATED.findall(text):
        expected = _generated(what)
        if expected is None:
            yield f"<!-- generated: {what} -->: expected help, help COMMAND, models or settings METHOD."
        elif content != expected:
            yield f"the generated block {what!r} is out of date: python docs/check.py --write renews it."


def check_commands(root: Path) -> Iterator[tuple[str, str]]:
    """Pairs (place, problem): commands and options without help, commands without a block in docs/command-line.md."""
    page = root / COMMANDS_PAGE
    shown = {what for _, what, _, _ in _GENERATED.findall(page.read_text(encoding="utf-8"))} if page.exists() else set()
    for name, command in cli.commands.items():
        if not command.help:
            yield f"headclust {name}", "it has no help text."
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.help:
                yield f"headclust {name} {parameter.opts[-1]}", "it has no help text."
        if f"help {name}" not in shown:
            yield COMMANDS_PAGE, f"it lacks <!-- generated: help {name} -->."


# -- Links -------------------------------------------------------------------------------------------------------------


def check_links(path: Path, root: Path, text: str) -> Iterator[str]:
    """Relative links of `path` whose target does not exist; `text` is its content without code."""
    for target in [*_LINK.findall(text), *_REFERENCE.findall(text)]:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (path.parent / place).resolve() if place else path
        if not file.exists() or not file.is_relative_to(root.resolve()):
            yield f"link to {target}: there is no {place}."
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8")):
            yield f"link to {target}: {file.name} has no heading of that name."


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    counts: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#* *$", _without_fences(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        names.add(f"{slug}-{counts[slug]}" if slug in counts else slug)
        counts[slug] = counts.get(slug, 0) + 1
    return names


# -- Code --------------------------------------------------------------------------------------------------------------


def split_fences(text: str) -> tuple[list[Fence], list[str]]:
    """The code fences of a page, and problems of their marks."""
    fences, problems = [], []
    opened: tuple[int, str, str] | None = None
    content: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        mark = _FENCE.match(line)
        if opened is None:
            if mark:
                opened, content = (number, mark[2], mark[3].strip()), []
                if not opened[2]:
                    problems.append(f"line {number}: a code fence without a language.")
        elif mark and mark[2].startswith(opened[1]) and not mark[3]:
            fences.append(Fence(opened[0], opened[2], "\n".join(content) + "\n"))
            opened = None
        else:
            content.append(line)
    if opened is not None:
        problems.append(f"line {opened[0]}: a code fence that is not closed.")
    return fences, problems


def _without_fences(text: str) -> str:
    outside, inside = [], ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if mark and not inside:
            inside = mark[2]
        elif mark and mark[2].startswith(inside) and not mark[3]:
            inside = ""
        elif not inside:
            outside.append(line)
    return "\n".join(outside)


def _without_code(text: str) -> str:
    return _INLINE_CODE.sub("", _without_fences(text))


def check_fence(fence: Fence, root: Path) -> Iterator[str]:
    """Problems of the content of a code fence."""
    try:
        if fence.language == "json":
            json.loads(fence.text)
        elif fence.language == "jsonl":
            for line in fence.text.splitlines():
                json.loads(line)
        elif fence.language == "python":
            yield from check_imports(ast.parse(fence.text))
        elif fence.language in _SHELL:
            for line in shell_lines(fence):
                yield from check_shell(line, root)
    except (ValueError, SyntaxError) as error:
        yield f"this {fence.language} does not parse: {error}."


def check_imports(tree: ast.Module) -> Iterator[str]:
    """Names that are imported from headclust, or used as `headclust.NAME`, and do not exist."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "headclust":
            module, names = str(node.module), [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "headclust":
            module, names = "headclust", [node.attr]
        else:
            continue
        missing = [name for name in names if not _has(module, name)]
        if missing:
            yield f"{module} has no {', '.join(missing)}."


def _has(module: str, name: str) -> bool:
    return hasattr(importlib.import_module(module), name) or importlib.util.find_spec(f"{module}.{name}") is not None


def shell_lines(fence: Fence) -> Iterator[str]:
    """The commands in a fence: continued lines joined, prompts removed; of a console only the lines with a prompt."""
    for line in fence.text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            yield line[2:]
        elif fence.language != "console":
            yield line


def check_shell(line: str, root: Path) -> Iterator[str]:
    """Problems of the `make` and `headclust` commands in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    command: list[str] = []
    for token in [*lexer, ";"]:
        if token in _OPERATORS:
            yield from check_command(command, root)
            command = []
        else:
            command.append(token)


def check_command(words: list[str], root: Path) -> Iterator[str]:
    """Problems of one command, if it is `make` or `headclust`."""
    if words[:1] == ["make"]:
        yield from check_make(words[1:], root)
    if words[:1] != ["headclust"] or words[1:2] in (["--help"], ["-h"], ["--version"]):
        return
    name, arguments = next(iter(words[1:]), ""), words[2:]
    command = cli.commands.get(name)
    line = shlex.join(words)
    if command is None:
        yield f"{line}: there is no command {name!r}."
        return
    if {"--help", "-h"} & set(arguments):
        return
    try:
        # With its parent, because click caches the help option that the first context of a command makes.
        group = click.Context(cli, info_name="headclust", **cli.context_settings)
        with command.make_context(name, arguments, parent=group) as context:
            check_names(name, context.params)
    except click.ClickException as error:
        yield f"{line}: {error.format_message()}"
    except HeadclustError as error:
        yield f"{line}: {error}"


def check_names(command: str, options: Mapping[str, Any]) -> None:
    """Raise if the backbone, method, preset or a setting of a command does not exist.

    Raises:
        HeadclustError: A name does not exist.
    """
    model = options.get("model")
    if model and ":" not in model and model not in CATALOG:
        raise HeadclustError(f"there is no backbone {model!r}.")
    if command in ("fit", "settings"):
        recipe = Recipe.of(options.get("method") or "default", options.get("preset") or "ours")
        pairs = [change.partition("=") for change in options.get("changes", ())]
        recipe.changed({name: value for name, _, value in pairs})


def check_make(words: list[str], root: Path) -> Iterator[str]:
    """Targets that the Makefile does not have."""
    targets = re.findall(r"^([a-z][a-z-]*):(?!=)", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for word in words:
        if "=" not in word and not word.startswith("-") and word not in targets:
            yield f"make {word}: the Makefile has no such target."


def check_mention(code: str, root: Path) -> Iterator[str]:
    """Problems of a command in running text, in which arguments may be omitted."""
    try:
        words = shlex.split(code)
    except ValueError:
        return
    if words[:1] == ["make"] and len(words) > 1:
        yield from check_make(words[1:], root)
    if words[:1] != ["headclust"] or len(words) < 2 or words[1].isupper() or words[1].startswith("-"):
        return
    command = cli.commands.get(words[1])
    if command is None:
        yield f"`{code}`: there is no command {words[1]!r}."
        return
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words[2:] if word.startswith("-") and word.split("=")[0] not in {*options, "--help"}]
    if unknown:
        yield f"`{code}`: headclust {words[1]} has no {', '.join(unknown)}."


if __name__ == "__main__":
    sys.exit(main())
