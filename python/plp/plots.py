"""Pictures of training runs, drawn on figures of their own: no window, no state shared with the caller's plots."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
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
    """Training loss, validation error, and the paired difference of validation accuracy to the baseline.

    One row for each network; the mean over the repeats as a line, their standard deviation as a band. Without a
    validation split, error and difference are those in training. Failed runs are left out.
    """
    if not study.runs:
        raise ValueError("the study holds no complete run to draw")
    figure = Figure(figsize=(12, 3.8 * len(study.networks)), layout="constrained")
    rows = figure.subfigures(len(study.networks), 1, squeeze=False)[:, 0]
    for row, network in zip(rows, study.networks):
        runs = [run for run in study.runs if run.network == network and not run.failure]
        methods = {method: {run.seed: run.history for run in runs if run.method == method} for method in study.methods}
        _draw_network(row.subplots(1, 3, width_ratios=(2, 2, 3)), study, methods)
        repeated = any(len(histories) > 1 for histories in methods.values())
        bands = "; lines: means of n seeds, bands: ± their standard deviation" if repeated else ""
        row.suptitle(f"{network}, width {study.settings['width']:g}{bands}", fontsize=11)
    return figure


def plot_study(study: Study, path: str | os.PathLike[str]) -> None:
    """Writes :func:`study_figure` to a file."""
    _save(study_figure(study), path)


def _draw_network(panels: Sequence[Axes], study: Study, methods: Mapping[str, Mapping[int, History]]) -> None:
    """The three panels of one network, from its histories by method and seed."""
    loss, error, difference = panels
    split = "validation" if study.settings["validation"] else "training"
    baseline = methods[study.baseline]
    for (method, histories), colour in zip(methods.items(), cycle(COLOURS)):
        if not histories:
            continue
        label = f"{method} (n = {len(histories)})"
        _band(loss, [_curve(h, lambda e: e.train.loss) for h in histories.values()], colour, label)
        _band(error, [_curve(h, _error) for h in histories.values()], colour, label)
        pairs = [(h, baseline[seed]) for seed, h in histories.items() if seed in baseline]
        if pairs and histories is not baseline:
            points = [[100 * (b - m) for m, b in zip(_curve(h, _error), _curve(other, _error))] for h, other in pairs]
            _band(difference, points, colour, f"{method} (n = {len(pairs)})")
    difference.axhline(0, color=COLOURS[list(methods).index(study.baseline) % len(COLOURS)], label=study.baseline)
    _style(loss, "training loss")
    _style(error, f"{split} top-1 error")
    _style(difference, f"{split} accuracy - {study.baseline}'s, points")
    for axes in (loss, difference):
        if axes.lines:  # none where all runs failed
            axes.legend(frameon=False, fontsize=8)


def _error(epoch: Epoch) -> float:
    return (epoch.validation or epoch.train).top1_error


def _curve(history: History, value: Callable[[Epoch], float]) -> list[float]:
    return [value(epoch) for epoch in history if epoch.complete]


def _band(axes: Axes, curves: Sequence[Sequence[float]], colour: str, label: str) -> None:
    """The mean of curves over the epochs, and one standard deviation to both sides, as far as all of them got."""
    columns = list(zip(*curves))
    epochs = range(1, len(columns) + 1)
    means = [fmean(c) for c in columns]
    axes.plot(epochs, means, marker="o" if len(columns) < 20 else None, ms=3, color=colour, label=label)
    if len(curves) > 1:
        deviations = [stdev(c) for c in columns]
        low, high = ([m + sign * d for m, d in zip(means, deviations)] for sign in (-1, 1))
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, lw=0)
