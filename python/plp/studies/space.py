"""Whether there is room for runs, in memory and on the disk that keeps them, asked before hours are spent on them.

What a file system says is free is taken on trust: quotas, and what others write in the meantime, cannot be known.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ..options import SGD, Recipe
from ..training import Trainer
from .runs import KEPT
from .tasks import Task, new_model, new_trainer


class Size(NamedTuple):
    """Of a network: how many parameters it has, in how many arrays."""

    parameters: int
    layers: int


def sizes_of(tasks: Sequence[Task]) -> dict[str, Size]:
    """Of the tasks' networks; a mistake in any task, or a lack of memory, is reported now, before there is a folder or
    a run.
    """
    return {network: _tried(list(alike)) for network, alike in groupby(tasks, key=lambda task: task.network)}


def _tried(tasks: Sequence[Task]) -> Size:
    model = new_model(tasks[0])
    for task in tasks:
        _take_memory(new_trainer(task, model), task)
    return Size(model.parameter_count, len(model.parameter_names))


def _take_memory(trainer: Trainer, task: Task) -> None:
    """As much as a run takes at most, which is at its end, where the last model is measured beside the best one."""
    best = trainer.best_model
    trainer.evaluate(task.train[:1])
    del best


def check_space(place: Path, tasks: Sequence[Task], sizes: Mapping[str, Size], at_once: int = 1) -> None:
    """
    Args:
        place: a folder that is there, on the file system that the tasks' folders are on.
        tasks: whose runs are to be made, or gone on with; what their folders hold already counts.
        sizes: of their networks; what is not known counts nothing.
        at_once: so many are made at a time.

    Raises:
        OSError: it has too little room.
    """
    more, peaks = 0, []
    for task in tasks:
        if (size := sizes.get(task.network)) is None:
            continue
        lines, watched = _lines(task), _watched(task, size.layers)
        weights = 2 * 4 * size.parameters if task.weights else 0  # the best and the last
        held = sum(_size(task.folder / name) for name in KEPT) if task.folder else 0
        rest = max(held, lines + watched + weights)  # when it is complete
        more += rest - held
        # A checkpoint is replaced by one that is whole. Nothing is larger: weights are written beside a single one.
        checkpoint = 4 * size.parameters * _tensors(task.recipe) + watched
        peaks.append(max(0, lines + 2 * checkpoint - rest))
    more += sum(sorted(peaks)[-at_once:])
    free = shutil.disk_usage(place).free
    if more > free:
        raise OSError(
            errno.ENOSPC,
            f"too little room: about {_told(more)} are needed for what its runs keep, {_told(free)} are free",
            os.fspath(place),
        )


def _tensors(recipe: Recipe) -> int:
    """How many times a checkpoint has as much as the parameters: the model, the best one, and what moves them."""
    optimizer = recipe.optimizer
    moments = int(optimizer.momentum > 0) if isinstance(optimizer, SGD) else 2
    return 2 + moments + (recipe.predictor is not None) + 2 * (recipe.watch is not None)


def _lines(task: Task) -> int:
    """Of iterations.csv, at most."""
    if task.metrics != "iteration":
        return 0
    numbers = 2 * len(str(task.iterations)) + 1 + 5 * 24  # floats have 24 digits at most, with sign, point and exponent
    return task.iterations * (numbers + 8)


def _watched(task: Task, layers: int) -> int:
    """Of watched.npz, at most, and of the same in a checkpoint."""
    watch = task.recipe.watch
    if watch is None:
        return 0
    cycles = task.iterations // (watch.rule.period or 3) + 1  # of three iterates
    names = 4096 + layers * 4 * 64  # the file's own words, and the layers' names
    return names + 4 * layers * (3 * cycles + watch.samples * task.iterations) + 8 * cycles


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


def _told(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
