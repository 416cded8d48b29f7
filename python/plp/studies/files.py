"""A study's folder, and the folder of each of its runs: what lies where, who may write it, how it goes on.

::

    study.json              settings and methods
    stop                    for a while, where somebody asked the runs to end: see :func:`stop`
    resnet18-sgd-seed-0/
        run.json            what makes the run again, what made it, and its history once it is complete
        metrics.csv         a line for each epoch
        best.safetensors, last.safetensors
        checkpoint.plp      until it is complete
        lock                while some process makes it
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
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import SoftFileLease, Timeout

from .. import _plp
from .._files import Place, remove_abandoned, write_whole
from .._plain import to_plain
from ..options import Recipe
from ..records import Epoch, History, Progress
from .records import RUN_FILE, STUDY_FILE, VERSION, Run, Settings, Study, folder_name, read_run, read_run_data
from .tasks import BEST, CHECKPOINT, LAST, Task, set_aside

METRICS, LOCK, STOP = "metrics.csv", "lock", "stop"
Engine = Callable[[Task], History]


class Stopped(KeyboardInterrupt):
    """A run was asked to end, by :func:`stop` or since the process that wants its results is gone."""


# ---- Studies ---------------------------------------------------------------------------------------------------------


def opened(
    folder: Path | None, settings: Settings, methods: dict[str, Recipe], planned: list[str], fresh: bool
) -> Study:
    """The study in a folder, with these methods beside its own, and noted there; a new one where there is none."""
    if folder is None:
        return Study(settings, methods, planned=planned)
    study, older = Study(settings, methods), []
    if fresh:
        _forget(folder)
    elif (folder / STUDY_FILE).exists():
        found = Study.load(folder)
        if found.runs or any(folder.glob(f"*/{CHECKPOINT}")):
            _check_same(found, settings, methods, folder)
            study = found
            study.methods = {**study.methods, **methods}
            older = [run for run in study.runs if not (folder / folder_name(run.name) / RUN_FILE).exists()]
    study.planned = list(dict.fromkeys(study.planned + planned))
    replace(study, runs=older).save(folder / STUDY_FILE)
    return study


def folder_of(path: Place) -> Path:
    """The folder that a study is to lie in, made if need be.

    Raises:
        ValueError: it is a file, or named as one.
        FileNotFoundError, OSError: it cannot be made.
    """
    folder = Path(os.path.realpath(path))
    if folder.is_file() or folder.suffix == ".json" and not folder.is_dir():
        raise ValueError(
            f"path is {os.fspath(path)}, expected a folder, in which the study is study.json and each run a folder; "
            "plp.Study.load reads the files of earlier versions"
        )
    folder.mkdir(exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    return folder


def _check_same(study: Study, settings: Settings, methods: dict[str, Recipe], path: Place) -> None:
    """Runs are only comparable where all but the machine is the same."""
    for difference in differences("", study.settings, settings):
        raise ValueError(f"{os.fspath(path)} holds a study whose {difference}: choose another folder, or start fresh")
    for name in study.methods.keys() & methods.keys():
        for difference in differences("", study.methods[name], methods[name]):
            raise ValueError(
                f"{os.fspath(path)} holds another method of the name {name!r}, whose {difference}: choose another name"
            )


def differences(name: str, found: Any, expected: Any) -> Iterator[str]:
    """Which fields of two records differ, by their names, those of options within options too."""
    if is_dataclass(found) and type(found) is type(expected):
        found, expected = (
            {part.name: getattr(record, part.name) for part in fields(record)} for record in (found, expected)
        )
    if isinstance(found, dict) and isinstance(expected, dict):
        for part in expected.keys() | found.keys():
            inner = f"{name}.{part}" if name else part
            yield from differences(inner, found.get(part), expected.get(part))
    elif found != expected:
        yield f"{name} is {found}, expected {expected}"


def _forget(folder: Path) -> None:
    """Removes the runs of a study that is to start anew: the files that plp wrote, and folders that are then empty."""
    for file in list(folder.glob(f"*/{RUN_FILE}")):
        read_run_data(file)  # which raises where it is none of plp's
        with held(file.parent):
            for name in (METRICS, CHECKPOINT, BEST, LAST, RUN_FILE):
                (file.parent / name).unlink(missing_ok=True)
                remove_abandoned(file.parent / name)
        with suppress(OSError):
            file.parent.rmdir()


def stop(path: Place) -> None:
    """Asks the runs of a study, or the one run, in a folder to end after the running iteration, on whatever machine.

    They are kept, and go on when :func:`plp.compare` is called again.

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


# ---- Runs ------------------------------------------------------------------------------------------------------------


@contextmanager
def held(folder: Path, *, wait: bool = False) -> Iterator[SoftFileLease]:
    """Holds the lock of a run, on network file systems too; it is let go of by a process that ends, however it ends.

    It is a file that its owner touches again and again. One on this machine is known to be gone at once, one elsewhere
    after half a minute without a sign of life.

    Raises:
        OSError: another process holds it; with ``wait`` it is waited for.
        Stopped: while waiting.
    """
    lease = SoftFileLease(folder / LOCK)
    while True:
        try:
            lease.acquire(timeout=1 if wait else 0, poll_interval=0.2)
            break
        except Timeout:
            if not wait:
                raise OSError(errno.EAGAIN, "in use: another process makes this run", os.fspath(folder)) from None
            check_stop(folder)
    try:
        yield lease
    finally:
        lease.release()


def is_held(folder: Path) -> bool:
    """Whether some process makes a run, as far as its lock tells."""
    return (folder / LOCK).exists()


def check_stop(folder: Path) -> None:
    """
    Raises:
        Stopped: the run in a folder is to end.
    """
    if (folder.parent / STOP).exists() or (folder / STOP).exists():
        raise Stopped(f"{folder} was asked to stop")
    if (parent := multiprocessing.parent_process()) and not parent.is_alive():
        raise Stopped("the process that started this one is gone")


@dataclass(frozen=True)
class Keeper:
    """A run's last callback: writes the metrics of an epoch, and ends the run where it is asked to."""

    folder: Path
    lease: SoftFileLease

    def __call__(self, report: Progress) -> None:
        if report.finished:
            note(self.folder, report.finished)
        if self.lease.compromise:
            raise Stopped(f"another process has taken over {self.folder}: no sign of life came from here for too long")
        check_stop(self.folder)


def perform(task: Task, engine: Engine, command: str | None = None) -> Run:
    """Makes a run, or goes on with it; gives the one that its folder has where that is complete.

    Raises:
        KeyboardInterrupt: it was interrupted, or asked to stop; what its folder has goes on another time.
        ValueError: its folder has a complete run with other options or data.
        OSError: its folder has foreign files of the same names, or cannot be written.
    """
    began, run = time.monotonic(), _about(task, engine, command)
    if task.folder is None:
        run = _made(task, engine, run)
        return replace(run, seconds=time.monotonic() - began)
    task.folder.mkdir(exist_ok=True)
    with held(task.folder, wait=True) as lease:
        check_stop(task.folder)
        file, seconds = task.folder / RUN_FILE, 0.0
        description = to_plain(task)
        if file.exists():
            if done := _continued(task, description, file):
                return done
            before = read_run_data(file).get("run", {})
            seconds = before.get("seconds", 0.0)
            run = replace(run, started=before.get("started", run.started))
        else:
            for name in (METRICS, CHECKPOINT, BEST, LAST):
                if (task.folder / name).exists():
                    raise FileExistsError(
                        errno.EEXIST, "not a run of plp's, which has a run.json beside it", f"{task.folder / name}"
                    )

        def write(run: Run, complete: bool) -> Run:
            run = replace(run, seconds=round(seconds + time.monotonic() - began, 3))
            data = {"version": VERSION, "complete": complete, "task": description, "run": to_plain(run)}
            write_whole(file, json.dumps(data, indent=1).encode())
            return run

        write(run, False)
        try:
            keeper = Keeper(task.folder, lease)
            run = _made(replace(task, callbacks=(*task.callbacks, keeper)), engine, run)
        except KeyboardInterrupt:
            write(run, False)
            raise
        run = write(run, True)
        (task.folder / CHECKPOINT).unlink(missing_ok=True)
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
    try:
        history = engine(task)
    except _plp.Error as error:
        return replace(run, history=getattr(error, "history", History()), failure=str(error))
    if not isinstance(history, History):
        raise ValueError(f"the engine returned {history!r:.60}, expected a plp.History")
    return replace(run, history=history)


def _continued(task: Task, description: dict[str, Any], file: Path) -> Run | None:
    """The complete run in a folder; None where it is to be made, its checkpoint then being of this very run."""
    found = read_run_data(file).get("task")
    done = read_run(file)
    for difference in differences("", _essence(found), _essence(description)):
        if done:
            raise ValueError(f"{file.parent} holds a run whose {difference}: choose another folder, or start fresh")
        if (file.parent / CHECKPOINT).exists():
            set_aside(file.parent / CHECKPOINT, f"it is of a run whose {difference}")
        (file.parent / METRICS).unlink(missing_ok=True)
        break
    return done


def _essence(description: Any) -> Any:
    """What decides a run's result: neither threads, nor where its data lie."""
    if not isinstance(description, dict):
        return description
    kept = {name: value for name, value in description.items() if name != "threads"}
    for name in ("train", "test"):
        if isinstance(data := kept.get(name), dict):
            kept[name] = {part: data.get(part) for part in ("name", "images", "checksum")}
    return kept


# ---- Metrics ---------------------------------------------------------------------------------------------------------


def note(folder: Path, epoch: Epoch) -> None:
    """Adds an epoch to a run's metrics, in place of those that an earlier try had from there on."""
    file = folder / METRICS
    names, *lines = file.read_text().splitlines() if file.exists() else [""]
    values = epoch.to_row() | {"time": datetime.now().astimezone().isoformat(timespec="milliseconds")}
    text = io.StringIO()
    writer = csv.DictWriter(text, values, lineterminator="\n")
    writer.writerow(values)
    earlier = [line for line in lines if _epoch_of(line) < epoch.epoch]
    if names and len(earlier) == len(lines):
        with open(file, "a") as stream:
            stream.write(text.getvalue())
    else:
        head = "\n".join([",".join(values), *earlier, ""])
        write_whole(file, (head + text.getvalue()).encode())


def _epoch_of(line: str) -> float:
    number = line.partition(",")[0]
    return int(number) if number.isdigit() else float("inf")  # a line that was cut off


def metrics(folder: Path) -> list[dict[str, str]]:
    """The lines of a run's metrics so far."""
    try:
        return list(csv.DictReader(io.StringIO((folder / METRICS).read_text())))
    except FileNotFoundError:
        return []
