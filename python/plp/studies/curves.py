"""The numbers of a study's curves and heat maps, which its picture and its page both show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from ..records import Epoch, History
from ..watched import Watched, mean, means, stretch
from .grids import Grid
from .records import Answer, Study

Curve = list[float]


@dataclass(frozen=True)
class Panel:
    """For each method a curve over the epochs for each seed; failed runs are left out, and so are methods without.

    ``epochs`` are those of a method's values, if they are not 1, 2, 3, …; ``lines`` are levels to hold curves against.
    """

    title: str
    curves: dict[str, list[Curve]]
    is_difference: bool = False
    epochs: dict[str, list[float]] = field(default_factory=dict)
    lines: dict[str, float] = field(default_factory=dict)


def panels(study: Study, network: str) -> list[Panel]:
    """Training loss, the error by which the best epoch is chosen, and how much less it is than the counterpart's."""
    held_out = "validation" if study.settings.validation else "training"
    histories: dict[str, dict[int, History]] = {method: {} for method in study.methods}
    for run in study.runs:
        if run.network == network and not run.failure:
            histories[run.method][run.seed] = run.history

    def of_all(value: Callable[[Epoch], float]) -> dict[str, list[Curve]]:
        return {
            method: [_curve(history, value) for history in seeds.values()]
            for method, seeds in histories.items()
            if seeds
        }

    differences: dict[str, list[Curve]] = {}
    for method, seeds in histories.items():
        others = histories[study.counterpart(method)]
        pairs = [(history, others[seed]) for seed, history in seeds.items() if seed in others]
        if pairs and others is not seeds:
            curves = [zip(_curve(history, _error), _curve(other, _error)) for history, other in pairs]
            differences[method] = [[100 * (theirs - own) for own, theirs in curve] for curve in curves]
    return [
        Panel("training loss", of_all(lambda epoch: epoch.train.loss)),
        Panel(f"{held_out} top-1 error", of_all(_error)),
        Panel(f"{held_out} accuracy - {study.reference}, points", differences, is_difference=True),
    ]


def _error(epoch: Epoch) -> float:
    return (epoch.validation or epoch.train).top1_error


def _curve(history: History, value: Callable[[Epoch], float]) -> Curve:
    return [value(epoch) for epoch in history if epoch.complete]


@dataclass(frozen=True)
class HeatMap:
    """A value for each place of a grid; ``answers`` are those that the values are of, if any."""

    title: str
    values: dict[tuple[str, str], float]
    answers: dict[tuple[str, str], Answer]

    @property
    def limits(self) -> tuple[float, float]:
        """Of its colours: those of differences lie about 0."""
        if self.answers:
            largest = max(map(abs, self.values.values())) or 1.0
            return -largest, largest
        return min(self.values.values(), default=0.0), max(self.values.values(), default=1.0)


def heat_maps(study: Study, network: str, grid: Grid, answers: Sequence[Answer]) -> list[HeatMap]:
    """What options are better by than their baseline, by a network's answers, and the accuracy that it comes to."""
    found = grid.answers(answers)
    outcomes = {place: study.outcomes(network, method) for place, method in grid.methods.items()}
    accuracies = {place: 100 * fmean(m.accuracy for m in seeds.values()) for place, seeds in outcomes.items() if seeds}
    return [
        HeatMap(f"accuracy - {study.reference}, points", {place: a.mean for place, a in found.items()}, found),
        HeatMap("accuracy, %", accuracies, {}),
    ]


_STRETCHES = 24
"""Of a run, over which means are taken of what a watch has recorded; a page is to hold those of some hundred layers."""


@dataclass(frozen=True, eq=False)
class Movement:
    """How a method's parameters moved in the runs that watched, the ``first`` of them; ``epoch`` iterations are one.

    ``error`` and ``cosine`` [stretches, layers] are means over the seeds, over stretches that begin and end at
    ``edges``, in epochs, as far as all of them got.
    """

    method: str
    first: Watched
    epoch: int
    edges: NDArray[np.float64]
    error: NDArray[np.float64]
    cosine: NDArray[np.float64]
    total_error: list[Curve]
    total_cosine: list[Curve]


def movements(study: Study, network: str) -> list[Movement]:
    """Of each method that has watched; failed runs are left out."""
    found = []
    for method in study.methods:
        runs = [run for run in study.runs if (run.network, run.method) == (network, method) and not run.failure]
        watched = [each for run in runs if (each := run.watched) and len(each.iterations)]
        if watched:
            found.append(_movement(method, watched, max(1, runs[0].history[0].iterations)))
    return found


def _movement(method: str, watched: Sequence[Watched], epoch: int) -> Movement:
    length = max(stretch(each, _STRETCHES) for each in watched)
    seeds = [means(each, length) for each in watched]
    shortest = min(len(each.cosine) for each in seeds)
    return Movement(
        method,
        watched[0],
        epoch,
        length * np.arange(shortest + 1) / epoch,
        mean(np.stack([each.error[:shortest] for each in seeds])),
        mean(np.stack([each.cosine[:shortest] for each in seeds])),
        [each.total_error.tolist() for each in seeds],
        [each.total_cosine.tolist() for each in seeds],
    )


def movement_panels(found: Sequence[Movement]) -> list[Panel]:
    """Cosine and error of all parameters as one vector, the cosine with its control."""
    epochs = {each.method: ((each.edges[:-1] + each.edges[1:]) / 2).tolist() for each in found}
    expected = {each.first.expected_cosine for each in found} - {None}
    lines = {f"independent gradients: {level:.3g}": level for level in sorted(filter(None, expected))}
    cosines = {each.method: each.total_cosine for each in found}
    errors = {each.method: each.total_error for each in found}
    return [
        Panel("cosine of the predicted and the actual move, all parameters", cosines, epochs=epochs, lines=lines),
        Panel("error |θ′ − m34| / |m34 − m23|, all parameters", errors, epochs=epochs),
    ]
