import pytest
from study.digest import code_digest, libraries_of

FILES = {
    "__init__.py": "__version__ = '1'\n",
    "errors.py": "class Bad(Exception): ...\n",
    "train.py": '''"""Trains."""
from __future__ import annotations

from typing import TYPE_CHECKING

from headclust.errors import Bad
from headclust.kinds import scale
from headclust.training.objectives import OBJECTIVES

if TYPE_CHECKING:
    from headclust.other import B


class Options:
    """Options."""

    rate: float = 0.5
    name: str


def train(x: float, options: Options) -> float:
    """Does it."""
    import numpy as np

    from headclust import deep

    best: float = deep.step(x) + np.pi
    return scale(best) + len(OBJECTIVES)
''',
    "deep.py": "import torch.nn\nimport headclust.deeper\n\n\ndef step(x):\n    return x + headclust.deeper.A\n",
    "deeper.py": "A = 1\n",
    "other.py": "B = 2\n",
    "kinds/__init__.py": (
        "from headclust.kinds.scaling import scale\nfrom headclust.other import B\n\n__all__ = ['B', 'scale']\n"
    ),
    "kinds/scaling.py": "from headclust.kinds.shifting import shift\n\n\ndef scale(x):\n    return 2 * shift(x)\n",
    "kinds/shifting.py": "def shift(x):\n    return x + 3\n",
    "training/objectives/__init__.py": (
        "from headclust.training.objectives import temi\nOBJECTIVES = {'temi': temi}\n\n\ndef shared():\n    return 1\n"
    ),
    "training/objectives/temi.py": "from headclust.training.objectives.terms import x\nloss = x\n",
    "training/objectives/terms.py": "x = 1\n",
}
TRAIN = ("headclust.train",)


@pytest.fixture
def digest(tmp_path):
    """digest({path: content, or None to leave it out}) of a small package with these files instead."""
    made = iter(range(1000))

    def of(changes=None, modules=TRAIN):
        package = tmp_path / str(next(made))  # a new one each time: what was read is remembered by its place
        for name, content in {**FILES, **(changes or {})}.items():
            if content is not None:
                (package / name).parent.mkdir(parents=True, exist_ok=True)
                (package / name).write_text(content)
        return code_digest(modules, package)

    return of


def test_the_same_code_has_the_same_digest(digest):
    assert digest() == digest()
    assert len(digest()) == 64


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("train.py", "Does it.", "Does it well."),
        ("train.py", '"""Trains."""', '"""Trains\nmore."""'),
        ("train.py", '    """Options."""\n\n', ""),
        ("train.py", "    return scale", "    # why\n\n    return scale"),
        (
            "train.py",
            "    return scale(best) + len(OBJECTIVES)",
            "    return (\n        scale(best) + len(OBJECTIVES)\n    )",
        ),
        ("train.py", "x: float, options: Options) -> float", "x: int, options) -> B"),
        ("train.py", "best: float =", "best ="),
        ("train.py", "rate: float", "rate: Real"),
        ("train.py", "from typing import TYPE_CHECKING", "from typing import Any, TYPE_CHECKING"),
        ("train.py", "if TYPE_CHECKING:\n    from headclust.other import B\n", ""),
        ("train.py", "from headclust.errors import Bad\n", ""),  # nothing uses it
        ("other.py", "2", "3"),
        ("errors.py", "Bad", "Worse"),
        ("__init__.py", "'1'", "'2'"),
        ("kinds/__init__.py", "'B', ", ""),
        ("training/objectives/__init__.py", "{'temi': temi}", "{'temi': temi, 'new': temi}"),
        ("training/objectives/temi.py", "x", "y"),
    ],
)
def test_text_layout_annotations_and_what_is_not_used_change_nothing(digest, name, old, new):
    assert old in FILES[name]
    assert digest({name: FILES[name].replace(old, new)}) == digest()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("train.py", "np.pi", "np.e"),
        ("train.py", "import numpy as np", "import math as np"),
        ("train.py", "rate: float = 0.5", "rate: float = 0.6"),
        ("train.py", "rate: float = 0.5", "rate = 0.5"),  # no field of a dataclass any more
        ("train.py", "    name: str\n", ""),
        ("train.py", "import scale", "import B as scale"),
        ("deep.py", "x + headclust", "x - headclust"),
        ("deeper.py", "A = 1", "A = 2"),
        ("kinds/__init__.py", "kinds.scaling", "kinds.shifting"),
        ("kinds/scaling.py", "2", "3"),
        ("kinds/shifting.py", "3", "4"),  # two imports and a re-export away
        ("training/objectives/__init__.py", "return 1", "return 2"),
    ],
)
def test_code_that_is_used_changes_it(digest, name, old, new):
    assert old in FILES[name]
    assert digest({name: FILES[name].replace(old, new)}) != digest()


def renamed(old, new, *, was, now):
    """Changes that move a file and rewrite the imports of its module."""
    others = {name: content.replace(was, now) for name, content in FILES.items()}
    return {**others, old: None, new: others[old]}


@pytest.mark.parametrize(
    "changes",
    [
        renamed("kinds/shifting.py", "moved/far/shifting.py", was="kinds.shifting", now="moved.far.shifting"),
        renamed("kinds/scaling.py", "kinds/sizes.py", was="kinds.scaling", now="kinds.sizes"),
        renamed("deeper.py", "bottom.py", was="headclust.deeper", now="headclust.bottom"),
        renamed("deep.py", "net.py", was="import deep\n", now="import net as deep\n"),
        {
            **renamed("deep.py", "net.py", was="import deep\n", now="import net\n"),
            "train.py": FILES["train.py"].replace("deep", "net"),
        },
        {"train.py": FILES["train.py"].replace("kinds import scale", "kinds.scaling import scale")},
        {"train.py": FILES["train.py"].replace("import scale", "import scale as size").replace("scale(", "size(")},
    ],
    ids=["moved", "renamed", "renamed import", "alias", "renamed use", "without the re-export", "local name"],
)
def test_where_a_module_lies_and_what_it_is_called_changes_nothing(digest, changes):
    assert changes != FILES
    assert digest(changes) == digest()


def test_the_module_itself_can_be_moved(digest):
    moved = {"train.py": None, "training/loop.py": FILES["train.py"]}
    assert digest(moved, ["headclust.training.loop"]) == digest()


def test_two_modules_that_swap_functions_of_one_name_change_it(digest):
    first, second = ("def f(x):\n    return x + 1\n", "def f(x):\n    return 2 * x\n")
    use = "from headclust.a import f as inner\nfrom headclust.b import f as outer\ng = lambda x: outer(inner(x))\n"
    before = digest({"a.py": first, "b.py": second, "g.py": use}, ["headclust.g"])
    assert digest({"a.py": second, "b.py": first, "g.py": use}, ["headclust.g"]) != before
    # With the imports swapped too, all is as it was.
    swapped = (
        use.replace("headclust.a", "headclust.c")
        .replace("headclust.b", "headclust.a")
        .replace("headclust.c", "headclust.b")
    )
    assert digest({"a.py": second, "b.py": first, "g.py": swapped}, ["headclust.g"]) == before


def test_the_same_name_in_two_functions_is_two_names(digest):
    one = "def {}(x):\n    from headclust.{} import h\n    return h(x)\n"
    use = one.format("f", "a") + one.format("g", "b")
    files = {"a.py": "h = abs\n", "b.py": "h = float\n"}
    other = use.replace("headclust.a", "headclust.b", 1)
    assert digest({**files, "u.py": use}, ["headclust.u"]) != digest({**files, "u.py": other}, ["headclust.u"])


def test_a_registry_s_choice_is_followed_when_it_is_named(digest):
    modules = (*TRAIN, "headclust.training.objectives.temi")
    assert digest(modules=modules) != digest()
    assert digest({"training/objectives/terms.py": "x = 2\n"}, modules) != digest(modules=modules)


def test_libraries_are_those_that_are_imported_anywhere(digest, tmp_path):
    digest()
    assert libraries_of(TRAIN, tmp_path / "0") - {"__future__", "typing"} == {"numpy", "torch"}


def test_every_method_s_code_is_found():
    from headclust.methods import METHODS

    digests = {name: code_digest([fit.__module__]) for name, fit in METHODS.items()}
    assert digests["kmeans"] != digests["temi"]


def test_what_is_left_out_and_the_registries_are_there():
    from importlib.util import find_spec

    from study.digest import _LEFT_OUT, _REGISTRIES

    assert all(find_spec(name) for name in (*_REGISTRIES, *(f"headclust.{name}" for name in _LEFT_OUT)))
