"""Decide which requests the server answers, and what every answer says.

Other users of a cluster's node, and other pages in the same browser, can reach an address on 127.0.0.1. So every
question about results carries a random token that the page got in its address, behind the #, which browsers send to
nobody; and the request has to name this machine as its host and, where a page sent it, as that page's origin. The port
may be any: a tunnel changes it.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE | re.ASCII)
TOKEN_HEADER = b"x-celltraces-token"
MOST_BYTES = 64_000  # of a request's body
CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    b"content-security-policy": CSP.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(24)


def refusal(method: str, path: str, headers: dict[bytes, list[bytes]], token: str) -> tuple[int, str] | None:
    """Why a request is not answered, as status and words; None where it is. headers: names in lower case."""
    hosts = headers.get(b"host", [])
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0].decode("latin-1")):
        return 403, "this server answers for 127.0.0.1 and localhost only"
    for origin in headers.get(b"origin", []):
        scheme, _, host = origin.decode("latin-1").partition("://")
        if scheme != "http" or not HOST.fullmatch(host):
            return 403, "a page from elsewhere may ask nothing here"
    if b"transfer-encoding" in headers:
        return 411, "the length of the body is to be named"
    if not path.startswith("/api/"):
        return None
    tokens = headers.get(TOKEN_HEADER, [])
    if len(tokens) != 1 or not hmac.compare_digest(tokens[0], token.encode()):
        return 401, "open the address that the terminal shows: it holds the token that is missing here"
    if method == "POST":
        kinds = headers.get(b"content-type", [])
        if len(kinds) != 1 or kinds[0].split(b";")[0].strip().lower() != b"application/json":
            return 415, "the body is to be JSON"
        lengths = headers.get(b"content-length", [])
        if len(lengths) != 1 or not lengths[0].isdigit():
            return 411, "the length of the body is to be named"
        if int(lengths[0]) > MOST_BYTES:
            return 413, f"the body is to be of at most {MOST_BYTES} bytes"
    return None


def guarded(app: App, token: str) -> App:
    """The app behind these checks; its answers get the headers above."""

    async def checked(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS.items()]
            await send(message)

        refused = refusal(scope["method"], scope["path"], headers, token)
        if refused is None:
            await app(scope, receive, with_headers)
            return
        status, words = refused
        body = words.encode()
        start = {"type": "http.response.start", "status": status}
        start["headers"] = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        await with_headers(start)
        await send({"type": "http.response.body", "body": body})

    return checked
