"""Access to the page: only for the browser tab that was opened with its address, on this machine."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-headclust-token"
_MOST_BYTES = 1 << 20  # of the body of a request
# Sent with every response. The policy of the page itself is stricter; see `page`.
_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Keys:
    """The secrets of a review. Each opens one thing, so that one that leaks opens no other.

    Attributes:
        token: In the address, then in a header of every request for data and of every change.
        once: In an address that leads to the one with the token, and works once.
        port: The port that the page is served at; the only one that a Host header may name.
    """

    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    once: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    port: int = 0

    @property
    def page(self) -> str:
        """The cookie with which a tab loads the page itself again, which holds no data."""
        return self._derived("page")

    @property
    def images(self) -> str:
        """The key in the addresses of images: an element of a page cannot send a header."""
        return self._derived("images")

    @property
    def cookie(self) -> str:
        """The name of the cookie; cookies are shared by all ports of a host."""
        return f"headclust-review-{self.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The values of Host that are not another site's."""
        return f"127.0.0.1:{self.port}", f"localhost:{self.port}"

    def _derived(self, purpose: str) -> str:
        return hmac.new(self.token.encode(), purpose.encode(), hashlib.sha256).hexdigest()


class Guard:
    """ASGI middleware that refuses requests of other sites and programs in one line, with status 403.

    - Host must name this machine and port: a foreign name that resolves to 127.0.0.1 (DNS rebinding) does not.
    - Origin and Sec-Fetch-Site, which browsers set and pages cannot, must be those of the page, except for the page
      itself, to which a link may lead.
    - The page needs the token in its address, or the cookie of a tab that had it; images need their key; everything
      else the token in a header, which a foreign page cannot send.
    - A change must be JSON in a POST request.

    Args:
        app: The application.
        keys: The secrets.
    """

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app, self._keys, self._once = app, keys, keys.once

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":  # no websockets
            return
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            # Of a header that is sent twice, neither is believed.
            headers[key] = "" if key in headers else value.decode("latin-1")

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                more = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in more if pair[0] not in present)]
            await send(message)

        from starlette.responses import PlainTextResponse, RedirectResponse

        query = parse_qs(scope["query_string"].decode("latin-1"))
        problem = self._problem(scope["method"], scope["path"], query, headers)
        if problem:
            await PlainTextResponse(f"headclust review: {problem}\n", 403)(scope, receive, send_guarded)
            return
        if scope["path"] == "/" and "once" in query:
            self._once = secrets.token_urlsafe(32)
            await RedirectResponse(f"/?token={self._keys.token}", 303)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _problem(self, method: str, path: str, query: Mapping[str, list[str]], headers: Mapping[str, str]) -> str:
        """The reason why a request is refused, in one line; empty if it is not."""
        keys = self._keys
        host = headers.get("host", "")
        if host not in keys.hosts:
            return f"expected http://{keys.hosts[0]}/ as its address (of a tunnel, the same --port at both ends)."
        is_page = path == "/"
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return "a page of another site asked."
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not is_page:
            return "a page of another site asked."
        if is_page:
            if headers.get("sec-fetch-dest", "document") != "document":
                return "the page is not part of another one."
            if method not in ("GET", "HEAD"):
                return "the page is only read."
            if "once" in query:
                is_new = _same(query["once"][0], self._once)
                return "" if is_new else "this address has been used: open the one that headclust review has printed."
            given = query.get("token", [""])[0]
            if not (_same(given, keys.token) or _same(_cookie(headers, keys.cookie), keys.page)):
                return "open the address that headclust review has printed: it holds a token."
            return ""
        if path.startswith("/image/"):
            is_allowed = method == "GET" and _same(query.get("key", [""])[0], keys.images)
            return "" if is_allowed else "an image needs its key."
        if not _same(headers.get(HEADER, ""), keys.token):
            return "the token is missing or wrong: open the address that headclust review has printed."
        if method not in ("GET", "POST"):
            return "only GET and POST are possible."
        if method == "POST":
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return "a change must be JSON."
            length = headers.get("content-length", "")
            if not length.isdecimal() or int(length) > _MOST_BYTES:
                return f"a change must have a length of at most {_MOST_BYTES} bytes."
        return ""


def _same(given: str, expected: str) -> bool:
    """True if two texts are equal; the time that it takes says nothing about where they differ."""
    return hmac.compare_digest(given.encode(), expected.encode())


def _cookie(headers: Mapping[str, str], name: str) -> str:
    pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return next((value for key, _, value in pairs if key == name), "")
