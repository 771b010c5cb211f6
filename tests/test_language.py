"""The rules of language that can be checked: local names, first words of docstrings, spelling. See CONTRIBUTING.md."""

import ast
import re
from pathlib import Path

import pytest

import headclust

PACKAGE = Path(headclust.__file__).parent
ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
SOURCES = [path for path in SOURCES if "tests" not in path.relative_to(ROOT).parts]
NAMES = [path.relative_to(ROOT).as_posix() for path in SOURCES]
# Local names that name nothing: a reader has to look up what was "found" or "told".
EMPTY_NAMES = {"found", "told", "said", "one", "ones", "wanted", "known", "theirs", "kept", "here", "there", "asked"}
# A docstring names what comes out, or begins with an imperative: "Return", "Write", not "Returns", "Whether", "What".
QUESTIONS = {"What", "Whether", "How", "Which", "Where", "Who", "Why"}
# Of a noun in the plural and of a verb in the third person the endings are the same, so verbs are listed.
THIRD_PERSON = """
Adds Applies Asks Assigns Begins Builds Calls Centers Changes Checks Chooses Clears Closes Collects Compares
Computes Copies Counts Creates Cuts Decides Decodes Deletes Draws Drops Embeds Empties Ends Estimates Fails Fills
Finds Fits Forks Formats Freezes Gives Goes Guards Hands Has Imports Keeps Lays Leaves Lets Loads Locks Logs Looks
Makes Marks Measures Merges Moves Normalizes Notes Opens Parses Passes Picks Prepares Prints Projects Puts Raises
Reads Refines Refuses Removes Renames Renders Replaces Resolves Returns Reverses Rounds Runs Saves Says Scales
Searches Sends Serves Sets Settles Shows Shuffles Sorts Splits Starts Stops Stores Strips Sums Takes Tells Trains
Tries Turns Updates Uses Verifies Waits Warns Whitens Writes Yields
""".split()  # noqa: SIM905 - one line per word is no better
BRITISH = re.compile(
    r"\b\w*(?:labell(?:ed|ing)|normalis|optimis|recognis|initialis|standardis|summaris|visualis|regularis|organis|"
    r"behaviour|colour|neighbour|favour|centre\b|grey\b)\w*",
    re.IGNORECASE,
)
UNITS = r"""
axis backbone batch block cell class cluster column core data\sset epoch file fit head image iteration line method
pair partition restart row sample seed space split stage step view
""".split()  # noqa: SIM905 - one line per word is no better
# "Clusters a head", "one a space": a count or a plural, then a unit with an article. "per" is meant.
DISTRIBUTIVE = re.compile(rf"\b(?:[Oo]ne|two|three|\d+|[A-Za-z]{{3,}}[^sS\W]s) an? (?:{'|'.join(UNITS)})\b(?! of)")
VERBS_WITH_S = re.compile(
    r"\b(?:has|is|was|as|this|its|does|makes|gives|takes|needs|holds|keeps|sees|says|names|uses|reads|writes|gets|wants|"
    r"leaves|finds|draws|joins|adds|becomes|replaces|covers|contains|describes|fills|counts|marks|fits|means|ends|"
    r"shows|stands|lists|loses|costs|moves|starts|stores|returns|repeats|records|belongs|changes|assigns|across|"
    r"unless|less|versus|plus|minus|always|besides|perhaps|sometimes|towards|forms|enters|exceeds|"
    r"lacks|matches|misses|opens|produces|represents|requires|selects|splits|votes|turns|tells|passes|includes) an?\b",
    re.IGNORECASE,
)


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def local_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[tuple[str, int]]:
    """Names bound in a function, its arguments included, with their lines."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    bound = {(argument.arg, argument.lineno) for argument in arguments}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add((node.id, node.lineno))
    return bound


def prose(path: Path) -> list[tuple[int, str]]:
    """Docstrings and comments of a file, with their lines."""
    text = path.read_text(encoding="utf-8")
    lines = [(number, line.partition("#")[2]) for number, line in enumerate(text.splitlines(), 1) if "# " in line]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                lines.append((node.body[0].lineno, " ".join(docstring.split())))
    return lines


def opening_problem(docstring: str) -> str:
    """Why the first word of a docstring is not allowed; empty where it is."""
    first = re.sub(r"\W+$", "", docstring.split()[0])
    if first in QUESTIONS:
        return f"begins with the question word {first!r}: name what is returned, or begin with an imperative"
    if first in THIRD_PERSON:
        return f"begins with {first!r}: use the imperative"
    return ""


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_local_names_name_the_thing(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    empty = {
        f"line {line}: {name}"
        for function in functions(tree)
        for name, line in local_names(function)
        if name in EMPTY_NAMES
    }
    assert not empty, f"{path.name} has local names that name nothing: {empty}"


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_docstrings_begin_with_the_thing_or_an_imperative(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    problems = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            problem = opening_problem(docstring) if docstring else ""
            if problem:
                problems.append(f"line {node.body[0].lineno}: {getattr(node, 'name', 'the module')} {problem}")
    assert not problems, f"{path.name}: {problems}"


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_prose_is_american_and_says_per(path):
    problems = []
    for line, text in prose(path):
        problems += [f"line {line}: {word}" for word in BRITISH.findall(text)]
        problems += [
            f"line {line}: {match[0]!r}: say per"
            for match in DISTRIBUTIVE.finditer(text)
            if not VERBS_WITH_S.match(match[0])
        ]
    assert not problems, f"{path.name}: {problems}"


def test_the_rules_find_what_they_forbid():
    tree = ast.parse("def f():\n    found = 1\n    for one in (): pass\n")
    assert {name for name, _ in local_names(functions(tree)[0])} == {"found", "one"}
    assert opening_problem("Whether it is there.")
    assert opening_problem("Writes a file.")
    assert not opening_problem("Clusters of the fitted samples.")
    assert DISTRIBUTIVE.search("Clusters a head; one a space")
    assert BRITISH.search("the labelled classes")
