"""Start headclust's commands from a process that has its imports done, so that commands start without delay.

`python warm.py serve SOCKET MODULE ...` imports modules and waits for requests. `python warm.py ask SOCKET PROGRAM ...`
sends a request with its own streams, folder and environment, and ends with the exit code of the program, `headclust` or
a Python file.
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

PATIENCE = 120.0  # seconds that a request waits until the server has its imports done


def main() -> int:
    """Serve, or send a request; return the exit code of the program."""
    kind, address, *words = sys.argv[1:]
    if kind == "ask":
        return ask(address, words)
    for name in words:  # imported but not used before the fork, so that no thread is running then
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:  # an extra that is not installed; the program reports it
            continue
    gc.freeze()  # imported objects stay: forked processes need not scan them again
    code = run(serve(address))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without unloading the imports, which takes longer than many commands


def serve(address: str) -> dict[str, Any]:
    """Return each request in a forked process; never return in the server."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process waits for the forked ones
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                return answer(connection)
            connection.close()


def answer(connection: socket.socket) -> dict[str, Any]:
    """Return the request in a further forked process; this one sends its exit code and ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as reader:
        request = json.loads(reader.read(int.from_bytes(size, "big")))
    worker = os.fork()
    if worker:
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(worker, 0)
        with suppress(BrokenPipeError):  # the client was killed after its timeout
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
    """Run the requested program as if it had been started by the client; return its exit code."""
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
    """Let the server run a program; return its exit code."""
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
