import sys
import webbrowser

import pytest

from headclust import cli, verbs

DESKTOP = {"DISPLAY": ":0", "CI": "", "SSH_CONNECTION": ""}


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs `headclust report` with a verb that makes nothing: command(*arguments) -> (code, stdout, asked, shown)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        asked, shown = [], []

        def report(run, **options):
            asked.append({"run": str(run), **options})
            return run / "report.html"

        monkeypatch.setattr(verbs, "report", report)
        monkeypatch.setattr(webbrowser, "open", shown.append)
        monkeypatch.setattr(sys, "argv", ["headclust", "report", *arguments])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        return exited.value.code, capsys.readouterr().out, asked, shown

    return call


def test_it_prints_where_the_page_is(command):
    code, out, (asked,), shown = command("run")
    assert (code, out, shown) == (0, "run/report.html\n", [])
    defaults = {
        "features": (),
        "level": None,
        "labels": False,
        "thumbnails": 20_000,
        "umap": True,
        "device": None,
        "output": None,
    }
    assert asked == {"run": "run", **defaults}


def test_every_option_reaches_the_verb(command):
    *_, (asked,), _ = command(
        "run", "--features", "a.h5", "--features", "b.h5", "--no-umap", "--labels", "--thumbnails", "9", "-o", "x.html"
    )
    assert [str(path) for path in asked["features"]] == ["a.h5", "b.h5"]
    assert (asked["umap"], asked["labels"], asked["thumbnails"], str(asked["output"])) == (False, True, 9, "x.html")


def test_the_browser_is_opened_when_told(command, tmp_path):
    assert command("run", "--open", "yes")[3] == [(tmp_path / "run" / "report.html").as_uri()]
    assert command("run", "--open", "no")[3] == []


@pytest.mark.parametrize(
    ("terminal", "environment", "expected"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"DISPLAY": ""}, False),
        (True, {"DISPLAY": "", "WAYLAND_DISPLAY": "wayland-0"}, True),
        (True, {"SSH_CONNECTION": "there"}, False),
        (True, {"CI": "true"}, False),
    ],
)
def test_where_a_person_has_a_screen_it_is_opened(command, monkeypatch, terminal, environment, expected):
    for name, value in {**DESKTOP, "WAYLAND_DISPLAY": "", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert bool(command("run")[3]) == expected
    assert command("run", "--open", "no")[3] == []
