"""The server of the page: a socket on 127.0.0.1 alone, until Ctrl-C."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headclust.errors import BusyError, ConflictError, SettingError, one_line
from headclust.features.lock import writer_lock
from headclust.progress import printable

HOST = "127.0.0.1"
_GRACE = 2  # seconds that open requests have after Ctrl-C


def check_extra() -> None:
    """Raise unless the libraries of the page are installed.

    Raises:
        SettingError: They are not.
    """
    for name in ("starlette", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise SettingError(f'the page needs {name}, which is not installed: pip install "headclust[review]".')


@contextmanager
def review_lock(run: Path) -> Iterator[None]:
    """Hold a run for this review, beside its folder.

    Raises:
        BusyError: Another review holds it.
        HeadclustError: The folder around the run cannot be written.
    """
    folder = run.resolve()
    try:
        with writer_lock(folder.with_name(f".{folder.name}.review")):
            yield
    except BusyError as error:
        who = str(error).partition(" is being written by ")[2].partition(":")[0]
        raise BusyError(
            f"{printable(str(run))} is under review by {who or 'another process'}: use the page of that one, or end it "
            "with Ctrl-C."
        ) from None


def listen(port: int) -> socket.socket:
    """A socket on `HOST`.

    Args:
        port: Its port; 0 for any that is free.

    Raises:
        ConflictError: The port is in use, or not allowed.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConflictError(
            f"port {port} of {HOST}: {one_line(error)}: choose another --port, or 0 for a free one."
        ) from None
    listener.set_inheritable(False)
    return listener


def serve(app: Callable[..., object], listener: socket.socket) -> None:
    """Serve an application until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    with suppress(KeyboardInterrupt):  # the server ends first, then passes the signal on
        uvicorn.Server(config).run(sockets=[listener])
