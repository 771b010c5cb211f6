"""The verb `review`: a local page on which a person corrects the groups of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headclust import runs
from headclust.errors import SettingError
from headclust.progress import note, printable
from headclust.review.server import HOST, check_extra, listen, review_lock, serve


def review(run: Path, *, port: int = 0, on_start: Callable[[str, str], None] | None = None) -> Path:
    """Serve a page that shows and corrects the groups of a run, until Ctrl-C; return its file of fixes.

    Every change is in `RUN/fixes.csv` at once. The page is bound to 127.0.0.1 and opens with the token in its address
    alone; see docs/how-to/review.md.

    Args:
        run: A run folder.
        port: The port, 1 to 65535; 0 for any that is free.
        on_start: Function that gets the address of the page when it can be opened, and another one that works once, for
            the arguments of a browser, which other users of the machine can read. When None, the address is noted.

    Raises:
        SettingError: The extra `review` is not installed, or the port is impossible.
        BusyError: Another review has the run.
        HeadclustError: The run, its fixes or the port cannot be used.
    """
    if not 0 <= port < 65_536:
        raise SettingError(f"port {port}: expected 1 to 65535, or 0 for any that is free.")
    check_extra()
    path = runs.find_run(run)
    runs.read_record(run)  # before anything is made beside it
    from headclust.review.app import make_app
    from headclust.review.desk import Desk
    from headclust.review.guard import Keys

    with review_lock(path), listen(port) as listener:
        keys = Keys(port=listener.getsockname()[1])
        desk = Desk(path, keys)
        try:
            base = f"http://{HOST}:{keys.port}/"
            address = f"{base}?token={keys.token}"
            if on_start is None:
                note(f"open {address}")
            else:
                on_start(address, f"{base}?once={keys.once}")
            serve(make_app(desk, keys), listener)
        finally:
            desk.close()
        n_fixes, file = len(desk.session.fixes), desk.session.file
    note(f"the review has ended: {n_fixes} {'change' if n_fixes == 1 else 'changes'} in {printable(str(file))}.")
    return file
