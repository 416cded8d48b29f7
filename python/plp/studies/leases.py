"""Who makes a run, and until when: the lock in its folder, and the file that asks it to end."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import SoftFileLease, Timeout

from .._files import Place, write_whole
from .records import RUN_FILE, STUDY_FILE

LOCK, STOP = "lock", "stop"

LEASE = 30.0
"""Seconds without a sign of life after which a lock is free that a process of another machine held."""


class Stopped(KeyboardInterrupt):
    """A run was asked to end, by :func:`stop` or since the process that wants its results is gone."""


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
    study = folder.parent
    if (folder / STOP).exists() or (study / STOP).exists() and (study / STUDY_FILE).exists():
        raise Stopped(f"{folder} was asked to stop")
    if (parent := multiprocessing.parent_process()) and not _is_alive(parent):
        raise Stopped("the process that started this one is gone")


def _is_alive(parent: Any) -> bool:
    try:
        return parent.is_alive()
    except (TypeError, ValueError):  # in loky's workers, which have nothing to look at
        return os.getppid() == parent.pid
