import platform
from importlib.metadata import version

import headclust
from headclust.versions import versions


def test_versions_of_what_is_installed():
    assert versions(["numpy", "no-such-package", "torch"]) == {
        "headclust": headclust.__version__,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "torch": version("torch"),
    }
