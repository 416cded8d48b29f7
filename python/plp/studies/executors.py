"""What makes runs in other processes: our own on this machine, and what is asked of others'."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from queue import SimpleQueue
from time import sleep
from typing import Any

from .._signals import ENDING


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
            with _deaf():
                future = pool.submit(function, *arguments, **named)
            return future.result()
        except BrokenProcessPool:
            pool.shutdown(wait=False)
            pool = _one_process()
            raise ChildProcessError(
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


@contextmanager
def _deaf() -> Iterator[None]:
    """Within, processes begin with a mask that holds back what asks them to end, until they ignore it."""
    resource_tracker.ensure_running()  # which takes the mask away where it begins itself
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_process() -> None:
    """Ctrl-C and the like are heard by the process that has the study, which then asks for an end by a file."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's process would wait for ever for a killed one's next task. A run ends by itself: see check_stop."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    sleep(60)
    os._exit(1)


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
    if isinstance(executor, type):
        raise ValueError(
            f"executor is the class {executor.__name__}, expected one that was made: {executor.__name__}(…)"
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
