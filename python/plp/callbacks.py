"""Callbacks for :meth:`plp.Trainer.fit` and :func:`plp.compare`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ._checks import checked_integer
from ._extras import require
from ._files import Place
from .records import Epoch, History, Progress

if TYPE_CHECKING:
    from .studies.tasks import Task


class EarlyStopping:
    """Ends a run whose validation error (without a validation split: training error) has not fallen for some epochs.

    The best model is measured on the test set all the same. Schedules keep to the length that the run was to have.

    Args:
        patience: so many epochs, 1 or more.
        least: by how much it has to fall to count, as a fraction of all images.
    """

    def __init__(self, patience: int = 10, *, least: float = 0.0) -> None:
        self.patience = checked_integer("patience", patience, least=1)
        self.least = least
        self.begin(History())

    def begin(self, history: History) -> None:
        self._best, self._waited = float("inf"), 0
        for epoch in history:
            self._hear(epoch)

    def __call__(self, progress: Progress) -> bool:
        return progress.finished is not None and self._hear(progress.finished)

    def _hear(self, epoch: Epoch) -> bool:
        """Whether that was enough."""
        error = (epoch.validation or epoch.train).top1_error
        if error < self._best - self.least:
            self._best, self._waited = error, 0
        else:
            self._waited += 1
        return self._waited >= self.patience


class TensorBoard:
    """Writes the metrics of each epoch as event files, by tensorboardX.

    Args:
        folder: where to. In a study each run's own folder, where it has one, so that ``tensorboard --logdir FOLDER``
            shows all of them under their names.
    """

    def __init__(self, folder: Place = "tensorboard") -> None:
        require("tensorboardX", "logs")
        self.folder = os.fspath(folder)

    def of(self, task: Task) -> TensorBoard:
        return TensorBoard(task.folder or os.path.join(self.folder, task.name))

    def __call__(self, progress: Progress) -> None:
        if progress.finished is None:
            return
        from tensorboardX import SummaryWriter  # loaded here, since it takes its time

        row = progress.finished.to_row()
        # A file for each epoch, since nothing but closing it is sure to write all.
        with SummaryWriter(self.folder, filename_suffix=f".{progress.epoch:05d}") as writer:
            for name in ("learning_rate", "images_per_second"):
                writer.add_scalar(name, row[name], progress.epoch)
            for name, value in row.items():
                split, _, what = name.partition("_")
                if split in ("train", "validation") and value is not None:
                    writer.add_scalar(f"{split}/{what}", value, progress.epoch)
