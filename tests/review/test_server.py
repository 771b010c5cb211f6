"""`headclust review` as a program: its address, its lock, Ctrl-C, and kill -9."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager

import pytest

from headclust import cli, verbs
from headclust.errors import BusyError, ConflictError, SettingError
from headclust.review import server
from headclust.review.guard import HEADER

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@contextmanager
def started(run):
    """A review in a process of its own, and its address."""
    command = [sys.executable, "-m", "headclust", "review", str(run), "--json", "--open", "no"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        try:
            yield process, json.loads("".join(process.stdout.readline() for _ in range(4)))
        finally:
            process.kill()


def change(address, values):
    base, token = re.fullmatch(r"(http://127\.0\.0\.1:\d+/)\?token=([\w-]{43})", address).groups()
    headers = {HEADER: token, "content-type": "application/json"}
    request = urllib.request.Request(f"{base}change/fix", json.dumps(values).encode(), headers)
    with urllib.request.urlopen(request) as response:
        return json.loads(response.read())


def test_killed_at_any_moment_nothing_is_lost(run):
    with started(run) as (process, given):
        assert given["fixes"] == str(run / "fixes.csv")
        with pytest.raises(BusyError, match=f"under review by process {process.pid} on .*Ctrl-C"):
            verbs.review(run)
        for number in range(20):
            change(given["address"], {"action": "rename", "group": 0, "name": f"name {number}"})
        process.kill()
        process.wait()
    lines = (run / "fixes.csv").read_text().splitlines()
    assert lines[1:] == [f'rename,0,,,"name {number}"' for number in range(20)]


def test_ctrl_c_ends_it(run, capsys):
    ports = []

    def visit(address):
        ports.append(int(re.search(r":(\d+)/", address)[1]))
        change(address, {"action": "right", "group": 1})
        with socket.socket() as other:  # bound to 127.0.0.1 alone: any other address of this machine finds nothing
            ports.append(other.connect_ex(("127.0.0.2", ports[0])))
        os.kill(os.getpid(), signal.SIGINT)

    def on_start(address, once):
        assert "?once=" in once
        threading.Thread(target=visit, args=(address,)).start()

    assert verbs.review(run, on_start=on_start) == run / "fixes.csv"
    assert ports[1] != 0
    assert capsys.readouterr().err.splitlines() == [f"the review has ended: 1 change in {run}/fixes.csv."]
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_a_port_in_use_and_impossible_ones_are_one_line(run):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConflictError, match=f"port {port} of 127.0.0.1: .*--port"):
            verbs.review(run, port=port)
    with pytest.raises(SettingError, match="port 70000"):
        verbs.review(run, port=70_000)
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_without_the_extra_a_line_names_it(run, monkeypatch):
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r'pip install "headclust\[review\]"'):
        verbs.review(run)


@pytest.mark.parametrize("open_it", [(), ("--open", "no"), ("--open", "yes")])
def test_the_address_is_printed_and_opened_if_told(monkeypatch, capsys, open_it):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(verbs, "review", lambda run, port, on_start: on_start("http://a/?token=t", "http://a/?once=o"))
    monkeypatch.setattr(sys, "argv", ["headclust", "review", "run", *open_it])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 0
    assert capsys.readouterr().out == "Open http://a/?token=t\n"
    assert opened == (["http://a/?once=o"] if open_it[-1:] == ("yes",) else [])
