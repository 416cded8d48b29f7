"""Pictures of training runs, drawn on figures of their own: no window, no state shared with the caller's plots."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import cycle
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .history import Epoch, History

if TYPE_CHECKING:
    from .study import Study

# Okabe and Ito's palette: told apart with any colour vision, and in the order in which methods are compared.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
Curve = Callable[[Epoch], float]


def _style(axes: Axes, label: str) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    figure.savefig(path, dpi=150)


def plot_history(history: History, path: str | os.PathLike[str]) -> None:
    """Loss, top-1 error and learning rate of one run; see :meth:`plp.History.plot`."""
    records = [e for e in history if e.complete]
    if not records:
        raise ValueError("the history holds no complete epoch to draw")
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    loss, error, rate = figure.subplots(1, 3)
    epochs = [e.epoch for e in records]
    marker = "o" if len(epochs) < 20 else None

    for axes, label, name in ((loss, "loss", "loss"), (error, "top-1 error", "top1_error")):
        axes.plot(
            epochs, [getattr(e.train, name) for e in records], marker=marker, ms=3, color=COLOURS[0], label="training"
        )
        if all(e.validation for e in records):
            values = [getattr(e.validation, name) for e in records]
            axes.plot(epochs, values, marker=marker, ms=3, color=COLOURS[1], label="validation")
        if history.best:
            axes.axvline(history.best.epoch, color="0.5", ls=":", label=f"best epoch ({history.best.epoch})")
        if history.test and history.best:
            value = getattr(history.test, name)
            axes.plot([history.best.epoch], [value], "*", ms=11, color=COLOURS[2], label="test, best epoch")
        _style(axes, label)
        axes.legend(frameon=False, fontsize=8)
    rate.plot(epochs, [e.learning_rate for e in records], marker=marker, ms=3, color=COLOURS[0])
    _style(rate, "learning rate")
    rate.set_ylim(bottom=0)
    _save(figure, path)


def study_figure(study: Study) -> Figure:
    """Training loss and validation error (training error without a validation split) of every method.

    One row for each network; the mean over the repeats as a line, their standard deviation as a band.
    """
    if not study.runs:
        raise ValueError("the study holds no complete run to draw")
    networks = study.networks
    figure = Figure(figsize=(11, 3.8 * len(networks)), layout="constrained")
    for row, network in zip(figure.subplots(len(networks), 2, squeeze=False), networks):
        runs = [run for run in study.runs if run.network == network]
        split = "validation" if study.settings["validation"] else "training"
        curves: tuple[tuple[str, Curve], ...] = (
            ("training loss", lambda e: e.train.loss),
            (f"{split} top-1 error", lambda e: (e.validation or e.train).top1_error),
        )
        for axes, (label, value) in zip(row, curves):
            for method, colour in zip(study.methods, cycle(COLOURS)):
                histories = [[e for e in run.history if e.complete] for run in runs if run.method == method]
                _band(axes, histories, value, method, colour)
            _style(axes, label)
            axes.set_title(network, fontsize=10)
            axes.legend(frameon=False, fontsize=8)
    return figure


def plot_study(study: Study, path: str | os.PathLike[str]) -> None:
    """Writes :func:`study_figure` to a file."""
    _save(study_figure(study), path)


def _band(axes: Axes, histories: Sequence[Sequence[Epoch]], value: Curve, label: str, colour: str) -> None:
    """The mean of a curve over the runs, and one standard deviation to both sides, as far as all of them got."""
    length = min((len(h) for h in histories), default=0)
    if not length:
        return
    columns = [[value(h[i]) for h in histories] for i in range(length)]
    epochs = [histories[0][i].epoch for i in range(length)]
    means = [fmean(c) for c in columns]
    axes.plot(epochs, means, marker="o" if length < 20 else None, ms=3, color=colour, label=label)
    if len(histories) > 1:
        deviations = [stdev(c) for c in columns]
        axes.fill_between(
            epochs,
            [m - d for m, d in zip(means, deviations)],
            [m + d for m, d in zip(means, deviations)],
            color=colour,
            alpha=0.15,
            lw=0,
        )
