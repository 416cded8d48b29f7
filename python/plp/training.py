"""The training loop: fit, single steps, evaluation, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from functools import cached_property
from math import isfinite, prod
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _plp
from ._checks import (
    checked_images,
    checked_integer,
    checked_labels,
    checked_number,
    checked_pickle,
    checked_seed,
    checked_type,
    explains,
    in_brief,
)
from ._html import html_table
from ._independent import expected_cosine
from ._progress import FitProgress
from .datasets import Dataset, as_dataset
from .model import Model
from .options import SGD, Augmentation, Optimizer, Predictor, Recipe, Watch
from .profile import Profile, Timing
from .records import Epoch, History, Metrics, Progress
from .schedules import Constant, Schedule
from .watched import Watched

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .datasets import Data


_PHASES = {
    _plp.PHASE_TRAINING: "training",
    _plp.PHASE_VALIDATION: "validation",
    _plp.PHASE_EPOCH_END: "epoch end",
    _plp.PHASE_TEST: "test",
    _plp.PHASE_STATISTICS: "statistics",
}


Callback = Callable[[Progress], bool | None]
"""Called after each iteration; where it returns True, the training ends early. One with a method ``begin`` is told the
history so far before the first of them, so that it can go on where an earlier fit ended."""


def one_of(callbacks: Callback | Sequence[Callback] | None) -> Callable[[Progress], bool]:
    """Several callbacks as one: each hears everything, and any may end the training."""
    several = _several(callbacks)
    return lambda report: any([bool(callback(report)) for callback in several])


def begin(callbacks: Callback | Sequence[Callback] | None, history: History) -> None:
    """Tells callbacks where a run begins, those that want to know."""
    for callback in _several(callbacks):
        if hasattr(callback, "begin"):
            callback.begin(history)


def listed(callbacks: Callback | Sequence[Callback] | None) -> list[Callback]:
    """One callback, several or none as a list; they are not looked at."""
    several: list[Any] = list(callbacks) if isinstance(callbacks, Iterable) and not callable(callbacks) else [callbacks]
    return [callback for callback in several if callback is not None]


def _several(callbacks: Callback | Sequence[Callback] | None) -> list[Callback]:
    several = listed(callbacks)
    for callback in several:
        if not callable(callback):
            raise ValueError(
                f"callback is {in_brief(callback)}, expected a function of a plp.Progress, or a list of them"
            )
    return several


class Trainer:
    """A model in training: optimizer, schedule, predictor, and how far it has come.

    Two trainers with the same seed see the same mini-batches and the same augmentation, whatever their optimizer and
    predictor; results are bit for bit the same on any number of threads.

    While :meth:`fit` goes on in one thread, others may read, save and measure trainer and model between two iterations
    (see :class:`plp.Model`); what would train the model is refused. Copies and pickles have a model and memory of their
    own, and go on from where the trainer was.

    Args:
        model: what is trained, in place.
        optimizer: :class:`plp.SGD` or :class:`plp.AdamW`.
        predictor: None, or :class:`plp.PLP`, :class:`plp.Lookahead`, :class:`plp.EMA`, :class:`plp.SWA`.
        schedule: of the learning rate; one of :mod:`plp.schedules`.
        batch_size: images in a mini-batch, 1 to 65,536; an epoch's last one may have less.
        augmentation: of training images in :meth:`fit`; ``Augmentation.none()`` for none.
        watch: records how the parameters move, for :attr:`watched`; changes nothing else.
        seed: of their order, augmentation, dropout and the validation split.
        threads: that compute; 0 for what :func:`plp.build_info` says.

    Raises:
        ValueError: an option of another kind than its name says, or out of its range.
        MemoryError: activations for a mini-batch do not fit.
    """

    _last_test: Metrics | None = None  # of the latest fit: see plp.History

    @explains(
        **dict.fromkeys(["lr", "learning_rate", "momentum", "weight_decay"], "write optimizer=plp.SGD(lr=0.05)"),
        scheduler="write schedule=plp.schedules.Cosine()",
        epochs="write trainer.fit(train, epochs=10)",
        num_workers="write threads=4",
        device="it computes on the processor; leave it out",
    )
    def __init__(
        self,
        model: Model,
        *,
        optimizer: Optimizer = SGD(),
        predictor: Predictor | None = None,
        schedule: Schedule = Constant(),
        batch_size: int = 128,
        augmentation: Augmentation = Augmentation(),
        watch: Watch | None = None,
        seed: int = 0,
        threads: int = 0,
    ) -> None:
        checked_type("model", model, Model)
        self.model = model
        self.recipe = Recipe(
            optimizer=optimizer,
            predictor=predictor,
            schedule=schedule,
            batch_size=batch_size,
            augmentation=augmentation,
            watch=watch,
        )
        self._seed, self._threads = checked_seed(seed), threads
        self._open()

    def _open(self) -> None:
        predictor, watch = self.recipe.predictor, self.recipe.watch
        self._handle = _plp.trainer_create(
            self.model._handle,
            self.recipe.optimizer._fields(),
            predictor._fields() if predictor else None,
            watch.rule._fields() if watch else None,
            {**self.recipe._fields(), "seed": self._seed, "threads": self._threads},
        )

    def __getstate__(self) -> dict[str, Any]:
        with TemporaryDirectory() as folder:
            path = Path(folder, "pickled trainer")
            self.save(path)
            return {**vars(self), "_handle": path.read_bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        checkpoint, *_ = checked_pickle("trainer", state, _handle=bytes, model=Model, recipe=Recipe)
        vars(self).update(state)
        self._open()
        with TemporaryDirectory() as folder:
            path = Path(folder, "pickled trainer")
            path.write_bytes(checkpoint)
            _plp.trainer_restore(self._handle, path)

    def __copy__(self) -> Trainer:
        return deepcopy(self)  # with a model of its own

    def __repr__(self) -> str:
        method = " and ".join(type(part).__name__ for part in (self.recipe.optimizer, self.recipe.predictor) if part)
        return f"<plp.Trainer of {self.model.architecture!r} by {method}: {len(self.history)} epochs>"

    def _repr_html_(self) -> str:
        parts = [[name.replace("_", " "), repr(part)] for name, part in vars(self.recipe).items()]
        rows = [["plp.Trainer", ""], ["model", self.model.architecture], *parts]
        return html_table(rows) + (self.history._repr_html_() if self.history else "")

    @explains(
        **dict.fromkeys(["validation_split", "validation_data"], "write validation=0.2, or a set of its own"),
        batch_size="write plp.Trainer(model, batch_size=128)",
        callbacks="write callback=function",
        verbose="write progress=False",
    )
    def fit(
        self,
        train: Data,
        *,
        validation: float | Data | None = None,
        test: Data | None = None,
        epochs: int = 1,
        callback: Callback | Sequence[Callback] | None = None,
        progress: bool | str | FitProgress = True,
    ) -> History:
        """Trains until ``epochs`` are done in all, those of an earlier fit or checkpoint included.

        The best model, by validation accuracy, is kept: see :attr:`best_model`. Ctrl-C ends training after the
        running iteration and is raised as KeyboardInterrupt, which ends a script or a notebook's cell; where it is
        caught, :attr:`history` and :attr:`model` are as of that iteration, and another fit goes on from there::

            try:
                trainer.fit(train, epochs=100)
            except KeyboardInterrupt:
                trainer.save("checkpoint.plp")
                raise

        Args:
            train: the training images: a dataset, or images and labels as of :func:`plp.datasets.from_arrays`.
            validation: the fraction of them to hold out, chosen at random, or a set of one's own. None or 0 for
                neither; the best model is then that of the latest complete epoch.
            test: measured at the end, once with the best model, and with the last one where that is another.
            epochs: the length of the whole run, to which schedules refer.
            callback: called with a :class:`plp.Progress` after each iteration; or a list of such. Where one returns
                True, the training ends early: no further iteration is trained, an epoch that was trained to its end is
                validated, and the test set is measured. Where it raises, fit ends at once and raises the same. It may
                read and save the model and the trainer. If it has a method ``begin``, that is called with the history
                so far before the first iteration.
            progress: whether to show a bar (on a terminal and in a notebook) or a line for each epoch and every half
                minute; a string is shown in front of it. Where that cannot be written any more, training goes on.

        Returns:
            The history.

        Raises:
            ValueError: an argument out of its range, or a dataset with more classes or other images than the model's.
            KeyboardInterrupt: Ctrl-C; all there was by then is kept, as said above.
            plp.Error: the loss is no longer finite; the message says how far the run had come. :attr:`history` and
                :attr:`best_model` are as they were before.
        """
        fraction, validation_set = 0.0, None
        if isinstance(validation, float | Real):
            fraction = checked_number("validation", validation)
        elif validation is not None:
            validation_set = as_dataset("validation", validation)._handle
        train, test = as_dataset("train", train), None if test is None else as_dataset("test", test)
        run = (
            train._handle,
            checked_integer("epochs", epochs, least=1),
            fraction,
            validation_set,
            None if test is None else test._handle,
        )
        if not isinstance(progress, FitProgress):  # which is how a study hands over its own
            label = progress if isinstance(progress, str) else self.model.architecture
            progress = FitProgress(label, enabled=bool(progress))
        hear = one_of(callback)
        with progress as display:

            def on_iteration(*values: Any) -> bool:
                self._last_test = None  # not before: a fit that is refused changes nothing
                report = _progress(*values)
                finish = hear(report)  # comes first: it may save
                display.iteration(report)
                return finish

            begin(callback, self.history)
            display.begin(f"{train.name}, {len(train):,} images", self.history, epochs)
            _plp.trainer_fit(self._handle, *run, on_iteration)
            self._last_test = self._measured_last(test)
        return self.history

    def _measured_last(self, test: Dataset | None) -> Metrics | None:
        """The last model's metrics on the test set; those of the best one where that is the same."""
        history = self.history
        if test is None or history.best is history[-1]:
            return history.test
        found = self.evaluate(test)
        return found if isfinite(found.loss) else None  # as it may be within an epoch that a callback ended

    @property
    def history(self) -> History:
        """The epochs so far, one that was ended in its middle included."""
        best, stopped, data, test, records = _plp.trainer_history(self._handle)
        return History(
            epochs=tuple(_epoch(*record) for record in records),
            best_epoch=best + 1 if best >= 0 else None,
            data=data,
            test=_metrics(test),
            interrupted=stopped,
            # A fit that fails in its first iteration leaves neither.
            last_test=self._last_test if test else None,
        )

    @property
    def best_model(self) -> Model:
        """A copy of the best model so far; before any epoch is complete, of the one in training (or its average)."""
        return Model._of(_plp.trainer_best_model(self._handle))

    def step(self, images: ArrayLike, labels: ArrayLike) -> float:
        """One iteration on a mini-batch as it is, without augmentation, outside any run.

        It takes the optimizer's ``lr`` and ``momentum`` as they are: schedules and DEMON, which refer to the length of
        a run, act in :meth:`fit` only. The predictor's cycle goes on.

        Args:
            images: [count, 3, size, size], either uint8, which are normalised, or float32, taken as they are.
                count: at most the batch size.
            labels: integers [count].

        Returns:
            The loss before the update.

        Raises:
            ValueError: a shape, dtype or label is not as above.
            plp.Error: the loss is not finite.
        """
        return _plp.trainer_step(self._handle, *self._mini_batch(images, labels))[0]

    def gradients(self, images: ArrayLike, labels: ArrayLike) -> dict[str, NDArray[np.float32]]:
        """The loss's gradient by every parameter for a mini-batch, as in :meth:`step` but without the update.

        Returns:
            Arrays with the names and layouts of :meth:`plp.Model.state_dict`; weight decay is not in them.
        """
        # All in one array, which is filled in the call that computes them: another thread's may follow it at once.
        values = np.empty(self.model.parameter_count, np.float32)
        _plp.trainer_gradients(self._handle, *self._mini_batch(images, labels), values)
        parameters = [entry for entry in self.model._entries if entry.kind == _plp.ENTRY_PARAMETER]
        ends = np.cumsum([prod(entry.shape) for entry in parameters])
        parts = np.split(values, ends[:-1])
        return {entry.name: part.reshape(entry.shape) for entry, part in zip(parameters, parts, strict=True)}

    def _mini_batch(
        self, images: ArrayLike, labels: ArrayLike
    ) -> tuple[NDArray[Any], int, NDArray[np.int32], int, int]:
        """What the library is told of a mini-batch."""
        array, dtype = checked_images(images, self.model.image_size)
        return array, dtype, checked_labels(labels, len(array)), len(array), self.model.image_size

    def evaluate(self, dataset: Data) -> Metrics:
        """Measures the model in training (with EMA and SWA: the average) on a dataset as it is. Ctrl-C ends it."""
        return Metrics(*_plp.trainer_evaluate(self._handle, as_dataset("dataset", dataset)._handle))

    @property
    def profile(self) -> Profile:
        """Where the time of this trainer's iterations so far went; the first one also plans and allocates."""
        entries = _plp.trainer_profile(self._handle)
        iterations = entries[0][3]
        timings = (Timing(layer, kind, seconds / max(iterations, 1)) for layer, kind, seconds, _ in entries)
        return Profile(self.recipe.batch_size, iterations, tuple(timings))

    @property
    def watched(self) -> Watched:
        """How the parameters have moved so far, and how they were predicted to.

        Raises:
            ValueError: the trainer was made without a watch.
        """
        cycles, layers, iterations, samples = _plp.trainer_watched(self._handle)
        moves = np.empty((cycles, layers, 3), np.float32)
        numbers = np.empty(cycles, np.int64)
        trajectories = np.empty((iterations, layers, samples), np.float32)
        # A restore in another thread may have left fewer in the meantime.
        cycles, iterations = _plp.trainer_records(self._handle, cycles, iterations, moves, numbers, trajectories)
        return Watched(
            layers=tuple(self.model.parameter_names),
            iterations=numbers[:cycles] + 1,
            moves=moves[:cycles],
            trajectories=trajectories[:iterations],
            expected_cosine=self._expected_cosine,
        )

    @cached_property
    def _expected_cosine(self) -> float | None:
        return expected_cosine(self.recipe)  # which takes 20 ms

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a checkpoint: all a run needs to go on bit for bit, history and best model included.

        An older file of that name is replaced only when the new one is complete on disk.

        Raises:
            FileNotFoundError, OSError: the folder is not there, or the file cannot be written.
        """
        _plp.trainer_save(self._handle, path)

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Goes back to a checkpoint, in a trainer made with the same model configuration and options.

        Raises:
            FileNotFoundError, OSError: the file is not there, or cannot be read.
            ValueError: it is of another network, or other options.
            plp.Error: it is damaged. On any error, nothing has changed.
        """
        _plp.trainer_restore(self._handle, path)
        self._last_test = None  # a checkpoint has that of the best model only


def _metrics(values: tuple[float, float, float] | None) -> Metrics | None:
    return Metrics(*values) if values else None


def _epoch(epoch, complete, iterations, predictions, rate, seconds, speed, training, validation):  # type: ignore[no-untyped-def]
    measured = Metrics(*training), _metrics(validation)
    return Epoch(epoch + 1, rate, seconds, speed, *measured, predictions, complete, iterations)


def _progress(phase, epoch, epochs, iteration, iterations, rate, predicted, batch, running, seconds, speed, finished):  # type: ignore[no-untyped-def]
    return Progress(
        _PHASES[phase],
        epoch + 1,
        epochs,
        iteration + 1,
        iterations,
        rate,
        predicted,
        _metrics(batch),
        _metrics(running),
        seconds,
        speed,
        finished and _epoch(*finished),
    )
