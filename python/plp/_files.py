"""Files that are written whole or not at all, and which process may write them."""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Place = str | os.PathLike[str]


def write_whole(path: Place, content: bytes) -> None:
    """Writes a file; an older one is replaced only when the new one is complete on disk."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


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
    path = Path(path).absolute()
    try:
        lock = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"{path} is in use: another process writes it") from None
        except OSError as error:  # such as file systems without locks, which are no reason not to write
            warnings.warn(f"{path}: {error.strerror}; no two processes must write it", RuntimeWarning, stacklevel=3)
        yield
