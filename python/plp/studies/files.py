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
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import SoftFileLease, Timeout

from .. import _plp
from .._files import Place, remove_abandoned, sole_writer, write_whole
from .._plain import to_plain
from .._progress import Standing
from ..options import Recipe
from ..records import Epoch, History, Progress
from .records import (
    RUN_FILE,
    STUDY_FILE,
    VERSION,
    Run,
    Settings,
    Study,
    begun_run,
    folder_name,
    read_run,
    read_run_data,
)
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
        _forget(folder, planned)
    elif (folder / STUDY_FILE).exists():
        found = Study.load(folder)
        if found.runs or any((folder / folder_name(name) / CHECKPOINT).exists() for name in found.planned):
            _check_same(found, settings, methods, folder, "choose another folder, or start fresh")
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


def merge(paths: Sequence[Place], path: Place | None = None) -> Study:
    """One study of several that were made in pieces, on several machines perhaps: all their complete runs.

    Args:
        paths: folders of studies with the same settings, and files of :meth:`Study.save`.
        path: a folder for it, to which their runs are copied; with it a study that lies there already goes on. None for
            none.

    Raises:
        ValueError: they differ in more than their runs, or have one and the same run with another outcome.
        FileNotFoundError, OSError, plp.Error: see :meth:`Study.load`.
    """
    folder = None if path is None else folder_of(path)
    with sole_writer(folder and folder / STUDY_FILE):
        places = [Path(place) for place in paths]
        if folder and (folder / STUDY_FILE).exists():
            places.insert(0, folder)
        if not places:
            raise ValueError("paths is empty, expected folders of studies")
        studies = [Study.load(place) for place in places]
        merged = studies[0]
        origins = {run.name: places[0] for run in merged.runs}
        for study, place in zip(studies[1:], places[1:]):
            _check_same(study, merged.settings, merged.methods, place, f"it cannot be merged with {places[0]}")
            merged.methods |= study.methods
            merged.planned = list(dict.fromkeys(merged.planned + study.planned))
            known = {run.name: run for run in merged.runs}
            for run in study.runs:
                if run.name not in known:
                    merged.runs.append(run)
                    origins[run.name] = place
                elif not _same_outcome(known[run.name], run):
                    raise ValueError(f"{run.name} has another outcome in {place} than in {origins[run.name]}")
        merged.sort()
        if folder:
            merged_runs = {run.name: origins[run.name] / folder_name(run.name) for run in merged.runs}
            older = [run for run in merged.runs if not (merged_runs[run.name] / RUN_FILE).exists()]
            replace(merged, runs=older).save(folder / STUDY_FILE)
            for source in merged_runs.values():
                if (source / RUN_FILE).exists() and not (folder / source.name / RUN_FILE).exists():
                    partial = folder / f".{source.name}.{secrets.token_hex(4)}.partial"
                    shutil.copytree(source, partial, ignore=shutil.ignore_patterns(LOCK, STOP))
                    partial.rename(folder / source.name)
    return merged


def _same_outcome(run: Run, other: Run) -> bool:
    """Whether two tries at a run measured the same, whatever time they took."""
    measured = [
        ([(epoch.train, epoch.validation) for epoch in each.history], each.history.test, each.failure)
        for each in (run, other)
    ]
    return measured[0] == measured[1]


def _check_same(study: Study, settings: Settings, methods: dict[str, Recipe], path: Place, advice: str) -> None:
    """Runs are only comparable where all but the machine is the same."""
    for difference in differences("", study.settings, settings):
        raise ValueError(f"{os.fspath(path)} holds a study whose {difference}: {advice}")
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


def _forget(folder: Path, planned: list[str]) -> None:
    """Removes the runs of a study that is to start anew: the files that plp wrote, and folders that are then empty."""
    with suppress(FileNotFoundError, _plp.Error):  # of a study that nobody can read any more
        planned = [*planned, *Study.load(folder).planned]
    for place in {folder / folder_name(name) for name in planned}:
        if not (place / RUN_FILE).exists():
            continue
        read_run_data(place / RUN_FILE)  # which raises where it is none of plp's
        with held(place):
            for name in (METRICS, CHECKPOINT, BEST, LAST, RUN_FILE):
                (place / name).unlink(missing_ok=True)
                remove_abandoned(place / name)
            for events in place.glob("events.out.tfevents.*"):  # plp.TensorBoard's
                events.unlink()
        with suppress(OSError):
            place.rmdir()


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
    """Whether some process makes a run, as far as the file of its lock tells."""
    return (folder / LOCK).exists()


def let_end(folder: Path, watch: Callable[[], None]) -> None:
    """Waits until no process makes a run; ``watch`` is called now and then."""
    lease = SoftFileLease(folder / LOCK)  # one, which remembers since when it has seen no sign of life
    while is_held(folder):
        with suppress(Timeout), lease.acquire(timeout=0.2):
            return
        watch()


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


@dataclass(frozen=True)
class Keeper:
    """A run's last callback: writes the metrics of an epoch, and ends the run where it is asked to."""

    folder: Path
    lease: SoftFileLease

    def begin(self, history: History) -> None:
        note_again(self.folder, history)

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
            before = begun_run(file)
            run, seconds = replace(run, started=before.started), before.seconds
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


def made_run(folder: Path) -> Run | None:
    """The complete run in a folder, if there is one."""
    return read_run(folder / RUN_FILE) if (folder / RUN_FILE).exists() else None


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


def standing(name: str, folder: Path, epochs: int) -> Standing:
    """How far a run has come that some other process makes: as its metrics tell."""
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
