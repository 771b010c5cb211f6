"""The application: addresses of the page, of images and of data. Every answer is JSON, a picture or the page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from headclust.errors import HeadclustError
from headclust.review.desk import Desk
from headclust.review.guard import Guard, Keys
from headclust.review.page import make_page
from headclust.review.thumbnails import SIDES

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_Endpoint = Callable[["Request"], Awaitable["Response"]]
_DISCONNECTED = 0.25  # seconds between two looks, while an image is made, at who waits for it


def make_app(desk: Desk, keys: Keys) -> Starlette:
    """The application of a review.

    Args:
        desk: What the page shows and changes.
        keys: The secrets of this review.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import Route

    reads: Mapping[str, Callable[[Mapping[str, str]], Any]] = {
        "state": desk.state,
        "groups": desk.groups,
        "images": desk.images,
        "image": desk.image,
        "questions": desk.questions,
        "changes": desk.changes,
        "refit": desk.refit,
    }
    changes: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
        "fix": desk.fix,
        "undo": desk.undo,
        "refit": desk.change_refit,
    }
    routes = [
        Route("/", _page(keys), methods=["GET"]),
        Route("/image/{row:int}", _image(desk), methods=["GET"]),
        *(Route(f"/data/{name}", _read(answer), methods=["GET"]) for name, answer in reads.items()),
        *(Route(f"/change/{name}", _change(answer), methods=["POST"]) for name, answer in changes.items()),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, keys=keys)])


def _page(keys: Keys) -> _Endpoint:
    from starlette.responses import HTMLResponse

    page = make_page()

    async def answer(request: Request) -> Response:
        response = HTMLResponse(page.html, headers={"content-security-policy": page.policy})
        response.set_cookie(keys.cookie, keys.page, httponly=True, samesite="strict", path="/")
        return response

    return answer


def _read(answer: Callable[[Mapping[str, str]], Any]) -> _Endpoint:
    async def read(request: Request) -> Response:
        return await _answered(answer, dict(request.query_params))

    return read


def _change(answer: Callable[[Mapping[str, Any]], Any]) -> _Endpoint:
    async def change(request: Request) -> Response:
        try:
            values = json.loads(await request.body())
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            return _error("the request holds no JSON object.")
        return await _answered(answer, values)

    return change


async def _answered(answer: Callable[[Any], Any], values: Mapping[str, Any]) -> Response:
    """The answer of a function, computed in a thread, as JSON; an error that a user can correct is one line of it."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response

    try:
        result = await run_in_threadpool(answer, values)
    except HeadclustError as error:
        return _error(str(error))
    # Names of files may hold anything: as ASCII, nothing of it can be invalid.
    return Response(json.dumps(result, separators=(",", ":")), media_type="application/json")


def _error(line: str) -> Response:
    from starlette.responses import Response

    return Response(json.dumps({"error": line}), 400, media_type="application/json")


def _image(desk: Desk) -> _Endpoint:
    from starlette.responses import PlainTextResponse, Response

    async def image(request: Request) -> Response:
        row, side = request.path_params["row"], request.query_params.get("side", "0")
        if row >= desk.n_samples or side not in map(str, range(len(SIDES))):
            return PlainTextResponse("no such image\n", 404)
        ready = desk.thumbnails.request(row, int(side))
        waiting = asyncio.wrap_future(ready)
        try:
            while not waiting.done():
                await asyncio.wait([waiting], timeout=_DISCONNECTED)
                if not waiting.done() and await request.is_disconnected():
                    waiting.cancel()  # the page has scrolled on
            copy = waiting.result()
        except asyncio.CancelledError:
            return PlainTextResponse("given up\n", 503)
        if isinstance(copy, str):
            return PlainTextResponse(f"{copy}\n", 404)
        return Response(copy, media_type="image/webp", headers={"cache-control": "private, max-age=3600"})

    return image
