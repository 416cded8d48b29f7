"""What is shown while something runs: a live bar on a terminal and in a notebook, plain lines in a file or pipe.

Drawn from the callback after an iteration, a few times a second; no thread of its own competes with the computation.
What cannot be shown costs the display and not the run: see :class:`Display`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ._tables import printable
from .records import Epoch, History, Progress

# ---- Faces -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """How far something has come: a title, the longest first, and facts, the most important first."""

    titles: Sequence[str]
    completed: int
    total: int | None
    facts: Sequence[str]

    def __str__(self) -> str:
        return "  ".join([self.titles[0], *self.facts])

    def drawn(self, width: int) -> Table:
        """In one line: the longest title that leaves room for two facts, and as many of these as fit."""
        for title in self.titles:
            room = width - len(title) - 12  # a bar of 8, and what lies between it and the texts
            facts = list(self.facts)
            while facts and len("  ".join(facts)) > room:
                facts.pop()
            if len(facts) >= min(2, len(self.facts)):
                break
        text = "  ".join(facts)
        table = Table.grid(padding=(0, 1))
        for _ in range(3):
            table.add_column(no_wrap=True)
        bar = ProgressBar(self.total, self.completed, width=max(0, min(24, width - len(title) - len(text) - 4)))
        table.add_row(Text(title), bar, Text(text))
        return table


@dataclass(frozen=True)
class Standing:
    """How far a run has come that some other process makes."""

    name: str
    epoch: int  # that it is in, or, where its place there is not known, the last complete one
    epochs: int
    accuracy: float | None = None
    images_per_second: float | None = None
    left: float | None = None
    place: str = ""  # in the epoch

    def cells(self) -> list[str]:
        return [
            self.name,
            f"{self.epoch}/{self.epochs}",
            self.place,
            "" if self.accuracy is None else f"{self.accuracy:.2%}",
            "" if self.images_per_second is None else f"{self.images_per_second:,.0f}",
            "" if self.left is None else duration(self.left),
        ]


@dataclass(frozen=True)
class Board:
    """How far the runs of a study have come: how many are done of how many, and those at work."""

    done: int
    total: int
    running: Sequence[Standing]
    left: float | None = None

    def __str__(self) -> str:
        ends = [] if self.left is None else [f"study ends {clock(self.left)}"]
        return "  ".join([f"{self.done} of {self.total} runs done, {len(self.running)} at work", *ends])

    def drawn(self, width: int) -> Table:
        """With a line for each run at work, as many as most terminals have room for."""
        table = Table(box=None, pad_edge=False, caption=Text(str(self)), caption_justify="left", padding=(0, 2, 0, 0))
        for heading in ("run", "epoch", "iteration", "accuracy", "images/s", "left"):
            table.add_column(heading, no_wrap=True, justify="left" if heading == "run" else "right", header_style="dim")
        for standing in self.running[:16]:
            table.add_row(*map(Text, standing.cells()))
        return table


class _Drawn(Protocol):
    """What is drawn anew in its place."""

    def drawn(self, width: int) -> Table: ...


class _Face(Protocol):
    """Where a display shows itself. Any of these may raise."""

    interval: float  # seconds between two drawings of the bar

    def line(self, text: str) -> None: ...

    def bar(self, bar: _Drawn) -> None: ...

    def close(self) -> None: ...


class _Lines:
    """A file, a pipe, a terminal that cannot move its cursor: now and then the bar is a line."""

    interval = 30.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def bar(self, bar: _Drawn) -> None:
        self.line(printable(str(bar)))

    def close(self) -> None:
        pass


class _Terminal:
    """A bar at the bottom, and lines above it."""

    interval = 0.2

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        # What a callback prints belongs above the bar, where it goes to a terminal.
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=_is_terminal(sys.stdout)
        )
        self._live.start()

    def line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def bar(self, bar: _Drawn) -> None:
        self._live.update(bar.drawn(self._console.width), refresh=True)

    def close(self) -> None:
        self._live.stop()


class _Notebook:
    """A bar that is drawn anew in its place, and lines below it. Rich's own needs ipywidgets, this any notebook."""

    interval = 0.5
    _nothing = {"text/plain": "", "text/html": ""}

    def __init__(self) -> None:
        from IPython.display import display

        self._handle = display(self._nothing, raw=True, display_id=True)

    def line(self, text: str) -> None:
        print(text, flush=True)

    def bar(self, bar: _Drawn) -> None:
        self._handle.update(bar.drawn(100))

    def close(self) -> None:
        self._handle.update(self._nothing, raw=True)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    except ValueError:  # it is closed
        return False


def _face() -> _Face | None:
    """Follows a redirected ``sys.stderr``; results on stdout stay clean."""
    if Console().is_jupyter:
        return _Notebook()
    if sys.stderr is None:  # a program without a console
        return None
    return _Terminal(sys.stderr) if _is_terminal(sys.stderr) else _Lines(sys.stderr)


class Display:
    """A bar, and lines that stay. Its end, as a context, takes the bar away.

    Where showing fails, since the terminal was closed, the reader of a pipe is gone or a log's disk is full, it falls
    silent for good: what it tells of goes on.
    """

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled
        self._face: _Face | None = None
        self._next = 0.0  # when the bar is drawn again

    def __enter__(self) -> Self:
        with suppress(Exception):
            self._face = _face() if self._enabled else None
        return self

    def __exit__(self, *details: object) -> None:
        self._show(lambda face: face.close())

    def line(self, text: str) -> None:
        self._show(lambda face: face.line(printable(text)))

    def bar(self, bar: Callable[[], _Drawn]) -> None:
        """Draws it, if it is time to."""
        if self._face and time.monotonic() >= self._next:
            self._show(lambda face: face.bar(bar()))

    def _show(self, show: Callable[[_Face], None]) -> None:
        face = self._face
        if face is None:
            return
        try:
            show(face)
            self._next = time.monotonic() + face.interval
        except Exception:
            self._face = None
            with suppress(Exception):
                face.close()


# ---- What is shown ---------------------------------------------------------------------------------------------------


@contextmanager
def byte_progress(label: str, total: int | None, enabled: bool) -> Iterator[Callable[[int], None]]:
    """A bar for a download; gives a function to call with the number of bytes that came."""
    begin, received = time.monotonic(), 0

    def bar() -> Bar:
        seconds = time.monotonic() - begin
        facts = [f"{received / 1e6:.1f}" + (f" of {total / 1e6:.1f} MB" if total else " MB")]
        if received and seconds > 0:
            left = [f"{duration((total - received) * seconds / received)} left"] if total else []
            facts = [*left, *facts, f"{received / seconds / 1e6:.1f} MB/s"]
        return Bar([f"fetching {label}"], received, total, facts)

    def advance(count: int) -> None:
        nonlocal received
        received += count
        display.bar(bar)

    with Display(enabled) as display:
        display.bar(bar)
        yield advance


class FitProgress(Display):
    """The progress of one fit: a bar over the iterations of an epoch, and a line that stays for each epoch done.

    Args:
        labels: what the run is called, at length and in brief.
        later: what there is to say of the time after it, by the seconds that it still takes, and those of a whole run.
    """

    def __init__(
        self, *labels: str, enabled: bool = True, later: Callable[[float, float], list[str]] = lambda left, whole: []
    ) -> None:
        super().__init__(enabled)
        self._labels, self._later, self._pace = labels, later, Pace()

    def begin(self, data: str, history: History, epochs: int) -> None:
        """Says what begins: until the first iteration is done, there is nothing else to see."""
        done, label = len(history), self._labels[0]
        if done and not history[-1].complete:
            self.line(f"{label}: going on from epoch {done}, iteration {history[-1].iterations}")
        elif done >= epochs:
            self.line(f"{label}: complete already: nothing to train")
        elif done:
            self.line(f"{label}: going on from the end of epoch {done}")
        self.bar(lambda: Bar(self._titles(min(done + 1, epochs), epochs), 0, 1, [data]))

    def iteration(self, report: Progress) -> None:
        """Shows the means of the phase so far; leaves a line for an epoch that is complete."""
        self._pace.hear(report, time.monotonic())
        if report.finished:
            title = self._titles(report.epoch, report.epochs)[0]
            self.line("  ".join([title, *_summary(report.finished), *self._left(report)]))
        else:
            self.bar(lambda: self._bar(report))

    def _bar(self, report: Progress) -> Bar:
        phase = "" if report.phase == "training" else f" {report.phase}"
        means = report.running  # None where nothing is measured
        return Bar(
            [title + phase for title in self._titles(report.epoch, report.epochs)],
            report.iteration,
            report.iterations,
            [
                *self._left(report),
                *([f"loss {means.loss:.3f}", f"accuracy {means.accuracy:6.2%}"] if means else []),
                f"{report.iteration}/{report.iterations}",
                f"{report.images_per_second:,.0f} images/s",
            ],
        )

    def _titles(self, epoch: int, epochs: int) -> list[str]:
        place = f"epoch {epoch}/{epochs}"
        return [*(f"{label} {place}" for label in self._labels), place]

    def _left(self, report: Progress) -> list[str]:
        """What there is to say of the time left."""
        seconds = self._pace.left(report)
        if seconds is None:
            return []
        is_over = report.finished and report.epoch == report.epochs
        return ([] if is_over else [f"{duration(seconds[0])} left"]) + self._later(*seconds)


class StudyProgress:
    """The progress of a study: which run of how many, and when the last one ends.

    Args:
        networks: those of the runs that are still to be made, in their order.
        total: runs, those included that were made before.
    """

    def __init__(self, networks: Sequence[str], total: int, enabled: bool) -> None:
        self._networks, self._total, self._enabled = networks, total, enabled
        self._seconds: dict[str, float] = {}  # that a run takes, by network, where one has begun

    def run(self, index: int, label: str) -> FitProgress:
        """For the run at ``index`` of those still to be made."""
        network, *ahead = self._networks[index:]

        def later(left: float, whole: float) -> list[str]:
            self._seconds[network] = whole
            seconds = left + sum(self._seconds.get(other, whole) for other in ahead)
            return [f"study ends {clock(seconds)}"] if ahead else []

        number = f"run {self._total - len(self._networks) + index + 1} of {self._total}"
        return FitProgress(f"{number}: {label}", number, enabled=self._enabled, later=later)


class Pace:
    """How long a run still takes, by how long its iterations, and what comes after an epoch's, have taken so far."""

    def __init__(self) -> None:
        self._heard: float | None = None
        self._iterations = 0  # of training in an epoch
        self._trained, self._training = 0, 0.0  # iterations, and their seconds
        self._completed, self._measuring = 0, 0.0  # epochs, and the seconds after their training
        self._spent = 0.0  # seconds after this epoch's training
        self._phase, self._begun = "", 0.0  # the phase, and what of these was spent before it

    def hear(self, report: Progress, now: float) -> None:
        if report.phase != self._phase:
            self._phase, self._begun = report.phase, self._spent
        if self._heard is not None:  # the first iteration also plans and allocates
            if report.phase == "training":
                self._trained, self._training = self._trained + 1, self._training + now - self._heard
            else:
                self._spent += now - self._heard
        self._heard = now
        if report.phase == "training":
            self._iterations, self._spent = report.iterations, 0.0
        elif report.finished:
            self._completed, self._measuring = self._completed + 1, self._measuring + self._spent
            self._spent = 0.0

    def left(self, report: Progress) -> tuple[float, float] | None:
        """Seconds that the run still takes, and that a whole one does; None where it is too early to tell.

        The measurement on the test set counts from its beginning on.
        """
        if not self._trained:
            return None
        done = report.iteration / report.iterations  # of this phase
        training = self._iterations * self._training / self._trained
        in_phase = self._spent - self._begun
        after = self._measuring / self._completed if self._completed else self._begun + in_phase / done
        whole = report.epochs * (training + after)
        if report.phase == "test":
            return (1 / done - 1) * in_phase, whole
        if report.phase == "training":
            rest = (1 - done) * training + after
        else:
            rest = 0.0 if report.finished else max(0.0, after - self._spent)
        return rest + (report.epochs - report.epoch) * (training + after), whole


def _summary(epoch: Epoch) -> list[str]:
    held_out = [f"validation {epoch.validation.accuracy:6.2%}"] if epoch.validation else []
    return [
        f"loss {epoch.train.loss:.3f}",
        f"accuracy {epoch.train.accuracy:6.2%}",
        *held_out,
        f"{epoch.images_per_second:,.0f} images/s",
    ]


def duration(seconds: float) -> str:
    """In two units at most: "40 s", "12 min", "1 h 20 min", "3 d 4 h"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def clock(seconds: float) -> str:
    """The time in so many seconds: "14:32", "Tue 14:32", "24 Dec"."""
    now = datetime.now()
    then = now + timedelta(seconds=seconds)
    days = (then.date() - now.date()).days
    return f"{then:%H:%M}" if days == 0 else f"{then:%a %H:%M}" if days < 7 else f"{then:%d %b}"
