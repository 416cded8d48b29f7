"""What a run's folder tells of it while it is made: a line for each epoch or iteration, and how far it is."""

from __future__ import annotations

import csv
import io
import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from .._files import write_whole
from .._progress import Pace, Standing
from ..records import Epoch, History, Progress

METRICS, ITERATIONS, PROGRESS = "metrics.csv", "iterations.csv", "progress.json"

# ---- By epoch and by iteration ---------------------------------------------------------------------------------------


def note(folder: Path, epoch: Epoch) -> None:
    """Adds an epoch to a run's metrics, in place of those that an earlier try had from there on."""
    file = folder / METRICS
    found = file.read_text() if file.exists() else ""
    heading, *lines = found.splitlines(keepends=True) or [""]
    earlier = [line for line in lines if _epoch_of(line) < epoch.epoch]
    if heading and earlier == lines:
        with open(file, "a") as stream:
            stream.write(_line(epoch))
    else:
        write_whole(file, (_heading(epoch) + "".join(earlier) + _line(epoch)).encode())


def note_again(folder: Path, history: History) -> None:
    """Writes the metrics of a run that goes on: those of its history, whatever the last process was killed at."""
    times = {row.get("epoch"): row.get("time") for row in _rows(folder)}
    lines = [_line(epoch, times.get(str(epoch.epoch))) for epoch in history if epoch.complete]
    if lines:
        write_whole(folder / METRICS, (_heading(history[0]) + "".join(lines)).encode())


def _heading(epoch: Epoch) -> str:
    return ",".join([*epoch.to_row(), "time"]) + "\n"


def _line(epoch: Epoch, time: str | None = None) -> str:
    text = io.StringIO()
    cells = [*epoch.to_row().values(), time or datetime.now().astimezone().isoformat(timespec="milliseconds")]
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _epoch_of(line: str) -> float:
    number = line.partition(",")[0]
    return int(number) if number.isdigit() and line.endswith("\n") else float("inf")  # one that was cut off


def _rows(folder: Path) -> list[dict[str, str]]:
    """The lines of a run's metrics so far."""
    file = folder / METRICS
    return list(csv.DictReader(io.StringIO(file.read_text()))) if file.exists() else []


@dataclass(frozen=True)
class IterationKeeper:
    """A run's first callback, where iterations are asked for: writes each one's metrics, whoever ends the run at it."""

    folder: Path

    def begin(self, history: History) -> None:
        """Leaves the lines of the iterations that the run goes on from."""
        file = self.folder / ITERATIONS
        found = file.read_text().splitlines(keepends=True) if file.exists() else []
        done = {f"{epoch.epoch},{number}" for epoch in history for number in range(1, epoch.iterations + 1)}
        kept = [line for line in found if line.endswith("\n") and ",".join(line.split(",")[:2]) in done]
        heading = "epoch,iteration,learning_rate,predicted,loss,top1_error,top5_error,seconds\n"
        write_whole(file, (heading + "".join(kept)).encode())

    def __call__(self, report: Progress) -> None:
        if report.phase != "training" or not report.batch:
            return
        if (report.epoch, report.iteration) == (1, 1):  # an engine need not have told of its beginning
            self.begin(History())
        metrics = report.batch
        cells = [report.epoch, report.iteration, report.learning_rate, int(report.predicted)]
        cells += [metrics.loss, metrics.top1_error, metrics.top5_error, report.seconds]
        with open(self.folder / ITERATIONS, "a") as stream:
            stream.write(",".join(map(str, cells)) + "\n")


# ---- How far it is, for others ---------------------------------------------------------------------------------------


class Telling:
    """Writes how far a run is within an epoch to a small file: every other second, or less often where that takes long,
    as it may on network file systems. Nobody needs to rely on it.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._pace, self._next = file, Pace(), 0.0

    def hear(self, report: Progress) -> None:
        now = time.monotonic()
        self._pace.hear(report, now)
        if now < self._next or report.finished:
            return
        left = self._pace.left(report)
        place = {name: getattr(report, name) for name in ("phase", "epoch", "iteration", "iterations")}
        speed = report.images_per_second
        with suppress(OSError):  # such as a full disk's: a checkpoint will tell
            self._file.write_text(json.dumps({**place, "images_per_second": speed, "left": left and left[0]}))
        now, began = time.monotonic(), now
        self._next = now + max(2.0, 100 * (now - began))


def standing(name: str, folder: Path, epochs: int) -> Standing:
    """How far a run has come that some other process makes: as its metrics tell, and what it says of its iterations."""
    finished = _finished(name, folder, epochs)
    try:
        told = json.loads((folder / PROGRESS).read_bytes())
        phase = {"training": "", "validation": "validation ", "test": "test "}.get(told["phase"], "")
        if told["epoch"] < finished.epoch + (phase != "test "):  # it was told before the latest epoch was complete
            return finished
        return replace(
            finished,
            epoch=int(told["epoch"]),
            place=f"{phase}{told['iteration']:d}/{told['iterations']:d}",
            images_per_second=float(told["images_per_second"]),
            left=finished.left if told["left"] is None else float(told["left"]),
        )
    except (OSError, ValueError, TypeError, KeyError):  # before the first iteration, or while it is written
        return finished


def _finished(name: str, folder: Path, epochs: int) -> Standing:
    """How far a run has come, by its complete epochs."""
    try:
        rows = _rows(folder)
        times = [datetime.fromisoformat(row["time"]) for row in rows]
        accuracy = 1 - float(rows[-1]["validation_top1_error"] or rows[-1]["train_top1_error"])
        speed, seconds = float(rows[-1]["images_per_second"]), float(rows[-1]["seconds"])
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
    ):  # before the first epoch's end, or while one is added
        return Standing(name, 0, epochs)
    if len(rows) > 1:
        seconds = (times[-1] - times[0]).total_seconds() / (len(rows) - 1)
    since = (datetime.now().astimezone() - times[-1]).total_seconds()
    return Standing(name, len(rows), epochs, accuracy, speed, max(0.0, (epochs - len(rows)) * seconds - since))
