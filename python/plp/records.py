"""What a training run says while it goes on, and what it leaves: metrics for each epoch, the best one, the test set's.

Plain data beneath all that makes or shows it; only :meth:`History.plot` reaches up, when it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ._extras import require
from ._files import Place
from ._html import html_lines, html_table
from ._plain import from_plain, to_plain
from ._tables import printable, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Metrics:
    """Means over a set of images. Errors are fractions in [0, 1]; the loss is softmax cross-entropy in nats."""

    loss: float
    top1_error: float
    top5_error: float

    @property
    def accuracy(self) -> float:
        """The fraction of images whose class came first, 1 - top1_error."""
        return 1 - self.top1_error


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images.

    ``train`` is measured while the parameters change and on augmented images; ``validation`` afterwards, on the images
    held out. ``learning_rate`` is that of the epoch's last step; ``seconds`` are those of training. ``predictions``
    counts those of its ``iterations`` whose parameters a predictor replaced. An epoch ended in its middle is not
    ``complete``.
    """

    epoch: int
    learning_rate: float
    seconds: float
    images_per_second: float
    train: Metrics
    validation: Metrics | None = None
    predictions: int = 0
    complete: bool = True
    iterations: int = 0

    def to_row(self) -> dict[str, Any]:
        """As one row of a table: metrics as ``train_loss``, …, ``validation_top5_error``; None for none."""
        row = {name: value for name, value in vars(self).items() if name not in ("train", "validation")}
        for split in ("train", "validation"):
            measured = getattr(self, split)
            for field in fields(Metrics):
                row[f"{split}_{field.name}"] = measured and getattr(measured, field.name)
        return row


@dataclass(frozen=True)
class Progress:
    """Where a run stands, as a callback hears it after each iteration. Epochs and iterations are counted from 1."""

    #: What the iteration did: ``"training"``, ``"validation"``, ``"epoch end"``, ``"test"``, or ``"statistics"`` where
    #: it measured an average's running statistics, and nothing else.
    phase: str
    epoch: int
    epochs: int  #: of the whole run
    iteration: int  #: of this phase
    iterations: int  #: of this phase, in all
    learning_rate: float
    predicted: bool  #: whether a predictor replaced the parameters in this iteration
    batch: Metrics | None  #: of this mini-batch, before its update
    running: Metrics | None  #: of this phase so far; at an epoch's end, of its training
    seconds: float  #: of this epoch's training so far
    images_per_second: float
    finished: Epoch | None  #: at an epoch's end, its record


@dataclass(frozen=True)
class History:
    """The record of a run, as :meth:`plp.Trainer.fit` returns it.

    ``best_epoch`` (counted from 1) is the epoch whose model was kept, ``test`` that model's metrics on the test set;
    ``data`` says in words what was trained on and what chose the best model. ``interrupted`` tells that Ctrl-C or an
    error cut the run short; what there was by then is here all the same. ``last_test`` is the last model's metrics on
    the test set (with EMA and SWA: the average's).
    """

    epochs: tuple[Epoch, ...] = ()
    best_epoch: int | None = None
    data: str = ""
    test: Metrics | None = None
    interrupted: bool = False
    last_test: Metrics | None = None

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    def __getitem__(self, index: int) -> Epoch:
        return self.epochs[index]

    @property
    def best(self) -> Epoch | None:
        """The record of the best epoch, or None before the first one is complete."""
        return next((e for e in self.epochs if e.epoch == self.best_epoch), None)

    @property
    def images_per_second(self) -> float:
        """Training speed over all epochs, evaluation not counted."""
        images = sum(e.images_per_second * e.seconds for e in self.epochs)
        seconds = sum(e.seconds for e in self.epochs)
        return images / seconds if seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, ready for JSON or ``pandas.json_normalize(d["epochs"])``."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> History:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: something is missing, unknown, or of another kind than it should be.
        """
        return from_plain(cls, d)

    def to_dataframe(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each epoch; see :meth:`Epoch.to_row`.

        Raises:
            ModuleNotFoundError: there is no pandas.
        """
        require("pandas", "logs")
        from pandas import DataFrame

        return DataFrame([epoch.to_row() for epoch in self.epochs])

    def __repr__(self) -> str:
        best = f", best {self.best_epoch}" if self.best else ""
        test = f", test accuracy {self.test.accuracy:.2%}" if self.test else ""
        return f"<plp.History of {len(self)} epochs{best}{test}>"

    def __str__(self) -> str:
        return printable("\n".join([text_table(self._rows()), *self._notes()]))

    def _repr_html_(self) -> str:
        return html_table(self._rows()) + html_lines(self._notes())

    def _rows(self) -> list[list[str]]:
        rows = [["epoch", "lr", "loss", "top-1 err", "val loss", "val top-1 err", "val top-5 err", "images/s", ""]]
        for e in self.epochs:
            v = e.validation
            held_out = [f"{v.loss:.4f}", f"{v.top1_error:.4f}", f"{v.top5_error:.4f}"] if v else ["", "", ""]
            mark = "best" if e.epoch == self.best_epoch else "" if e.complete else "partial"
            rows.append(
                [str(e.epoch), f"{e.learning_rate:.4g}", f"{e.train.loss:.4f}", f"{e.train.top1_error:.4f}"]
                + held_out
                + [f"{e.images_per_second:,.0f}", mark]
            )
        return rows

    def _notes(self) -> list[str]:
        lines = [self.data] if self.data else []
        best = "the model in training" if self.best_epoch is None else f"model of epoch {self.best_epoch}"
        last = None if self.epochs and self.best is self[-1] else self.last_test
        for model, found in ((best, self.test), ("the last model", last)):
            if found:
                lines.append(
                    f"test set, {model}: accuracy {found.accuracy:.2%}, top-1 error {found.top1_error:.4f}, "
                    f"top-5 error {found.top5_error:.4f}, loss {found.loss:.4f}"
                )
        if self.interrupted:
            lines.append("(interrupted)")
        return lines

    def plot(self, path: Place | None = None, *, width: float = 11.0) -> Figure:
        """Draws loss, top-1 error and learning rate over the epochs, the best one marked.

        Args:
            path: where to write it; its ending chooses the format: ``.png``, ``.svg``, ``.pdf``. None for nowhere.
            width: in inches; below 8 one panel stands below the other.

        Returns:
            Matplotlib's figure, which a notebook shows.

        Raises:
            ValueError: there is no complete epoch to draw, or the format is unknown.
            OSError: the file cannot be written.
            ModuleNotFoundError: Matplotlib is missing; the message says what to install.
        """
        require("matplotlib", extra="plots")
        from .plots import plot_history

        return plot_history(self, path, width)
