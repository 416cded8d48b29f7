"""A run's folder: what lies in it, how a run is made there and goes on.

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
        stop                for a while, where somebody asked it to end: see :func:`plp.stop`
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import SoftFileLease

from .. import _plp
from .._checks import in_brief
from .._files import make_folder, remove_abandoned, write_whole
from .._plain import differences, to_plain
from .._progress import FitProgress
from ..records import History, Progress
from .leases import STOP, Stopped, check_stop, held
from .metrics import ITERATIONS, METRICS, PROGRESS, IterationKeeper, Telling, note, note_again
from .records import RUN_FILE, STUDY_FILE, VERSION, WATCHED, Run, read_run, read_run_data, run_of
from .tasks import BEST, CHECKPOINT, LAST, Task, set_aside

KEPT = (METRICS, ITERATIONS, CHECKPOINT, BEST, LAST, WATCHED)
"""The files of a run beside :data:`RUN_FILE`."""

PICTURES = ("curves.png", "watched.png")
"""What ``plp train`` draws of a run, in its folder: its history, and what it watched."""

Engine = Callable[[Task], History]


@dataclass(frozen=True)
class Keeper:
    """A run's last callback: writes how far it is, and ends the run where it is asked to."""

    folder: Path
    lease: SoftFileLease
    telling: Telling

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
    run = _about(task, engine, command)
    if task.folder is None:
        return _made(task, engine, run)
    make_folder(task.folder)
    with held(task.folder, wait=wait) as lease:
        check_stop(task.folder)
        there = found(task.folder)
        if there and there.is_complete:
            return _handed_over(there, task)
        run = replace(run, folder=task.folder)
        if there:
            _give_up_another(there, task)
            run = replace(run, started=there.run.started, seconds=there.run.seconds)
        return _written(task, engine, run, lease)


def _handed_over(there: Found, task: Task) -> Run:
    """The complete run in a task's folder, which has to be the task's."""
    for difference in there.differences(task):
        raise ValueError(f"{task.folder} holds a run whose {difference}: choose another folder, or start fresh")
    if not there.run.failure:
        task.begin(there.run.history)
    return there.run


def _written(task: Task, engine: Engine, run: Run, lease: SoftFileLease) -> Run:
    """Makes a run in its folder, which tells of it from the beginning on, and says at last that it is complete."""
    folder = task.folder
    assert folder
    description = to_plain(task)

    def write(run: Run, complete: bool) -> None:
        data = {"version": VERSION, "complete": complete, "task": description, "run": to_plain(run)}
        write_whole(folder / RUN_FILE, json.dumps(data, indent=1).encode())

    write(run, complete=False)
    try:
        first = [IterationKeeper(folder)] * (task.metrics == "iteration")
        keeper = Keeper(folder, lease, Telling(folder / PROGRESS))
        run = _made(replace(task, callbacks=(*first, *task.callbacks, keeper)), engine, run)
    except KeyboardInterrupt as interruption:
        write(interruption.run, complete=False)  # type: ignore[attr-defined]
        raise
    except ValueError:
        if not any((folder / name).exists() for name in KEPT):  # a mistake that none but the engine could find
            (folder / RUN_FILE).unlink()
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
    if (folder / STUDY_FILE).exists():
        raise FileExistsError(errno.EEXIST, "holds a study, expected a folder for a run", os.fspath(folder))
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


def is_begun(folder: Path) -> bool:
    """Whether a run has a checkpoint to go on from."""
    return (folder / CHECKPOINT).exists()


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
        for name in (*KEPT, *PICTURES, PROGRESS, STOP, RUN_FILE):
            (folder / name).unlink(missing_ok=True)
            remove_abandoned(folder / name)
        for events in folder.glob("events.out.tfevents.*"):  # plp.TensorBoard's
            events.unlink()
    with suppress(OSError):
        folder.rmdir()
