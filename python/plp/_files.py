"""Files that are written whole or not at all, and which process may write them."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from ._plp import Error

Place = str | os.PathLike[str]


@contextmanager
def arrays_in(path: Place, what: str) -> Iterator[dict[str, Any]]:
    """The arrays in a file of NumPy's, ``.npz``, for a block that takes them for ``what``.

    Raises:
        FileNotFoundError, OSError: the file is not there, or cannot be read.
        plp.Error: it is damaged or of another kind, or the block says so of what is in it by any exception.
    """
    with open(path, "rb") as file:
        try:
            if damaged := zipfile.ZipFile(file).testzip():  # before NumPy makes an array of whatever size
                raise ValueError(f"{damaged} is damaged")
            file.seek(0)
            with np.load(file) as arrays:
                yield dict(arrays)
        except MemoryError:
            raise
        except Exception as error:  # zipfile and NumPy have many for what is damaged
            # One of them is a seek to before the file's start, which is no failure to read it.
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            raise Error(f"{os.fspath(path)} is not {what}: {error}") from None


def make_folder(path: Path, *, parents: bool = False) -> None:
    """Makes a folder where there is none.

    Raises:
        FileNotFoundError, OSError: it cannot be made; a file is in its place.
        ValueError: its name is not UTF-8, which the library reads and writes files by.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"the folder {os.fspath(path)!r} has a name that is not UTF-8, expected UTF-8") from None
    try:
        path.mkdir(parents=parents, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "found a file, expected a folder", error.filename) from None


def write_whole(path: Place, content: bytes) -> None:
    """Writes a file as the library writes models: beside its place, flushed to the disk, then renamed into it.

    Links are followed. A file that is replaced keeps its mode, and its owner as far as the caller may give it.

    Raises:
        FileNotFoundError, OSError: the folder is not there; the file cannot be written, or is none but a folder or a
            device. What is at ``path`` is then as it was.
    """
    target = Path(os.path.realpath(path))
    try:
        old = _regular(target)
        if old and not os.access(target, os.W_OK, effective_ids=True):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        remove_abandoned(target)
        file, partial = _partial(target, mode=0o600 if old else 0o666)
        try:
            with file:
                if old:
                    _give(partial, old)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _flush_folder(target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def _regular(path: Path) -> os.stat_result | None:
    """What is at a path; None for nothing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return status


def _give(path: Path, to: os.stat_result) -> None:
    """Owner, group and mode of another file; whoever may not give files away may still choose the group."""
    for owner in (to.st_uid, -1):
        with suppress(PermissionError):
            os.chown(path, owner, to.st_gid)
            break
    os.chmod(path, to.st_mode & 0o777)


def _partial(target: Path, mode: int) -> tuple[IO[bytes], Path]:
    """A new file beside ``target``, locked as long as it is open, so that none takes it for abandoned."""
    while True:
        path = target.with_name(f"{target.name}.{secrets.token_hex(8)}.partial")
        file = open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))
        with suppress(OSError):  # of a file system without locks, where none is ever taken for abandoned
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists():  # which before it was locked it may have been taken for
            return file, path
        file.close()


def remove_abandoned(path: Path) -> None:
    """Removes partial files of ``path`` that nobody writes: killed processes left them."""
    name = re.compile(rf"{re.escape(path.name)}\.[0-9a-f]{{16}}\.partial")
    with suppress(OSError):  # what cannot be removed stays
        for partial in [file for file in path.parent.iterdir() if name.fullmatch(file.name)]:
            with suppress(OSError), _opened(partial) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                partial.unlink()


def _flush_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # as file systems say that cannot
            raise
    finally:
        os.close(folder)


def _opened(path: Path, flags: int = 0) -> IO[bytes]:
    """A file as it is: no link is followed, no pipe waited for, nothing cut off."""
    flags |= os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = open(os.open(path, flags, 0o666), "rb+", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file")
    return file


_held: set[IO[bytes]] = set()


def _let_go() -> None:
    """In a process forked from one that holds locks, which stay that one's alone: they end with it."""
    for lock in _held:
        lock.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def sole_writer(path: Place | None) -> Iterator[None]:
    """Holds a lock for a file or folder at ``path``, which a process that ends lets go of; None needs none.

    The lock is a hidden file beside it, which stays: were it removed, another process might have opened it already.

    Raises:
        FileNotFoundError, OSError: the folder is not there or not writable, or another process holds the lock.
    """
    if path is None:
        yield
        return
    path = Path(os.path.realpath(path))
    hidden = path.with_name(f".{path.name}.lock")
    try:
        lock = _opened(hidden, os.O_CREAT)
    except OSError as error:
        named = path if isinstance(error, FileNotFoundError) else hidden
        reason = "a link, expected a lock of plp's" if error.errno == errno.ELOOP else error.strerror
        raise OSError(error.errno, reason, os.fspath(named)) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EAGAIN, "in use: another process writes it", os.fspath(path)) from None
        except OSError as error:  # such as file systems without locks, which are no reason not to write
            warnings.warn(f"{path}: {error.strerror}; no two processes must write it", RuntimeWarning, stacklevel=3)
        _held.add(lock)
        try:
            yield
        finally:
            _held.discard(lock)
            if not lock.closed:  # as it is in a forked process; processes made otherwise may have it open
                with suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_UN)
