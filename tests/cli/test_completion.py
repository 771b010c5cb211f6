import pytest
from click.shell_completion import ShellComplete

from headclust.cli import cli


def completed(*words: str) -> list[str]:
    """Values that a shell is offered for the last of these words."""
    *before, incomplete = words
    items = ShellComplete(cli, {}, "headclust", "_HEADCLUST_COMPLETE").get_completions(before, incomplete)
    return [item.value for item in items]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("fit", "--method", "te"), ["temi", "temi-scan"]),
        (("run", "photos", "--method", "k"), ["kmeans"]),
        (("settings", "sp"), ["spectral", "spherical-kmeans"]),
        (("fit", "--method", "kmeans", "--set", "n"), ["n_clusters=", "n_heads=", "normalize="]),
        (("fit", "-m", "nope", "--set", "n"), []),
        (("fit", "--preset", "a"), ["authors"]),
        (("compare", "--methods", "kmeans,sp"), ["kmeans,spectral", "kmeans,spherical-kmeans"]),
        (("compare", "--methods", "kmeans,k"), []),
        (("compare", "f.h5", "--format", "m"), ["markdown"]),
        (("export", "run", "--to", "f"), ["folders", "fiftyone"]),
        (("embed", "--model", "dino_"), ["dino_resnet50", "dino_vits16", "dino_vitb16"]),
        (("run", "-m", "efficientnet_lite0"), ["efficientnet_lite0"]),
        (("embed", "--preset", "t"), ["temi-paper"]),
        (("fi",), ["fit"]),
        (("fit", "--qu"), ["--quiet"]),
    ],
)
def test_values_are_completed(words, expected):
    assert completed(*words) == expected


def test_files_are_left_to_the_shell():
    items = ShellComplete(cli, {}, "headclust", "_HEADCLUST_COMPLETE").get_completions(["embed", "--data"], "ph")
    assert [item.type for item in items] == ["file"]
