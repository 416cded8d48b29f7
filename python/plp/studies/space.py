"""Whether a disk has room for what runs will keep, asked before hours are spent on them.

What a file system says is free is taken on trust: quotas, and what others write in the meantime, cannot be known.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..options import SGD, Recipe
from .runs import KEPT
from .tasks import Task


def check_space(place: Path, tasks: Sequence[Task], parameters: Mapping[str, int], at_once: int = 1) -> None:
    """
    Args:
        place: a folder that is there, on the file system that the tasks' folders are on.
        tasks: whose runs are to be made, or gone on with; what their folders hold already counts.
        parameters: of each of their networks, how many it has.
        at_once: so many are made at a time.

    Raises:
        OSError: it has too little room.
    """
    more, peaks = 0, []
    for task in tasks:
        size = 4 * parameters[task.network]
        held = sum(_size(task.folder / name) for name in KEPT) if task.folder else 0
        rest = max(held, 2 * size if task.weights else 0)  # when it is complete: the best weights and the last
        more += rest - held
        # A checkpoint is replaced by one that is whole. Nothing is larger: weights are written beside a single one.
        peaks.append(max(0, 2 * size * _tensors(task.recipe) - rest))
    more += sum(sorted(peaks)[-at_once:])
    free = shutil.disk_usage(place).free
    if more > free:
        raise OSError(
            errno.ENOSPC,
            f"too little room: about {_told(more)} are needed for the weights and checkpoints of its runs, "
            f"{_told(free)} are free",
            os.fspath(place),
        )


def _tensors(recipe: Recipe) -> int:
    """How many times a checkpoint has as much as the parameters: the model, the best one, and what moves them."""
    optimizer = recipe.optimizer
    moments = int(optimizer.momentum > 0) if isinstance(optimizer, SGD) else 2
    return 2 + moments + (recipe.predictor is not None) + 2 * (recipe.watch is not None)


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


def _told(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
