import subprocess
import sys
from types import ModuleType

import pytest

import headclust
from headclust import verbs


def test_a_verb_is_a_function_whichever_module_was_imported_first():
    # Python sets an imported module as an attribute of its package: `verbs.fit` would be the module of that name.
    code = "import headclust.verbs.demo; from headclust import verbs; verbs.fit.__call__; verbs.embed.__call__"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not any(isinstance(getattr(verbs, name), ModuleType) for name in verbs.__all__)
    assert callable(sys.modules["headclust.verbs.fit"].fit)


def test_a_name_can_be_replaced_and_is_listed(monkeypatch):
    monkeypatch.setattr("headclust.verbs.demo", len)
    assert verbs.demo is len
    assert set(verbs.__all__) <= set(dir(verbs))


@pytest.mark.parametrize("package", [headclust, verbs])
def test_an_unknown_name(package):
    with pytest.raises(AttributeError, match=f"module {package.__name__!r} has no attribute 'nothing'"):
        _ = package.nothing
