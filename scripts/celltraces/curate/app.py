"""Answer the page: which question goes to which function, and what is sent back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from celltraces.curate import browse, pixels, scan, security
from celltraces.curate.memory import Budget
from celltraces.curate.questions import CORNERS, BadQuestion, Question
from celltraces.curate.scan import FovFiles
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
AT_ONCE = 4  # questions that are worked on at the same time
PIECE = 1 << 20  # bytes
MOST_BYTES = 8 << 20  # of pixels in an answer that holds more than one image
BUDGET_BYTES = 32 << 20  # of pixels in all answers that are made or sent at the same time
SENDING_S = 300  # for an answer to be taken: 32 MB over a line of 1 Mbit/s
BYTES = "application/octet-stream"


Answer = Callable[[Results, Question], Response]
Sent = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An answer to be sent, as ASGI has it."""


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
    place = {"dataset", "fov"}
    answers: dict[str, tuple[Answer, set[str]]] = {  # what makes each, and the parameters that it may have
        "results": (lambda found, _: as_json(browse.listing(found)), set()),
        "state": (lambda found, asked: as_json(browse.state(found, *asked.place())), place),
        "fov": (lambda found, asked: as_json(browse.fov_details(found, *asked.place())), place),
        "cells": (lambda found, asked: as_json(browse.cells_now(found, *asked.place())), place),
        "boxes": (answer_boxes, place),
        "traces": (traces, {*place, "column"}),
        "frame": (frames, {*place, "frame", "channel", "level", "deep", "labels", *CORNERS}),
        "thumbnail": (answer_thumbnail, place),
        "film": (answer_film, {*place, "cell"}),
    }
    at_once, budget = asyncio.Semaphore(AT_ONCE), Budget(BUDGET_BYTES)
    routes += [Route(f"/api/{name}", _answer(results, *answer, at_once, budget)) for name, answer in answers.items()]
    routes.append(Route("/api/edit", _edit(results), methods=["POST"]))
    return security.guarded(Starlette(routes=routes), token)


def page_files() -> dict[str, tuple[bytes, str]]:
    """The files that the page consists of, by name, with their kinds; those that the report has too among them."""
    files = [*PAGE.iterdir(), *web.FILES]
    return {file.name: (file.read_bytes(), KINDS[file.suffix]) for file in files if file.suffix in KINDS}


def _answer(
    results: Results, make: Answer, allowed: set[str], at_once: asyncio.Semaphore, budget: Budget
) -> Callable[[Request], Awaitable[Sent]]:
    """A route's function. A mistake or damaged file is one line, with status 404; a question of a wrong form 400.

    What an answer holds of the budget is free again when it is sent: a slow line does not fill the memory. Who takes
    nothing for SENDING_S, as a tab that was frozen or a line that is dead, gets no more: others wait for the budget.
    """

    def look(request: Request) -> tuple[Question, int]:
        asked = Question(request.query_params.multi_items(), allowed)
        return asked, pixel_bytes(results, asked) if make is frames else 0

    async def endpoint(request: Request) -> Sent:
        async def send_answer(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                asked, size = await run_in_threadpool(look, request)
            except UserError as error:
                await one_line(error)(scope, receive, send)
                return
            async with budget.holding(size):
                async with at_once:
                    response = await run_in_threadpool(in_one_line, lambda: make(results, asked))
                with suppress(TimeoutError):
                    async with asyncio.timeout(SENDING_S):
                        await response(scope, receive, send)

        return send_answer

    return endpoint


def _edit(results: Results) -> Callable[[Request], Any]:
    """The route that saves a decision: the answer comes when it is on the disk."""

    async def endpoint(request: Request) -> Response:
        body = b""
        try:
            async for part in request.stream():
                body += part
                if len(body) > security.MOST_BYTES:
                    return PlainTextResponse(f"the body is to be of at most {security.MOST_BYTES} bytes", 413)
        except ClientDisconnect:
            return PlainTextResponse("the body is not whole", 400)  # nobody reads it
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            return PlainTextResponse("the body is not JSON", 400)
        if not isinstance(asked, dict):
            return PlainTextResponse("the body is to be an object", 400)
        return await run_in_threadpool(in_one_line, lambda: as_json(browse.save_decision(results, asked)), 409)

    return endpoint


def in_one_line(make: Callable[[], Response], status: int = 404) -> Response:
    """What `make` returns; what the user or a file is to blame for becomes one line of text with this status."""
    try:
        return make()
    except UserError as error:
        return one_line(error, status)


def one_line(error: UserError, status: int = 404) -> Response:
    """What the user or a file is to blame for as one line of text; a question of a wrong form has status 400."""
    return PlainTextResponse(" ".join(str(error).split()), 400 if isinstance(error, BadQuestion) else status)


def as_json(data: Any) -> Response:
    """Data as JSON. Raises ValueError for numbers that are not finite, which browsers do not know."""
    return JSONResponse(data)


def answer_thumbnail(results: Results, asked: Question) -> Response:
    """The picture of a FOV that the report has."""
    return Response(browse.thumbnail(results, *asked.place()), media_type="image/webp")


def answer_boxes(results: Results, asked: Question) -> Response:
    """(N, T, 4) int32: y0, x0, y1, x1 of each cell in each frame; zeros where it is absent."""
    return Response(browse.boxes(results, *asked.place()).astype("<i4").tobytes(), media_type=BYTES)


def traces(results: Results, asked: Question) -> Response:
    """(N, T) float32: a feature of each cell in each frame; NaN where the table has none."""
    values = browse.trace_values(results, *asked.place(), asked.text("column"))
    return Response(values.astype("<f4").tobytes(), media_type=BYTES)


def frames(results: Results, asked: Question) -> Response:
    """Pixels and labels of frames, one frame after the other.

    frame: numbers with commas between them. Of each the pixels of its channels, one after the other, (H, W) uint8 or
    uint16; x-shape says what they are. channel: names with commas between them. With y0, x0, y1, x1 (half-open, in
    pixels of level 0) a part of them. A level has half the size of the one before it; with deep it is of all counts,
    else of the 8 bits of level 1. With labels, the runs of the frame's labels come after its pixels, (3, n) uint32 as
    `pixels.label_runs`; x-runs says how many bytes they are in each frame.
    """
    fov, numbers = results.fov(*asked.place()), asked.frames()
    names, labelled = asked.channels(scan.channels(fov)), asked.flag("labels")
    if not names and not labelled:
        raise BadQuestion("channel or labels is to be given")
    parts: list[memoryview] = []
    shapes, runs_bytes = "", []
    for number in numbers:
        images = [_pixels(results, fov, name, number, asked) for name in names]
        shapes = ";".join(f"{image.shape[0]},{image.shape[1]},{image.itemsize}" for image in images)
        parts += [memoryview(np.ascontiguousarray(image, image.dtype.newbyteorder("<"))).cast("B") for image in images]
        if labelled:
            parts.append(memoryview(_runs(results, fov, number).tobytes()))
            runs_bytes.append(len(parts[-1]))
    headers = {"x-shape": shapes, "x-runs": ",".join(map(str, runs_bytes))}
    headers["content-length"] = str(sum(map(len, parts)))
    return StreamingResponse(in_pieces(parts), media_type=BYTES, headers=headers)


def pixel_bytes(results: Results, asked: Question) -> int:
    """How many bytes of pixels the answer of `frames` holds; reads none of them. Raises UserError as it does, and where
    they are too many for one answer."""
    fov, part, total = results.fov(*asked.place()), asked.part(), 0
    names, numbers = asked.channels(scan.channels(fov)), asked.frames()
    for name in names:
        stored = _stored_level(asked)
        stack = results.reader.frames(fov.array(name, stored))
        _, height, width = stack.shape
        if part:
            y0, x0, y1, x1 = (edge >> stored for edge in part)
            height, width = max(min(y1, height) - y0, 0), max(min(x1, width) - x0, 0)
        times = asked.level() - stored
        total += (height >> times) * (width >> times) * (1 if stack.dtype == np.uint8 else 2)
    total *= len(numbers)
    if len(numbers) * len(names) > 1 and total > MOST_BYTES:
        raise BadQuestion(f"these pixels are more than {MOST_BYTES} bytes; ask for one channel of one frame at a time")
    return total


def _stored_level(asked: Question) -> int:
    """The level that is read from the disk: the first one that has all that is asked for."""
    return 0 if asked.flag("deep") else min(asked.level(), 1)


def _pixels(results: Results, fov: FovFiles, channel: str, number: int, asked: Question) -> np.ndarray:
    level, part, stored = asked.level(), asked.part(), _stored_level(asked)
    with results.reader.reading(fov.array(channel, stored), number) as image:
        if part:
            y0, x0, y1, x1 = (edge >> stored for edge in part)
            image = image[y0:y1, x0:x1]
            if not image.size:
                raise UserError("y0, x0, y1, x1: there are no such pixels in the frame")
        found = pixels.halved(pixels.as_counts(image), level - stored)
        return found.copy() if part and level == stored else found  # all of the frame is not kept for a part


def _runs(results: Results, fov: FovFiles, number: int) -> np.ndarray:
    with results.reader.reading(label_array(fov), number) as image:
        return pixels.label_runs(image)


async def in_pieces(parts: list[memoryview]) -> AsyncIterator[bytes]:
    """Data piece by piece: of what is sent whole, the server would keep two more copies until all is sent. Each part is
    forgotten when it is sent."""
    while parts:
        data = parts.pop(0)
        for start in range(0, len(data), PIECE):
            yield bytes(data[start : start + PIECE])


def answer_film(results: Results, asked: Question) -> Response:
    """A film strip as WebP; the header x-film says what is on it, as JSON."""
    picture, told = browse.film_strip(results, *asked.place(), asked.whole("cell"))
    return Response(picture, media_type="image/webp", headers={"x-film": json.dumps(told)})
