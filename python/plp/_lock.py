"""Which process may write what."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def sole_writer(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Holds a lock for a file or folder at ``path``, which a process that ends lets go of; None needs none.

    The lock is a hidden file beside it, which stays: were it removed, another process might have opened it already.

    Raises:
        FileNotFoundError, OSError: the folder is not there or not writable, or another process holds the lock.
    """
    if path is None:
        yield
        return
    path = Path(path).absolute()
    with path.with_name(f".{path.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"{path} is in use: another process writes it") from None
        yield
