"""How parameters moved, and how a prediction said they would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._extras import require
from ._files import Place

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, repr=False)
class Watched:
    """What a trainer with a :class:`plp.Watch` has recorded.

    A cycle of PLP's has three iterates θ1, θ2, θ3, and the parameters move from m23, the midpoint of the latest two, to
    m34, that of θ3 and the iterate after it. PLP predicts that they come to θ' = m23 + h (m23 - m12).

    The cosine of both moves says little by itself: neighbouring midpoints share a step, and momentum μ joins the rest,
    so that it is :attr:`expected_cosine` = (1 + μ)/2 even where gradients are independent from step to step
    (``docs/method.md`` derives it). What a law of movement would have to show is what lies above that.

    Attributes:
        layers: the parameters' names.
        iterations: int64 [cycles]: iterations done when each prediction was made.
        moves: float32 [cycles, layers, 3]: ``|θ' - m23|²``, ``|m34 - m23|²``, and ``(θ' - m23) · (m34 - m23)``.
        trajectories: float32 [iterations, layers, samples]: sampled parameters after every iteration.
        momentum: μ of the optimizer, where it is a number; None for others than SGD, and with DEMON.
    """

    layers: tuple[str, ...]
    iterations: NDArray[np.int64]
    moves: NDArray[np.float32]
    trajectories: NDArray[np.float32]
    momentum: float | None

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

    @property
    def expected_cosine(self) -> float | None:
        """What is to be expected of gradients that are independent from step to step."""
        return None if self.momentum is None else (1 + self.momentum) / 2

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


def _error(moves: NDArray[np.floating]) -> NDArray[np.float64]:
    predicted, actual, product = np.moveaxis(moves.astype(np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(np.maximum(predicted - 2 * product + actual, 0) / actual)


def _cosine(moves: NDArray[np.floating]) -> NDArray[np.float64]:
    predicted, actual, product = np.moveaxis(moves.astype(np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return product / np.sqrt(predicted * actual)
