"""Runs in other processes, here or on any machine: what is sent there, and who sends it.

An executor is anything whose ``submit`` returns a :class:`concurrent.futures.Future`. What is relied on is little: that
a function of a module is called with one positional argument, perhaps more than once. All else is in the runs' folders:
see :mod:`plp.studies.runs`.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import secrets
import shlex
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from time import sleep
from typing import Any

from .. import _plp
from .records import Run
from .runs import Engine, Stopped, let_end, perform
from .tasks import Task


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
        raise RuntimeError(
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


# ---- Processes of this machine ---------------------------------------------------------------------------------------


class Processes(Executor):
    """So many processes on this machine. One that dies ends the task that it had, and no other's.

    Each is a pool of its own: a pool of several is broken as a whole where one of them dies.
    """

    def __init__(self, count: int) -> None:
        self._max_workers = count
        self._threads = ThreadPoolExecutor(count, "plp")
        self._idle: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        for _ in range(count):
            self._idle.put(_one_process())

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        return self._threads.submit(self._call, function, *arguments, **named)

    def _call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        pool = self._idle.get()
        try:
            return pool.submit(function, *arguments, **named).result()
        except BrokenProcessPool:
            pool.shutdown(wait=False)
            pool = _one_process()
            raise RuntimeError(
                "its process died: killed, perhaps for want of memory, or of a script that has no "
                "`if __name__ == '__main__':` before what it does"
            ) from None
        finally:
            self._idle.put(pool)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        while not self._idle.empty():
            self._idle.get().shutdown(wait)


def _one_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin_process)


def _begin_process() -> None:
    """Ctrl-C and the like are heard by the process that has the study, which then asks for an end by a file."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's process would wait for ever for a killed one's next task. A run ends by itself: see check_stop."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    sleep(60)
    os._exit(1)


# ---- Executors of others ---------------------------------------------------------------------------------------------


def checked_executor(executor: Any) -> None:
    """
    Raises:
        ValueError: it is none; the message says what to pass in its place.
    """
    module = type(executor).__module__.partition(".")[0] if not hasattr(executor, "__path__") else executor.__name__
    kind = f"executor is {type(executor).__name__} of {module}"
    if hasattr(executor, "get_executor"):  # a client of Dask's
        raise ValueError(f"{kind}: pass client.get_executor()")
    if hasattr(executor, "get_client"):  # a cluster of Dask's
        raise ValueError(f"{kind}: pass distributed.Client(cluster).get_executor()")
    if module == "ray":
        raise ValueError(
            f"{kind}, whose tasks are no concurrent.futures: use Dask's workers, or an array job (plp.merge)"
        )
    if module == "submitit":
        raise ValueError(
            f"{kind}, whose jobs are no concurrent.futures.Future: pass "
            "distributed.Client(dask_jobqueue.SLURMCluster(…)).get_executor(), or submit an array job (plp.merge)"
        )
    if not callable(getattr(executor, "submit", None)):
        raise ValueError(
            f"{kind}, expected something whose submit returns a concurrent.futures.Future, "
            "such as a ProcessPoolExecutor or Dask's client.get_executor()"
        )


def workers_of_a_machine(executor: Any) -> int:
    """How many of an executor's workers share a machine; 0 where that is not known."""
    if (client := getattr(executor, "_client", None)) is not None:  # Dask's
        with suppress(Exception):  # of a scheduler that does not answer: submitting will tell
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            threads: Counter[str] = Counter()
            for worker in workers:
                threads[worker["host"]] += worker["nthreads"]
            return max(threads.values(), default=0)
    if isinstance(executor, Executor) and not type(executor).__module__.startswith("mpi4py"):
        count = getattr(executor, "_max_workers", 0)
        return count if isinstance(count, int) else 0
    return 0


Futures = dict[Future[Run | None], Task]
"""The tasks that are on their way."""


def submit(executor: Any, tasks: Sequence[Task], engine: Engine, futures: Futures) -> None:
    """Sends tasks out, and adds each to ``futures`` at once, so that an interruption finds all that were sent."""
    share = workers_of_a_machine(executor)
    for task in tasks:
        future = executor.submit(carry_out, assigned(task, engine, share))
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
