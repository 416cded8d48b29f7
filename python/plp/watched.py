"""How parameters moved, and how a prediction said they would."""

from __future__ import annotations

import io
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from ._extras import require
from ._files import Place, arrays_in, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, repr=False)
class Watched:
    """What a trainer with a :class:`plp.Watch` has recorded.

    A cycle of PLP's has three iterates θ1, θ2, θ3, and the parameters move from m23, the midpoint of the latest two, to
    m34, that of θ3 and the iterate after it. PLP predicts that they come to θ' = m23 + h (m23 - m12).

    The cosine of both moves says little by itself: neighbouring midpoints share a step, momentum joins the rest, and so
    does a prediction that has taken place, so that it is ``expected_cosine`` even where gradients are independent from
    step to step: (1 + μ)/2 with SGD's momentum μ and nothing predicted (``docs/method.md`` derives it). What a law of
    movement would have to show is what lies above that.

    Attributes:
        layers: the parameters' names.
        iterations: int64 [cycles]: iterations done when each prediction was made.
        moves: float32 [cycles, layers, 3]: ``|θ' - m23|²``, ``|m34 - m23|²``, and ``(θ' - m23) · (m34 - m23)``.
        trajectories: float32 [iterations, layers, samples]: sampled parameters after every iteration.
        expected_cosine: of gradients that are independent from step to step, at a constant learning rate; None where
            that is no number: for others than SGD, with DEMON, and where a predictor is at work for a part of the run,
            or less often than every 150 iterations.
    """

    layers: tuple[str, ...]
    iterations: NDArray[np.int64]
    moves: NDArray[np.float32]
    trajectories: NDArray[np.float32]
    expected_cosine: float | None

    def __repr__(self) -> str:
        return f"<plp.Watched: {len(self.iterations)} cycles of {len(self.layers)} layers>"

    @property
    def error(self) -> NDArray[np.float64]:
        """``|θ' - m34| / |m34 - m23|`` [cycles, layers]; NaN where a layer did not move."""
        return _error(self.moves)

    @property
    def cosine(self) -> NDArray[np.float64]:
        """Of the angle between θ' - m23 and m34 - m23 [cycles, layers]; NaN where a layer did not move."""
        return _cosine(self.moves)

    @property
    def total_error(self) -> NDArray[np.float64]:
        """:attr:`error` of all parameters as one vector [cycles]."""
        return _error(self.moves.sum(axis=1, dtype=np.float64))

    @property
    def total_cosine(self) -> NDArray[np.float64]:
        """:attr:`cosine` of all parameters as one vector [cycles]."""
        return _cosine(self.moves.sum(axis=1, dtype=np.float64))

    def save(self, path: Place) -> None:
        """Writes the arrays as a file of NumPy's, ``.npz``; an older one is replaced only when it is complete on disk.

        Raises:
            FileNotFoundError, OSError: the folder is not there, or the file cannot be written.
        """
        arrays = {name: np.asarray(value) for name, value in vars(self).items() if value is not None}
        file = io.BytesIO()
        np.savez(file, **arrays)
        write_whole(path, file.getvalue())

    @classmethod
    def load(cls, path: Place) -> Watched:
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError, OSError: the file is not there, or cannot be read.
            plp.Error: it is of another kind, or damaged.
        """
        with arrays_in(path, "what a watch of plp's has recorded") as arrays:
            layers, expected = arrays.pop("layers"), arrays.pop("expected_cosine", None)
            expected = None if expected is None else float(expected)
            watched = cls(tuple(layers.tolist()), expected_cosine=expected, **arrays)
            cycles, samples = len(watched.iterations), watched.trajectories.shape[-1]
            if watched.moves.shape != (cycles, len(layers), 3) or watched.trajectories.shape[1:] != (
                len(layers),
                samples,
            ):
                raise ValueError("its arrays do not fit each other")
        return watched

    def plot(self, path: Place | None = None) -> Figure:
        """Draws trajectories, errors, cosines with what is to be expected of them, and both by layer and time.

        Args:
            path: where to write the picture too; its ending chooses the format, PNG without one.

        Raises:
            ValueError: no cycle is complete.
        """
        require("matplotlib", extra="plots")
        from .plots import save, watched_figure

        figure = watched_figure(self)
        if path is not None:
            save(figure, path)
        return figure


@dataclass(frozen=True, eq=False)
class Means:
    """Over stretches of a run, each ``length`` iterations long; NaN where no cycle ended, or a layer never moved.

    Attributes:
        error, cosine: [stretches, layers].
        total_error, total_cosine: of all parameters as one vector [stretches].
    """

    length: int
    error: NDArray[np.float64]
    cosine: NDArray[np.float64]
    total_error: NDArray[np.float64]
    total_cosine: NDArray[np.float64]


def stretch(watched: Watched, most: int) -> int:
    """The least length, in iterations, of which a run has at most so many stretches, each with a cycle."""
    return ceil(watched.iterations[-1] / min(most, len(watched.iterations)))


def means(watched: Watched, length: int) -> Means:
    """Error and cosine over stretches of so many iterations."""
    places = (watched.iterations - 1) // length
    parts = [places == place for place in range(places[-1] + 1)]
    names = ("error", "cosine", "total_error", "total_cosine")
    return Means(length, *(np.stack([mean(getattr(watched, name)[part]) for part in parts]) for name in names))


def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the first axis, of what is not NaN; NaN where all is."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    return np.where(counts > 0, np.where(known, values, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def spread_out(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of that many indices, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _error(moves: NDArray[np.floating]) -> NDArray[np.float64]:
    predicted, actual, product = np.moveaxis(moves.astype(np.float64), -1, 0)
    return np.sqrt(_ratio(np.maximum(predicted - 2 * product + actual, 0), actual))


def _cosine(moves: NDArray[np.floating]) -> NDArray[np.float64]:
    predicted, actual, product = np.moveaxis(moves.astype(np.float64), -1, 0)
    return _ratio(product, np.sqrt(predicted * actual))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """To what has moved; NaN where nothing has."""
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
