"""Where the time of training goes."""

from __future__ import annotations

from dataclasses import dataclass

from ._html import html_lines, html_table
from ._tables import text_table


@dataclass(frozen=True)
class Timing:
    """Mean seconds that an iteration spends in one operation of one layer; of time in which two run, each has half."""

    layer: str
    operation: str
    seconds: float


@dataclass(frozen=True)
class Profile:
    """Time by operation, in the order of computation, as :attr:`plp.Trainer.profile` tells it; prints as a table.

    The difference of two profiles of a trainer is the profile of the iterations between them.
    """

    batch_size: int
    iterations: int
    timings: tuple[Timing, ...]

    @property
    def seconds(self) -> float:
        """All of an iteration together."""
        return sum(timing.seconds for timing in self.timings)

    def __sub__(self, earlier: Profile) -> Profile:
        iterations = self.iterations - earlier.iterations

        def between(now: Timing, before: Timing) -> Timing:
            seconds = now.seconds * self.iterations - before.seconds * earlier.iterations
            return Timing(now.layer, now.operation, seconds / max(iterations, 1))

        return Profile(self.batch_size, iterations, tuple(map(between, self.timings, earlier.timings)))

    def __repr__(self) -> str:
        return f"<plp.Profile of {self.iterations} iterations: {self._summary()}>"

    def __str__(self) -> str:
        return f"{text_table(self._rows())}\n{self._summary()}"

    def _repr_html_(self) -> str:
        return html_table(self._rows()) + html_lines([self._summary()])

    def _rows(self) -> list[list[str]]:
        total = self.seconds or 1.0
        rows = [["layer", "operation", "ms", "share"]]
        return rows + [
            [t.layer, t.operation, f"{t.seconds * 1e3:.2f}", f"{t.seconds / total:.1%}"] for t in self.timings
        ]

    def _summary(self) -> str:
        speed = self.batch_size / (self.seconds or 1.0)
        return f"{self.seconds * 1e3:.1f} ms for {self.batch_size} images: {speed:,.0f} images/s"
