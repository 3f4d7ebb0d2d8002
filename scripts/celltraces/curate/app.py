"""Answer the page: which question goes to which function, and what is sent back."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from celltraces.curate import browse, pixels, security
from celltraces.curate.scan import Fov
from celltraces.curate.views import Results, label_array
from celltraces.errors import UserError
from celltraces.pictures import web

PAGE = Path(__file__).parent / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
AT_ONCE = 4  # questions that are answered at the same time: each may hold a frame in memory
PIECE = 1 << 20  # bytes
BYTES = "application/octet-stream"


def make_app(results: Results, token: str) -> security.App:
    """The application, behind the checks of `security`."""
    assets = page_files()

    def asset(request: Request) -> Response:
        name = request.path_params.get("name", "page.html")
        if name not in assets:
            return PlainTextResponse("not found", 404)
        content, kind = assets[name]
        return Response(content, media_type=kind)

    routes = [Route("/", asset), Route("/page/{name}", asset)]
    answers: dict[str, Callable[[Results, Mapping[str, str]], Response]] = {
        "results": lambda found, _: as_json(browse.listing(found)),
        "state": lambda found, query: as_json(browse.state(found, *fov_of(query))),
        "fov": lambda found, query: as_json(browse.details(found, *fov_of(query))),
        "cells": lambda found, query: as_json(browse.cells_now(found, *fov_of(query))),
        "boxes": boxes,
        "traces": traces,
        "frame": frame,
        "labels": labels,
        "thumbnail": lambda found, query: Response(browse.thumbnail(found, *fov_of(query)), media_type="image/webp"),
        "film": film,
    }
    at_once = asyncio.Semaphore(AT_ONCE)
    routes += [Route(f"/api/{name}", _answer(results, make, at_once)) for name, make in answers.items()]
    routes.append(Route("/api/edit", _edit(results), methods=["POST"]))
    return security.guarded(Starlette(routes=routes), token)


def page_files() -> dict[str, tuple[bytes, str]]:
    """The files that the page consists of, by name, with their kinds; those that the report has too among them."""
    files = [*PAGE.iterdir(), *web.FILES]
    return {file.name: (file.read_bytes(), KINDS[file.suffix]) for file in files if file.suffix in KINDS}


def _answer(
    results: Results, make: Callable[[Results, Mapping[str, str]], Response], at_once: asyncio.Semaphore
) -> Callable[[Request], Any]:
    """A route's function. A mistake or damaged file is one line, with status 404."""

    async def endpoint(request: Request) -> Response:
        async with at_once:
            return await run_in_threadpool(in_one_line, functools.partial(make, results, request.query_params))

    return endpoint


def _edit(results: Results) -> Callable[[Request], Any]:
    """The route that saves a decision: the answer comes when it is on the disk."""

    async def endpoint(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > security.MOST_BYTES:
                return PlainTextResponse(f"the body is to be of at most {security.MOST_BYTES} bytes", 413)
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            return PlainTextResponse("the body is not JSON", 400)
        if not isinstance(asked, dict):
            return PlainTextResponse("the body is to be an object", 400)
        return await run_in_threadpool(in_one_line, lambda: as_json(browse.save(results, asked)), 409)

    return endpoint


def in_one_line(make: Callable[[], Response], status: int = 404) -> Response:
    """What `make` returns; what the user or a file is to blame for becomes one line of text with this status."""
    try:
        return make()
    except UserError as error:
        return PlainTextResponse(" ".join(str(error).split()), status)


def as_json(data: Any) -> Response:
    """Data as JSON. Raises ValueError for numbers that are not finite, which browsers do not know."""
    return JSONResponse(data)


def fov_of(query: Mapping[str, str]) -> tuple[str, int]:
    """Dataset and FOV that a question names."""
    return query.get("dataset", ""), whole(query, "fov")


def whole(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UserError(f"{name}: a whole number is to be given")
    return int(text)


def boxes(results: Results, query: Mapping[str, str]) -> Response:
    """(N, T, 4) int32: y0, x0, y1, x1 of each cell in each frame; zeros where it is absent."""
    return Response(browse.boxes(results, *fov_of(query)).astype("<i4").tobytes(), media_type=BYTES)


def traces(results: Results, query: Mapping[str, str]) -> Response:
    """(N, T) float32: a feature of each cell in each frame; NaN where the table has none."""
    return Response(
        browse.trace_values(results, *fov_of(query), query.get("column", "")).astype("<f4").tobytes(), media_type=BYTES
    )


def frame(results: Results, query: Mapping[str, str]) -> Response:
    """The pixels of channels in a frame, one after the other, each (H, W) uint8 or uint16; x-shape says what they are.

    channel: names with commas between them. With y0, x0, y1, x1 (half-open, in pixels of level 0) a part of them. A
    level has half the size of the one before it; with deep it is of all counts, else of the 8 bits of level 1. With
    labels, what `labels` gives comes after the pixels.
    """
    fov, number = results.fov(*fov_of(query)), whole(query, "frame")
    images = [_pixels(results, fov, name, number, query) for name in query.get("channel", "").split(",")]
    parts = [memoryview(np.ascontiguousarray(image, image.dtype.newbyteorder("<"))).cast("B") for image in images]
    headers = {"x-shape": ";".join(f"{image.shape[0]},{image.shape[1]},{image.itemsize}" for image in images)}
    if "labels" in query:
        parts.append(memoryview(_runs(results, fov, number).tobytes()))
    headers["content-length"] = str(sum(map(len, parts)))
    return StreamingResponse(in_pieces(parts), media_type=BYTES, headers=headers)


def _pixels(results: Results, fov: Fov, channel: str, number: int, query: Mapping[str, str]) -> np.ndarray:
    level = whole(query, "level") if "level" in query else 0
    stored = 0 if "deep" in query else min(level, 1)
    path = browse.pixel_array(fov, channel, stored)
    with results.reader.reading(path, number) as image:
        if "y0" in query:
            y0, x0, y1, x1 = (whole(query, name) for name in ("y0", "x0", "y1", "x1"))
            image = image[y0 >> stored : y1 >> stored, x0 >> stored : x1 >> stored]
            if not image.size:
                raise UserError("y0, x0, y1, x1: there are no such pixels in the frame")
        found = pixels.halved(pixels.as_counts(image), level - stored)
        return found.copy() if "y0" in query and level == stored else found  # all of the frame is not kept for a part


def _runs(results: Results, fov: Fov, number: int) -> np.ndarray:
    with results.reader.reading(label_array(fov), number) as image:
        return pixels.label_runs(image)


def in_pieces(parts: Sequence[memoryview]) -> Iterator[bytes]:
    """Data piece by piece: of what is sent whole, the server would keep two more copies until all is sent."""
    for data in parts:
        for start in range(0, len(data), PIECE):
            yield bytes(data[start : start + PIECE])


def labels(results: Results, query: Mapping[str, str]) -> Response:
    """(3, n) uint32: the runs of the labels in a frame, as `pixels.label_runs`."""
    runs = _runs(results, results.fov(*fov_of(query)), whole(query, "frame"))
    return Response(runs.tobytes(), media_type=BYTES)


def film(results: Results, query: Mapping[str, str]) -> Response:
    """A film strip as WebP; the header x-film says what is on it, as JSON."""
    picture, told = browse.film_strip(results, *fov_of(query), whole(query, "cell"))
    return Response(picture, media_type="image/webp", headers={"x-film": json.dumps(told)})
