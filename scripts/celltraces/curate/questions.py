"""Read what a question of the page names: whole numbers, names, lists of them, each parameter once and bounded."""

from __future__ import annotations

from collections.abc import Iterable

from celltraces.errors import UserError

HIGHEST = 10**9  # of a number; frames, cells and pixels are far below
LEVELS = 16  # a frame is one pixel before that
MOST_FRAMES = 16  # in one answer
CORNERS = ("y0", "x0", "y1", "x1")


class BadQuestion(UserError):
    """A question that no page of ours asks: a parameter that is unknown, repeated, or of the wrong form."""


class Question:
    """The parameters of a question. Raises BadQuestion, a line that names the parameter, for what is wrong with one."""

    def __init__(self, given: Iterable[tuple[str, str]], allowed: Iterable[str]) -> None:
        """given: names and values in their order; allowed: the names that this question may have."""
        self._values: dict[str, str] = {}
        known = sorted(allowed)
        for name, value in given:
            if name not in known:
                raise BadQuestion(f"{_short(name)}: there is no such parameter here; there are {', '.join(known)}")
            if name in self._values:
                raise BadQuestion(f"{name}: name it once; it is given more than once")
            self._values[name] = value

    def place(self) -> tuple[str, int]:
        """Dataset and FOV."""
        return self._values.get("dataset", ""), self.whole("fov")

    def text(self, name: str) -> str:
        """A text; empty where it is not given."""
        return self._values.get(name, "")

    def flag(self, name: str) -> bool:
        """Whether something is wanted: 1, or not given."""
        if self._values.get(name, "1") != "1":
            raise BadQuestion(f"{name}: 1, or leave it out")
        return name in self._values

    def whole(self, name: str, most: int = HIGHEST - 1) -> int:
        """A whole number from 0 to `most`."""
        return _whole(name, self._values.get(name, ""), most)

    def level(self) -> int:
        """How often the size is halved; 0 where it is not given."""
        return self.whole("level", LEVELS) if "level" in self._values else 0

    def frames(self) -> list[int]:
        """The frames that are asked for, at least one, each once."""
        return [_whole("frame", text, HIGHEST - 1) for text in self._list("frame", MOST_FRAMES, "frames")]

    def channels(self, known: Iterable[str]) -> list[str]:
        """The names of channels that are asked for, each once; none where `channel` is not given.

        Raises UserError for a name that is not among those that are known.
        """
        if "channel" not in self._values:
            return []
        names = list(known)
        wanted = self._list("channel", max(len(names), 1), "channels")
        for name in wanted:
            if name not in names:
                raise UserError(f"there is no channel {_short(name)!r} in this FOV")
        return wanted

    def part(self) -> tuple[int, int, int, int] | None:
        """y0, x0, y1, x1 of a part of a frame, half-open; None for all of it. All four, or none, are to be given."""
        if not any(name in self._values for name in CORNERS):
            return None
        y0, x0, y1, x1 = (self.whole(name) for name in CORNERS)
        return y0, x0, y1, x1

    def _list(self, name: str, most: int, what: str) -> list[str]:
        found = self._values.get(name, "").split(",", most)
        if len(found) > most:
            raise BadQuestion(f"{name}: at most {most} {what} are answered at once")
        if len(set(found)) < len(found):
            raise BadQuestion(f"{name}: name each once")
        return found


def _whole(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < len(str(HIGHEST))) or int(text) > most:
        raise BadQuestion(f"{name}: a whole number from 0 to {most} is to be given")
    return int(text)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"
