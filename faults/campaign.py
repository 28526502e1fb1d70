"""What a campaign reports."""

from dataclasses import dataclass, field


@dataclass
class Tally:
    """Trials of one kind.

    Attributes:
        name: What was tried.
        right: How many ended as they should.
        wrong: What the others did.
        notes: What was measured by the way.
    """

    name: str
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """All trials."""
        return self.right + len(self.wrong)

    def count(self, problem: str | None) -> None:
        """Count a trial; ``problem`` is None where it ended right."""
        if problem is None:
            self.right += 1
        else:
            self.wrong.append(problem)
