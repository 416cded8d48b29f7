"""The picture of a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from statistics import fmean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._files import Place
from ..plots import COLOURS, as_it_is, save, style
from ..records import Epoch, History
from .records import Study


def study_figure(study: Study) -> Figure:
    """Training loss, validation error, and the paired difference of validation accuracy to the baseline.

    One row for each network; the mean over the repeats as a line, their standard deviation as a band. Without a
    validation split, error and difference are those in training. Failed runs are left out.
    """
    _require_runs(study)
    figure = Figure(figsize=(12, 3.8 * len(study.networks)), layout="constrained")
    rows = figure.subfigures(len(study.networks), 1, squeeze=False)[:, 0]
    for row, network in zip(rows, study.networks):
        _draw_network(row.subplots(1, 3, width_ratios=(2, 2, 3)), study, network)
        row.suptitle(heading(study, network), fontsize=11)
    return figure


def network_figures(study: Study, network: str) -> list[Figure]:
    """The same panels for one network, each a figure of its own."""
    _require_runs(study)
    figures = [Figure(figsize=(4.6, 3.6), layout="constrained") for _ in range(3)]
    _draw_network([figure.subplots() for figure in figures], study, network)
    return figures


def heading(study: Study, network: str) -> str:
    """What the panels of a network are of, and how to read them."""
    repeated = any(len(histories) > 1 for histories in _histories(study, network).values())
    bands = "; lines: means of n seeds, bands: ± their standard deviation" if repeated else ""
    return f"{network}, width {study.settings.width:g}{bands}"


def _require_runs(study: Study) -> None:
    if not study.runs:
        raise ValueError("the study holds no complete run to draw")


def _histories(study: Study, network: str) -> dict[str, dict[int, History]]:
    """The histories of a network's runs by method and seed."""
    runs = [run for run in study.runs if run.network == network and not run.failure]
    return {method: {run.seed: run.history for run in runs if run.method == method} for method in study.methods}


def plot_study(study: Study, path: Place) -> None:
    """Writes :func:`study_figure` to a file."""
    save(study_figure(study), path)


def _draw_network(panels: Sequence[Axes], study: Study, network: str) -> None:
    """The three panels of one network."""
    loss, error, difference = panels
    split = "validation" if study.settings.validation else "training"
    methods = _histories(study, network)
    baseline = methods[study.baseline]
    for (method, histories), colour in zip(methods.items(), cycle(COLOURS)):
        if not histories:
            continue
        label = f"{as_it_is(method)} (n = {len(histories)})"
        _band(loss, [_curve(h, lambda e: e.train.loss) for h in histories.values()], colour, label)
        _band(error, [_curve(h, _error) for h in histories.values()], colour, label)
        pairs = [(h, baseline[seed]) for seed, h in histories.items() if seed in baseline]
        if pairs and histories is not baseline:
            points = [[100 * (b - m) for m, b in zip(_curve(h, _error), _curve(other, _error))] for h, other in pairs]
            _band(difference, points, colour, f"{as_it_is(method)} (n = {len(pairs)})")
    difference.axhline(
        0, color=COLOURS[list(methods).index(study.baseline) % len(COLOURS)], label=as_it_is(study.baseline)
    )
    style(loss, "training loss")
    style(error, f"{split} top-1 error")
    style(difference, f"{split} accuracy - {as_it_is(study.baseline)}'s, points")
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
        if len(columns) == 1:  # a band of one epoch has no width
            axes.errorbar(epochs, means, deviations, color=colour, capsize=4)
        low, high = ([m + sign * d for m, d in zip(means, deviations)] for sign in (-1, 1))
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, lw=0)
