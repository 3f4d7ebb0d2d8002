"""Bound the bytes of all answers that are made or sent at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """Bytes that answers may hold together. For one event loop."""

    def __init__(self, most: int) -> None:
        self.most, self._held = most, 0
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def holding(self, size: int) -> AsyncIterator[None]:
        """Hold so many bytes for as long as the body runs; waits until they are free. What is more than all of the
        budget waits until nothing else is held."""
        size = min(size, self.most)
        if not size:
            yield
            return
        async with self._freed:
            await self._freed.wait_for(lambda: self._held + size <= self.most)
            self._held += size
        try:
            yield
        finally:
            self._held -= size  # at once, also where this task is being cancelled and may wait for nothing
            asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._freed:
            self._freed.notify_all()
