import pytest
from study.digest import code_digest, libraries_of

FILES = {
    "__init__.py": "__version__ = '1'\n",
    "errors.py": "class Bad(Exception): ...\n",
    "train.py": '''"""Trains."""
from headclust.errors import Bad
from headclust.training.objectives import OBJECTIVES


def train(x):
    """Does it."""
    import numpy as np

    from headclust import deep

    return deep.step(x) + np.pi
''',
    "deep.py": "import torch.nn\nimport headclust.deeper\n\n\ndef step(x):\n    return x + 1\n",
    "deeper.py": "A = 1\n",
    "other.py": "B = 2\n",
    "objectives/__init__.py": (
        "from headclust.training.objectives import temi\nOBJECTIVES = {'temi': temi}\n\n\ndef shared():\n    return 1\n"
    ),
    "objectives/temi.py": "from headclust.training.objectives.terms import x\n",
    "objectives/terms.py": "x = 1\n",
}


@pytest.fixture
def digest(tmp_path):
    """digest({path: content}) of a small package with these files instead."""
    made = iter(range(1000))

    def of(changes=None, modules=("headclust.training.train",)):
        package = tmp_path / str(next(made))  # a new one each time: what was read is remembered by its place
        for name, content in {**FILES, **(changes or {})}.items():
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
        ("train.py", "    return deep", "    # why\n\n    return deep"),
        ("train.py", "    return deep.step(x) + np.pi", "    return (\n        deep.step(x) + np.pi\n    )"),
        ("other.py", "2", "3"),
        ("errors.py", "Bad", "Worse"),
        ("__init__.py", "'1'", "'2'"),
        ("objectives/__init__.py", "{'temi': temi}", "{'temi': temi, 'new': temi}"),
        ("objectives/temi.py", "x", "x as y"),
    ],
)
def test_text_layout_and_what_is_not_used_change_nothing(digest, name, old, new):
    assert old in FILES[name]
    assert digest({name: FILES[name].replace(old, new)}) == digest()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("train.py", "np.pi", "np.e"),
        ("deep.py", "x + 1", "x + 2"),
        ("deeper.py", "A = 1", "A = 2"),
        ("objectives/__init__.py", "return 1", "return 2"),
    ],
)
def test_code_that_is_used_changes_it(digest, name, old, new):
    assert old in FILES[name]
    assert digest({name: FILES[name].replace(old, new)}) != digest()


def test_a_registry_s_choice_is_followed_when_it_is_named(digest):
    modules = ("headclust.training.train", "headclust.training.objectives.temi")
    assert digest(modules=modules) != digest()
    assert digest({"objectives/terms.py": "x = 2\n"}, modules) != digest(modules=modules)


def test_libraries_are_those_that_are_imported_anywhere(digest, tmp_path):
    digest()
    assert libraries_of(["headclust.training.train"], tmp_path / "0") == {"numpy", "torch"}


def test_every_method_s_code_is_found():
    from headclust.methods import METHODS

    digests = {name: code_digest([fit.__module__]) for name, fit in METHODS.items()}
    assert digests["kmeans"] != digests["temi"]
