"""What is shown while something runs: a live bar on a terminal, plain lines in a file or pipe.

Drawn from the callback after an iteration, a few times a second; no thread of its own competes with the computation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as bars
from rich.console import Console

from .records import Epoch, Progress

INTERVAL = 0.2  # seconds between two drawings


def _console() -> Console:
    """Made when needed, so that it follows a redirected ``sys.stderr``; results on stdout stay clean."""
    return Console(stderr=True, highlight=False)


@contextmanager
def byte_progress(label: str, total: int | None, enabled: bool) -> Iterator[Callable[[int], None]]:
    """A bar for a download; gives a function to call with the number of bytes that came."""
    console = _console()
    if enabled and not console.is_terminal:
        console.print(f"fetching {label}" + (f" ({total:,} bytes)" if total else ""))
    bar = bars.Progress(
        bars.TextColumn(label, markup=False),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
        console=console,
        disable=not (enabled and console.is_terminal),
    )
    with bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)


class FitProgress:
    """The progress of one fit: a bar over the iterations of an epoch, and a line that stays for each epoch done."""

    def __init__(self, label: str, enabled: bool) -> None:
        self._console = _console()
        self._label, self._enabled = label, enabled
        self._live = enabled and self._console.is_terminal
        self._drawn = 0.0
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(bar_width=24),
            bars.TextColumn("{task.completed}/{task.total}  {task.fields[metrics]}"),
            bars.TimeElapsedColumn(),
            console=self._console,
            transient=True,
            auto_refresh=False,
            disable=not self._live,
        )

    def __enter__(self) -> FitProgress:
        self._bar.__enter__()
        self._task = self._bar.add_task(self._label, total=None, metrics="")
        return self

    def __exit__(self, *details: object) -> None:
        self._bar.__exit__(*details)  # type: ignore[arg-type]

    def iteration(self, report: Progress) -> None:
        """Shows the means of the phase so far; leaves a line for an epoch that is complete."""
        now = time.monotonic()
        if not self._enabled:
            return
        title = f"{self._label} epoch {report.epoch}/{report.epochs}"
        if report.finished:
            self._console.print(f"{title}  {_summary(report.finished)}", soft_wrap=True, markup=False)
        elif self._live and report.running and now - self._drawn >= INTERVAL:
            self._drawn = now
            phase = "" if report.phase == "training" else report.phase
            metrics = f"loss {report.running.loss:.3f}  accuracy {report.running.accuracy:6.2%}"
            self._bar.update(
                self._task,
                description=f"{title} {phase}",
                completed=report.iteration,
                total=report.iterations,
                metrics=f"{metrics}  {report.images_per_second:,.0f} images/s",
            )
            self._bar.refresh()


def _summary(epoch: Epoch) -> str:
    held_out = f"  validation {epoch.validation.accuracy:6.2%}" if epoch.validation else ""
    return (
        f"loss {epoch.train.loss:.3f}  accuracy {epoch.train.accuracy:6.2%}{held_out}  "
        f"{epoch.images_per_second:,.0f} images/s"
    )
