"""Runs in other processes, here or on any machine: what is sent there, what comes back, what is shown meanwhile.

An executor is anything whose ``submit`` returns a :class:`concurrent.futures.Future`. What is relied on is little: that
a function of a module is called with one positional argument, perhaps more than once. All else is in the runs' folders:
see :mod:`plp.studies.runs`.
"""

from __future__ import annotations

import os
import pickle
import re
import secrets
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field, replace
from statistics import fmean
from time import sleep
from typing import Any

from .. import _plp
from .._progress import Board, Display, duration
from .._signals import held_back
from .executors import workers_of_a_machine
from .leases import Stopped, go_on, is_held, let_end, stop
from .metrics import standing
from .records import Run, Study
from .runs import Engine, made_run, perform
from .tasks import Task

# ---- What is sent ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assignment:
    """A task on its way to a worker, which may have another version of plp, and not the data.

    ``share`` is how many workers divide a machine, ``number`` sets it apart from an equal one: Dask gives all equal
    submissions the result of one.
    """

    task: bytes
    engine: Engine
    callbacks: tuple[Any, ...]
    share: int
    version: str = _plp.version
    command: str = field(default_factory=lambda: shlex.join(sys.orig_argv))
    number: str = field(default_factory=lambda: secrets.token_hex(8))


def assigned(task: Task, engine: Engine, share: int) -> Assignment:
    return Assignment(pickle.dumps(replace(task, callbacks=())), engine, task.callbacks, share)


def carry_out(assignment: Assignment) -> Run | None:
    """Makes the run of an assignment, in whatever process this is called; None where it was stopped."""
    if assignment.version != _plp.version:
        raise _plp.Error(
            f"{os.uname().nodename} has plp {_plp.version}, the study is made by plp {assignment.version}: "
            "all workers need the same"
        )
    task: Task = pickle.loads(assignment.task)
    task = replace(task, callbacks=assignment.callbacks)
    if task.threads == 0 and assignment.share and "PLP_NUM_THREADS" not in os.environ:
        task = replace(task, threads=max(1, _threads_of_this_machine() // assignment.share))
    try:
        return perform(task, assignment.engine, assignment.command)
    except KeyboardInterrupt:  # of a terminal's Ctrl-C too, which all of its processes hear
        return None


def _threads_of_this_machine() -> int:
    """What a single run would have. Workers of Dask and loky say OMP_NUM_THREADS=1, of a task and not of a machine."""
    said = re.search(r"^threads: (\d+)", _plp.build_info(), re.MULTILINE)
    if said is None or os.environ.get("OMP_NUM_THREADS") == "1":
        return len(os.sched_getaffinity(0))
    return int(said[1])


# ---- What comes back -------------------------------------------------------------------------------------------------


Futures = dict[Future[Run | None], Task]
"""The tasks that are on their way."""


def submit(executor: Any, tasks: Sequence[Task], engine: Engine, futures: Futures) -> None:
    """Sends tasks out, and adds each to ``futures`` at once, so that an interruption finds all that were sent."""
    share = workers_of_a_machine(executor)
    for task in tasks:
        assignment = assigned(task, engine, share)
        with held_back():
            future = executor.submit(carry_out, assignment)
            if not isinstance(future, Future):
                raise ValueError(
                    f"executor's submit returned {type(future).__name__} of {type(future).__module__}, "
                    "expected a concurrent.futures.Future"
                )
            futures[future] = task


@dataclass(frozen=True)
class Lost:
    """A task without a run: stopped, or its worker died, or something else went wrong there."""

    task: Task
    reason: BaseException | None


def results(futures: Futures, watch: Callable[[], None]) -> Iterator[Run | Lost]:
    """What becomes of the tasks, one after the other; ``watch`` is called now and then."""
    ahead = set(futures)
    while ahead:
        done, ahead = wait(ahead, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in done:
            try:
                yield future.result() or Lost(futures[future], None)
            except (CancelledError, Stopped):
                yield Lost(futures[future], None)
            except Exception as error:
                yield Lost(futures[future], error)
        watch()


def wind_up(futures: Futures, watch: Callable[[], None]) -> None:
    """Waits until no task is at work any more that was asked to stop.

    A future that says that it is cancelled may be at work all the same (Dask's): the run's lock tells.
    """
    for future in futures:
        future.cancel()
    for future, task in futures.items():
        while not future.done():
            watch()
            sleep(0.1)
        if task.folder:
            let_end(task.folder, watch)


# ---- A study's -------------------------------------------------------------------------------------------------------


class _Gathering:
    """What came back of a study's tasks so far, and what is shown of them."""

    def __init__(self, study: Study, tasks: Sequence[Task], total: int, display: Display) -> None:
        self._study, self._tasks, self._display = study, tasks, display
        self._total = total  # runs, those included that were made before
        self._made: list[Run] = []
        self._lost: list[Lost] = []

    def take(self, result: Run | Lost) -> None:
        if isinstance(result, Lost):
            self._lost.append(result)
            if result.reason:
                self._display.line(f"{result.task.name}: {result.reason}")
            return
        self._made.append(result)
        self._study.runs.append(result)
        said = result.failure or (f"accuracy {result.outcome.accuracy:.2%}" if result.outcome else "")
        self._display.line(f"run {self._done} of {self._total}: {result.name}  {said}  {duration(result.seconds)}")

    @property
    def _done(self) -> int:
        return self._total - len(self._tasks) + len(self._made)

    def watch(self) -> None:
        """Shows how far the runs are, by what is in their folders."""
        self._display.bar(self._board)

    def _board(self) -> Board:
        made = {run.name for run in self._made}
        running = [
            standing(task.name, task.folder, task.epochs)
            for task in self._tasks
            if task.folder and task.name not in made and is_held(task.folder)
        ]
        left = None
        if self._made and running:
            waiting = len(self._tasks) - len(self._made) - len(running)
            left = fmean(run.seconds for run in self._made) * waiting / len(running)
            left += max(each.left or 0 for each in running)
        return Board(self._done, self._total, running, left)

    def end(self, futures: Futures) -> None:
        """Has all runs end after the running iteration, and takes those that are complete by then."""
        folder = next((task.folder.parent for task in self._tasks if task.folder), None)
        if folder is None:
            return
        self._display.line("ends after the running iterations; Ctrl-C again does not wait for that")
        stop(folder)
        wind_up(futures, self.watch)
        go_on(folder)
        known = {run.name for run in self._study.runs}
        for task in self._tasks:
            if task.name not in known and task.folder and (run := made_run(task.folder)):
                self.take(run)

    def tell_of_lost(self) -> None:
        """Warns of what went wrong with tasks, whose runs the study lacks; raises it where no other run was made."""
        failed = [(lost.task, lost.reason) for lost in self._lost if lost.reason]
        self._study.interrupted |= bool(failed)
        for task, reason in failed:
            told = f"{type(reason).__name__}: {reason}".removesuffix(": ")
            warnings.warn(f"{task.name}: {told}", RuntimeWarning, stacklevel=5)
        if failed and not self._made:
            raise failed[0][1]
        if len(self._lost) > len(failed):
            raise Stopped("asked to stop")


def spread(executor: Any, study: Study, tasks: Sequence[Task], total: int, engine: Engine, progress: bool) -> None:
    """Has an executor make the runs, which the study gets, and shows how far they are."""
    with Display(progress) as display:
        gathering = _Gathering(study, tasks, total, display)
        futures: Futures = {}
        try:
            submit(executor, tasks, engine, futures)
            for result in results(futures, gathering.watch):
                gathering.take(result)
        except KeyboardInterrupt:
            gathering.end(futures)
            raise
    gathering.tell_of_lost()
