"""Group cells into batches whose crops fit into memory together, so that one pass over the frames serves many cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

BATCH_BYTES = 192 << 20  # pixels of the cells of a batch


def batches(sizes: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """The cells in their order, as many together as have BATCH_BYTES; a single cell may have more.

    sizes: each cell and the bytes that its crops take.
    """
    batch: list[int] = []
    size = 0
    for cell, needed in sizes:
        if batch and size + needed > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(cell)
        size += needed
    if batch:
        yield batch
