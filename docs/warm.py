"""Starts headclust's commands from a process that has its imports done, so that a command costs its work alone.

`python warm.py serve SOCKET MODULE ...` imports modules and waits for requests; `python warm.py ask SOCKET PROGRAM ...`
makes one, with its own streams, folder and environment, and ends as the program does: `headclust` or a Python file.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import runpy
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from typing import Any

PATIENCE = 120.0  # seconds that a request waits for the process that serves to have its imports done


def main() -> int:
    """Serves, or asks; of a program that was asked for, the exit code."""
    kind, address, *words = sys.argv[1:]
    if kind == "ask":
        return ask(address, words)
    for name in words:  # imported and not used before the fork, so that no thread is lost in it
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:  # an extra that is not installed, for the program itself to tell
            continue
    gc.freeze()  # what is there stays: no process that comes of this one looks through it again
    code = run(serve(address))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without taking down what was imported, which takes longer than many a command


def serve(address: str) -> dict[str, Any]:
    """Returns a request in a process of its own, for each that comes; does not return in the process that serves."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                return answer(connection)
            connection.close()


def answer(connection: socket.socket) -> dict[str, Any]:
    """Returns the request in a process of its own; the one that was called ends after telling its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as reader:
        request = json.loads(reader.read(int.from_bytes(size, "big")))
    worker = os.fork()
    if worker:
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(worker, 0)
        with suppress(BrokenPipeError):  # the one who asked was ended for taking too long
            connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 255]))
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    return dict(request)


def run(request: dict[str, Any]) -> int:
    """Runs what was asked for as if it had been started there."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["program"]
    try:
        if sys.argv[0] == "headclust":
            importlib.import_module("headclust.cli").main()
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def ask(address: str, program: list[str]) -> int:
    """Has a program run by the process that serves, and returns its exit code."""
    request = {"program": program, "folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109
    message = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        for attempt in itertools.count():
            try:
                connection.connect(address)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if attempt * 0.05 > PATIENCE:
                    raise
                time.sleep(0.05)
        socket.send_fds(connection, [len(message).to_bytes(8, "big")], [0, 1, 2])
        connection.sendall(message)
        return (connection.recv(1) or b"\x01")[0]


if __name__ == "__main__":
    sys.exit(main())
