"""Bound how many connections the server holds open.

Other users of the machine can open connections too, and say nothing on them: without a bound there would be no file
left to answer the page with.
"""

from __future__ import annotations

import asyncio
import itertools

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_OPEN = 128  # a browser opens 6 for a page
AT_ONCE = 16  # that are accepted before any of them is looked at, and as many again while that is done
_numbers = itertools.count()


class Connection(H11Protocol):
    """A connection as uvicorn serves it. Above MOST_OPEN, the oldest one that has no question to be answered ends."""

    number = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.number = next(_numbers)
        there = [one for one in self.connections if isinstance(one, Connection) and not one.transport.is_closing()]
        waiting = [one for one in there if one.is_waiting()]
        if len(there) > MOST_OPEN and waiting:
            min(waiting, key=lambda one: one.number).transport.abort()

    def is_waiting(self) -> bool:
        """Whether there is no question on it that is still to be answered."""
        return self.cycle is None or self.cycle.response_complete
