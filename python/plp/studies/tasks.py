"""A run that is to be made, and the engine that makes it unless another is given."""

from __future__ import annotations

import secrets
import warnings
from dataclasses import dataclass, field
from math import ceil, floor
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from .. import _plp
from .._checks import checked_integer, in_brief
from .._files import Place
from .._plain import APART, from_plain
from ..datasets import Dataset
from ..model import Model
from ..options import Recipe
from ..records import Epoch, History, Progress
from ..training import Callback, Trainer, begin, one_of
from .records import RUN_FILE, WATCHED, read_run_data, run_name

CHECKPOINT = "checkpoint.plp"
BEST, LAST = "best.safetensors", "last.safetensors"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A run that is to be made: all that an engine needs to know, on any machine. It can be pickled.

    An engine is any function ``engine(task) -> History``: it trains ``network`` with ``recipe`` on ``train``, tells
    :meth:`note` of each epoch, and measures the best and the last model on ``test``. :func:`plp.engine` is used where
    none is given. Where a loss is no longer finite it raises :class:`plp.Error`, which becomes the run's failure.

    Attributes:
        network: its name.
        method: its name, by which an engine may choose what it does.
        recipe: the method's, for a run of this length: where SWA starts is an iteration.
        width: factor on every hidden channel count.
        dropout, mean, std: as for :class:`plp.Model`.
        seed: of the network and its training.
        epochs: of the run.
        validation: the fraction of the training images to hold out, 0 for none.
        train, test: the images. When pickled they are the place of their files, or arrays as they are.
        threads: to compute with; 0 for what :func:`plp.build_info` says.
        weights: whether the best and the last weights are to be kept in ``folder``.
        metrics: whether ``"iteration"`` by iteration metrics are to be kept there, too, or ``"epoch"`` by epoch alone.
        folder: the run's own, for a checkpoint and whatever else the engine writes; None where nothing is kept.
        callbacks: to be called after each iteration, or at least each epoch; see :meth:`plp.Trainer.fit`.
    """

    network: str
    method: str
    recipe: Recipe
    width: float
    seed: int
    epochs: int
    validation: float
    train: Dataset
    test: Dataset | None = None
    threads: int = 0
    dropout: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    weights: bool = field(default=True, metadata=APART)
    metrics: Literal["epoch", "iteration"] = field(default="epoch", metadata=APART)
    folder: Path | None = field(default=None, metadata=APART)
    callbacks: tuple[Callback, ...] = field(default=(), metadata=APART)

    def __post_init__(self) -> None:
        checked_integer("epochs", self.epochs, least=1)
        if not (isinstance(self.validation, Real) and 0 <= self.validation < 1):
            raise ValueError(
                f"validation is {in_brief(self.validation)}, expected a fraction of at least 0 and below 1"
            )
        if self.validation and not 0 < self._held_out < len(self.train):
            part = "training" if self._held_out else "validation"
            raise ValueError(
                f"validation is {self.validation}: of {len(self.train)} images that leaves none for {part}"
            )
        object.__setattr__(self, "recipe", self.recipe.in_run(self.iterations))

    @property
    def _held_out(self) -> int:
        """Images for validation."""
        return floor(self.validation * len(self.train) + 0.5)

    @property
    def iterations(self) -> int:
        """Of training, in all epochs."""
        images = len(self.train) - self._held_out
        return self.epochs * ceil(images / checked_integer("batch_size", self.recipe.batch_size, least=1))

    @property
    def name(self) -> str:
        return run_name(self.network, self.method, self.seed)

    def begin(self, history: History) -> None:
        """Tells the callbacks where the run begins, or goes on."""
        begin(self.callbacks, history)

    def hear(self, report: Progress) -> bool:
        """Hands a report on to the callbacks; an engine that has them calls it after each iteration.

        Returns:
            Whether the training is to end early, and well.

        Raises:
            KeyboardInterrupt: the run is to be stopped. An engine that can go on later saves what it needs, and raises
                the same.
        """
        return one_of(self.callbacks)(report)

    def note(self, epoch: Epoch) -> bool:
        """As :meth:`hear`, for an engine that has nothing to report but its epochs."""
        report = Progress(
            phase="epoch end",
            epoch=epoch.epoch,
            epochs=self.epochs,
            iteration=epoch.iterations,
            iterations=epoch.iterations,
            learning_rate=epoch.learning_rate,
            predicted=False,
            batch=None,
            running=epoch.train,
            seconds=epoch.seconds,
            images_per_second=epoch.images_per_second,
            finished=epoch,
        )
        return self.hear(report)

    @classmethod
    def load(cls, folder: Place) -> Task:
        """The task of a run that was made, from its folder: to be made again, its data read from their place.

        Raises:
            FileNotFoundError, OSError: there is no run, or it cannot be read.
            plp.Error: it is damaged, or of another version of plp.
            ValueError: its data are not there, are others now, or were arrays.
        """
        return task_of(read_run_data(Path(folder, RUN_FILE)))


def task_of(data: dict[str, Any]) -> Task:
    """The task that a run's file tells of; see :meth:`Task.load`."""
    return from_plain(Task, data.get("task"))


def new_model(task: Task) -> Model:
    """As it is before the first iteration: the same for all methods."""
    classes, size = task.train.classes, task.train.image_size
    options = {name: getattr(task, name) for name in ("width", "dropout", "mean", "std", "seed")}
    return Model(task.network, classes=classes, image_size=size, **options)


def new_trainer(task: Task, model: Model) -> Trainer:
    return Trainer(model, **vars(task.recipe), seed=task.seed, threads=task.threads)


def engine(task: Task) -> History:
    """Makes a run by a :class:`plp.Trainer`, from its checkpoint where its folder has one.

    The checkpoint is written at each epoch's end and on an interruption; the run then goes on bit for bit. One that is
    damaged, of other data or options, or of another version of plp is kept under another name, with a warning, and the
    run starts anew.

    Raises:
        plp.Error, KeyboardInterrupt: the loss is no longer finite; Ctrl-C, or a callback raised it. The error's
            ``history`` is that of the iterations before.
    """
    trainer = new_trainer(task, new_model(task))
    checkpoint = task.folder and task.folder / CHECKPOINT
    goes_on = checkpoint is not None and _restored(trainer, checkpoint)

    def hear(report: Progress) -> bool:
        if checkpoint and report.finished:
            trainer.save(checkpoint)
        return task.hear(report)

    task.begin(trainer.history)
    try:
        history = trainer.fit(
            task.train,
            validation=task.validation,
            test=task.test,
            epochs=task.epochs,
            callback=hear,
            progress=False,
        )
    except ValueError as error:
        if checkpoint is None or not goes_on:
            raise
        set_aside(checkpoint, error)  # of a run on other data
        return engine(task)
    except (_plp.Error, KeyboardInterrupt) as error:
        error.history = trainer.history  # type: ignore[union-attr]
        if checkpoint and isinstance(error, KeyboardInterrupt):
            trainer.save(checkpoint)
        _keep(task, trainer)
        raise
    _keep(task, trainer)
    return history


def _keep(task: Task, trainer: Trainer) -> None:
    """Writes what a run leaves beside its history."""
    if not (task.folder and trainer.history.epochs):
        return
    if task.weights:
        trainer.best_model.save(task.folder / BEST)
        trainer.model.save(task.folder / LAST)
    if task.recipe.watch:
        trainer.watched.save(task.folder / WATCHED)


def _restored(trainer: Trainer, checkpoint: Path) -> bool:
    """Whether there was a checkpoint that the trainer could be set to; where not, nothing has changed."""
    try:
        trainer.restore(checkpoint)
    except FileNotFoundError:
        return False
    except (ValueError, _plp.Error) as error:
        set_aside(checkpoint, error)
        return False
    return True


def set_aside(checkpoint: Path, error: Exception | str) -> None:
    """Keeps a checkpoint of no use to its run, which may have cost many hours, under a name that nothing removes."""
    aside = checkpoint.with_name(f"{checkpoint.name}.{secrets.token_hex(4)}.unused")
    checkpoint.rename(aside)
    warnings.warn(f"the run starts anew, its checkpoint is now {aside}: {error}", RuntimeWarning, stacklevel=2)
