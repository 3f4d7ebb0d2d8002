"""Define UserError, the exception for mistakes that the user can mend, and tell errors that pass from others."""

import errno
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class UserError(Exception):
    """A mistake in a config, an input file or an environment that the user can mend.

    The message is one line that names the file, FOV or key and the remedy. It is shown as it is, without a
    traceback; every other exception is a defect of the workflow and keeps its traceback in the job's log.
    """


class Mistakes:
    """Lines on mistakes of one kind after the other, of which none hides the others."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def attempt(self, find: Callable[..., T], *args: Any) -> T | None:
        """What a function finds; None where it raises UserError, whose lines are kept."""
        try:
            return find(*args)
        except UserError as error:
            self.lines += str(error).split("\n")
            return None

    def refuse(self) -> None:
        """Raise UserError with all lines, if there are any."""
        if self.lines:
            raise UserError("\n".join(dict.fromkeys(self.lines)))


# Of the system's errors, those that say that the machine could not do it now, not that a file is missing or damaged.
_FOR_NOW = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def raise_what_passes(error: Exception) -> None:
    """Raise an error again if the machine is its cause (no room on a disk, no memory), and the next run may do better.

    For code that goes on without something optional that fails: what it leaves out counts as done, and no later run
    would make it.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _FOR_NOW):
        raise error
