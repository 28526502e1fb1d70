"""The error that is for people: what is wrong, and how to fix it."""

from functools import partial
from typing import Any


class UserError(ValueError):
    """Something outside the code is wrong: a configuration, a file, a folder, a disk.

    Printed it reads "origin: key: problem; fix".

    Args:
        problem: What is wrong.
        fix: What to do about it.
        key: The configuration key or flag it is about, such as "optimizer.lr".
        origin: Where that was set: file and line, or "command line".
        on_every_rank: Whether every process of a run finds the same, so that the main one reports it for all.
    """

    def __init__(
        self,
        problem: str,
        fix: str | None = None,
        *,
        key: str | None = None,
        origin: str | None = None,
        on_every_rank: bool = False,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix
        self.key = key
        self.origin = origin
        self.on_every_rank = on_every_rank

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.origin, self.key, self.problem) if part)
        return f"{text}; {self.fix}" if self.fix else text

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self._fields()), ()

    def replace(self, **changes: Any) -> "UserError":
        """Return a copy with other values of some fields."""
        return type(self)(**{**self._fields(), **changes})

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("problem", "fix", "key", "origin", "on_every_rank")}
