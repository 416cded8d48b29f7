"""A run's folder: what lies in it, who may write it, how a run is made there and goes on.

::

    resnet18-sgd-seed-0/
        run.json            what makes the run again, what made it, and its history
        metrics.csv         a line for each epoch
        iterations.csv      where it was asked for, a line for each iteration
        best.safetensors, last.safetensors
        watched.npz         where its recipe has a plp.Watch
        checkpoint.plp      until it is complete
        lock                while some process makes it
        progress.json       meanwhile, now and then: how far it is within an epoch
        stop                for a while, where somebody asked it to end: see :func:`stop`
"""

from __future__ import annotations

import csv
import errno
import io
import json
import multiprocessing
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import SoftFileLease, Timeout

from .. import _plp
from .._checks import in_brief
from .._files import Place, make_folder, remove_abandoned, write_whole
from .._plain import differences, to_plain
from .._progress import FitProgress, Pace, Standing
from ..records import Epoch, History, Progress
from .records import RUN_FILE, STUDY_FILE, VERSION, WATCHED, Run, read_run, read_run_data, run_of
from .tasks import BEST, CHECKPOINT, LAST, Task, set_aside

METRICS, ITERATIONS, PROGRESS = "metrics.csv", "iterations.csv", "progress.json"
LOCK, STOP = "lock", "stop"

LEASE = 30.0
"""Seconds without a sign of life after which a lock is free that a process of another machine held."""

KEPT = (METRICS, ITERATIONS, CHECKPOINT, BEST, LAST, WATCHED)
"""The files of a run beside :data:`RUN_FILE`."""

PICTURES = ("curves.png", "watched.png")
"""What ``plp train`` draws of a run, in its folder: its history, and what it watched."""

Engine = Callable[[Task], History]


class Stopped(KeyboardInterrupt):
    """A run was asked to end, by :func:`stop` or since the process that wants its results is gone."""


# ---- Who makes it, and until when ------------------------------------------------------------------------------------


@contextmanager
def held(folder: Path, *, wait: bool = False) -> Iterator[SoftFileLease]:
    """Holds the lock of a run, on network file systems too; it is let go of by a process that ends, however it ends.

    It is a file that its owner touches again and again. One on this machine is known to be gone at once, one elsewhere
    after :data:`LEASE` without a sign of life.

    Raises:
        OSError: another process holds it; with ``wait`` it is waited for.
        Stopped: while waiting.
    """
    lease = _lease(folder)
    patience = 0.0 if _beats(folder) else LEASE + 5
    until = time.monotonic() + patience
    while True:
        try:
            lease.acquire(timeout=1 if wait or patience else 0, poll_interval=0.2)
            break
        except Timeout:
            _remove_unsigned(folder)
            if not wait and time.monotonic() >= until:
                raise OSError(errno.EAGAIN, "in use: another process makes this run", os.fspath(folder)) from None
            check_stop(folder)
    try:
        yield lease
    finally:
        lease.release()


def _lease(folder: Path) -> SoftFileLease:
    return SoftFileLease(folder / LOCK, lease_duration=LEASE)


def _remove_unsigned(folder: Path) -> None:
    """Removes a lock whose owner was killed before it had written who it is: filelock takes it for held, for ever."""
    with suppress(FileNotFoundError):
        file = (folder / LOCK).stat()
        if file.st_size == 0 and time.time() - file.st_mtime >= LEASE:
            (folder / LOCK).unlink()


def _beats(folder: Path) -> bool:
    """Whether there was a sign of life of a run's owner lately, by this machine's clock."""
    with suppress(FileNotFoundError):
        return time.time() - (folder / LOCK).stat().st_mtime < 2 * LEASE
    return True


def is_begun(folder: Path) -> bool:
    """Whether a run has a checkpoint to go on from."""
    return (folder / CHECKPOINT).exists()


def is_held(folder: Path) -> bool:
    """Whether some process makes a run, as far as the file of its lock tells."""
    return (folder / LOCK).exists()


def let_end(folder: Path, watch: Callable[[], None]) -> None:
    """Waits until no process makes a run; ``watch`` is called now and then."""
    lease = _lease(folder)  # one, which remembers since when it has seen no sign of life
    while is_held(folder):
        with suppress(Timeout), lease.acquire(timeout=0.2):
            return
        _remove_unsigned(folder)
        watch()


def stop(path: Place) -> None:
    """Asks the runs of a study, or the one run, in a folder to end after the running iteration, on whatever machine.

    They are kept, and go on when what began them is called again.

    Raises:
        FileNotFoundError: there is neither a study nor a run.
        OSError: the folder cannot be written.
    """
    folder = Path(path)
    if not any((folder / name).exists() for name in (STUDY_FILE, RUN_FILE)):
        raise FileNotFoundError(errno.ENOENT, "neither a study nor a run of plp's", os.fspath(path))
    write_whole(folder / STOP, b"")


def go_on(folder: Path) -> None:
    """Takes back :func:`stop`."""
    (folder / STOP).unlink(missing_ok=True)


def check_stop(folder: Path) -> None:
    """
    Raises:
        Stopped: the run in a folder is to end.
    """
    if (folder.parent / STOP).exists() or (folder / STOP).exists():
        raise Stopped(f"{folder} was asked to stop")
    if (parent := multiprocessing.parent_process()) and not _is_alive(parent):
        raise Stopped("the process that started this one is gone")


def _is_alive(parent: Any) -> bool:
    try:
        return parent.is_alive()
    except (TypeError, ValueError):  # in loky's workers, which have nothing to look at
        return os.getppid() == parent.pid


# ---- How it is made --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Keeper:
    """A run's last callback: writes how far it is, and ends the run where it is asked to."""

    folder: Path
    lease: SoftFileLease
    telling: _Telling

    def begin(self, history: History) -> None:
        note_again(self.folder, history)

    def __call__(self, report: Progress) -> None:
        self.telling.hear(report)
        if report.finished:
            note(self.folder, report.finished)
        if self.lease.compromise:
            raise Stopped(f"another process has taken over {self.folder}: no sign of life came from here for too long")
        check_stop(self.folder)


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


@dataclass(frozen=True)
class _Shown:
    display: FitProgress
    task: Task

    def begin(self, history: History) -> None:
        self.display.begin(f"{self.task.train.name}, {len(self.task.train):,} images", history, self.task.epochs)

    def __call__(self, report: Progress) -> None:
        self.display.iteration(report)


def with_display(task: Task, display: FitProgress) -> Task:
    """A task whose progress is shown, by its last callback: what comes before may save."""
    return replace(task, callbacks=(*task.callbacks, _Shown(display, task)))


def perform(task: Task, engine: Engine, command: str | None = None, *, wait: bool = True) -> Run:
    """Makes a run, or goes on with it; gives the one that its folder has where that is complete.

    Args:
        command: that it is made by, if it is not this process's.
        wait: for another process that makes it.

    Raises:
        KeyboardInterrupt: it was interrupted, or asked to stop; what its folder has goes on another time. The error's
            ``run`` is what there is of it.
        ValueError: its folder has a complete run with other options or data.
        OSError: its folder has foreign files of the same names, or cannot be written; or another process makes it.
    """
    if task.folder is None:
        return _made(task, engine, _about(task, engine, command))
    folder = task.folder
    make_folder(folder)
    with held(folder, wait=wait) as lease:
        check_stop(folder)
        run = replace(_about(task, engine, command), folder=folder)
        there = found(folder)
        if there and there.is_complete:
            for difference in there.differences(task):
                raise ValueError(f"{folder} holds a run whose {difference}: choose another folder, or start fresh")
            if not there.run.failure:
                task.begin(there.run.history)
            return there.run
        if there:
            _give_up_another(there, task)
            run = replace(run, started=there.run.started, seconds=there.run.seconds)
        description = to_plain(task)

        def write(run: Run, complete: bool) -> None:
            data = {"version": VERSION, "complete": complete, "task": description, "run": to_plain(run)}
            write_whole(folder / RUN_FILE, json.dumps(data, indent=1).encode())

        write(run, complete=False)
        try:
            first = [IterationKeeper(folder)] * (task.metrics == "iteration")
            keeper = Keeper(folder, lease, _Telling(folder / PROGRESS))
            run = _made(replace(task, callbacks=(*first, *task.callbacks, keeper)), engine, run)
        except KeyboardInterrupt as interruption:
            write(interruption.run, complete=False)  # type: ignore[attr-defined]
            raise
        finally:
            (folder / PROGRESS).unlink(missing_ok=True)
        write(run, complete=True)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return run


def _about(task: Task, engine: Engine, command: str | None) -> Run:
    """A run that begins: what makes it."""
    return Run(
        task.network,
        task.method,
        task.seed,
        History(),
        build=_plp.build_info(),
        engine=f"{engine.__module__}.{engine.__qualname__}" if hasattr(engine, "__qualname__") else repr(engine)[:200],
        versions={"plp": _plp.version, "python": platform.python_version(), "numpy": np.__version__},
        command=shlex.join(sys.orig_argv) if command is None else command,
        host=platform.node(),
        processor=_processor(),
        started=datetime.now().astimezone().isoformat(timespec="seconds"),
    )


def _processor() -> str:
    """Its name, as Linux has it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _made(task: Task, engine: Engine, run: Run) -> Run:
    """A run that began, once its engine has ended; where that was interrupted, it is the exception's ``run``."""
    began = time.monotonic()

    def ended(history: History, failure: str | None = None) -> Run:
        return replace(run, history=history, failure=failure, seconds=round(run.seconds + time.monotonic() - began, 3))

    try:
        history = engine(task)
    except _plp.Error as error:
        return ended(getattr(error, "history", History()), str(error))
    except KeyboardInterrupt as interruption:
        interruption.run = ended(getattr(interruption, "history", History()))  # type: ignore[attr-defined]
        raise
    if not isinstance(history, History):
        raise ValueError(f"the engine returned {in_brief(history)}, expected a plp.History")
    return ended(history)


@dataclass(frozen=True)
class Found:
    """What a folder has of a run, complete or not."""

    run: Run
    is_complete: bool
    task: Any  # as plain data

    def differences(self, task: Task) -> Iterator[str]:
        """In what it is a run of another task."""
        return differences("", _essence(self.task), _essence(to_plain(task)))


def found(folder: Path) -> Found | None:
    """The run in a folder, if there is one.

    Raises:
        FileExistsError: there is none, but files of the same names.
        plp.Error: it is damaged, or of another version.
    """
    file = folder / RUN_FILE
    if file.exists():
        data = read_run_data(file)
        return Found(run_of(data, file), data.get("complete") is True, data.get("task"))
    for name in KEPT:
        if (folder / name).exists():
            raise FileExistsError(
                errno.EEXIST, "not a run of plp's, which has a run.json beside it", os.fspath(folder / name)
            )
    return None


def _give_up_another(there: Found, task: Task) -> None:
    """Has the checkpoint in a folder, if there is one, be of this very task."""
    folder = there.run.folder
    assert folder
    for difference in there.differences(task):
        if is_begun(folder):
            set_aside(folder / CHECKPOINT, f"it is of a run whose {difference}")
        for name in KEPT:
            (folder / name).unlink(missing_ok=True)
        break


def _essence(description: Any) -> Any:
    """What decides a run's result: neither threads, nor where its data lie."""
    if not isinstance(description, dict):
        return description
    kept = {name: value for name, value in description.items() if name != "threads"}
    for name in ("train", "test"):
        if isinstance(data := kept.get(name), dict):
            kept[name] = {part: data.get(part) for part in ("name", "images", "checksum")}
    return kept


def made_run(folder: Path) -> Run | None:
    """The complete run in a folder, if there is one."""
    return read_run(folder / RUN_FILE) if (folder / RUN_FILE).exists() else None


def forget(folder: Path) -> None:
    """Removes a run that is to start anew: the files that plp wrote, and its folder if that is then empty.

    Raises:
        OSError: some process makes it.
        plp.Error: its ``run.json`` is none of plp's.
    """
    if not (folder / RUN_FILE).exists():
        return
    read_run_data(folder / RUN_FILE)
    with held(folder):
        for name in (*KEPT, *PICTURES, PROGRESS, RUN_FILE):
            (folder / name).unlink(missing_ok=True)
            remove_abandoned(folder / name)
        for events in folder.glob("events.out.tfevents.*"):  # plp.TensorBoard's
            events.unlink()
    with suppress(OSError):
        folder.rmdir()


# ---- Metrics ---------------------------------------------------------------------------------------------------------


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


# ---- How far it is, for others ---------------------------------------------------------------------------------------


class _Telling:
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
