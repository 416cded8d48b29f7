"""The picture of a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, product
from math import nan
from statistics import fmean, stdev

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._files import Place
from ..plots import COLOURS, NARROW, Picture, as_it_is, save, style
from ..records import Epoch, History
from .grids import Grid, grid_of
from .records import Answer, Study
from .statistics import p_text

_STYLES = [(dash, colour) for dash, colour in product(("-", "--", ":", "-."), COLOURS)]

_BANDS = 3  #: more would hide each other


def plot_study(study: Study, path: Place | None, width: float) -> Figure:
    """See :meth:`plp.Study.plot`."""
    figure = study_figure(study, width)
    if path is not None:
        save(figure, path)
    return figure


def study_figure(study: Study, width: float = 12.0) -> Figure:
    """What each method did, and below it what it did beyond the baseline with the same seeds.

    For each network training loss and validation error, the mean over the repeats as a line, their standard deviation
    as a band, or as whiskers where there are many methods; the paired difference of validation accuracy; and what
    became of that on the test set: the seeds as points, their mean with its 95 % interval. Where the methods are a grid
    of options, also as heat maps. Without a validation split,
    error and difference are those in training. Failed runs are left out.
    """
    if not study.runs:
        raise ValueError("the study holds no complete run to draw")
    columns = 1 if width < NARROW else 2
    grid = grid_of(study)
    answers = [a for a in study.answers() if (a.measure, a.model) == ("accuracy", "optimal")]
    last = max(3.2, 0.9 + 0.32 * max((sum(a.network == n for a in answers) for n in study.networks), default=0))
    heights = [3.2, 3.2, 3.2, last] if columns == 1 else [3.2, last]
    if grid:
        heights += [1.2 + 0.4 * len(grid.rows)] * (2 // columns)
    figure = Picture(figsize=(width, (sum(heights) + 0.3) * len(study.networks)), layout="constrained")
    rows = figure.subfigures(len(study.networks), 1, squeeze=False)[:, 0]
    for row, network in zip(rows, study.networks):
        panels = list(row.subplots(len(heights), columns, height_ratios=heights).flat)
        of_network = [a for a in answers if a.network == network]
        _draw_network(panels[:4], study, network, of_network)
        if grid:
            _draw_grid(panels[4:], study, network, grid, of_network)
        row.suptitle((";\n" if columns == 1 else "; ").join(heading(study, network)), fontsize=11 if columns > 1 else 9)
    return figure


def network_figures(study: Study, network: str) -> list[Figure]:
    """The same panels for one network, each a figure of its own."""
    figures: list[Figure] = [Picture(figsize=(4.6, 3.6), layout="constrained") for _ in range(4)]
    answers = [a for a in study.answers() if (a.network, a.measure, a.model) == (network, "accuracy", "optimal")]
    _draw_network([figure.subplots() for figure in figures], study, network, answers)
    if grid := grid_of(study):
        figures += [Picture(figsize=(4.6, 1.2 + 0.4 * len(grid.rows)), layout="constrained") for _ in range(2)]
        _draw_grid([figure.subplots() for figure in figures[4:]], study, network, grid, answers)
    return figures


def heading(study: Study, network: str) -> list[str]:
    """What the panels of a network are of, and how to read them."""
    methods = [seeds for seeds in _histories(study, network).values() if seeds]
    lines = [f"{network}, width {study.settings.width:g}"]
    if any(len(seeds) > 1 for seeds in methods):
        bands = "bands" if len(methods) <= _BANDS else "whiskers"
        lines.append(f"lines: means of n seeds, {bands}: ± their standard deviation")
    return lines


def _histories(study: Study, network: str) -> dict[str, dict[int, History]]:
    """The histories of a network's runs by method and seed."""
    runs = [run for run in study.runs if run.network == network and not run.failure]
    return {method: {run.seed: run.history for run in runs if run.method == method} for method in study.methods}


def _draw_network(panels: Sequence[Axes], study: Study, network: str, answers: Sequence[Answer]) -> None:
    """The four panels of one network."""
    loss, error, difference, outcome = panels
    split = "validation" if study.settings.validation else "training"
    styles = dict(zip(study.methods, cycle(_STYLES)))
    methods = {method: histories for method, histories in _histories(study, network).items() if histories}
    for index, (method, histories) in enumerate(methods.items()):
        look = _Look(*styles[method], index, len(methods))
        label = f"{as_it_is(method)} (n = {len(histories)})"
        look.band(loss, [_curve(h, lambda e: e.train.loss) for h in histories.values()], label)
        look.band(error, [_curve(h, _error) for h in histories.values()], label)
        others = methods.get(study.counterpart(method), {})
        pairs = [(h, others[seed]) for seed, h in histories.items() if seed in others]
        if pairs and histories is not others:
            points = [[100 * (b - m) for m, b in zip(_curve(h, _error), _curve(other, _error))] for h, other in pairs]
            look.band(difference, points, f"{as_it_is(method)} (n = {len(pairs)})")
    dash, colour = styles[study.baseline]
    difference.axhline(0, ls=dash, color=colour, label=as_it_is(study.baseline))
    style(loss, "training loss")
    style(error, f"{split} top-1 error")
    style(difference, f"{split} accuracy - {as_it_is(study.reference)}, points")
    if loss.lines:  # none where all runs failed
        loss.legend(frameon=False, fontsize=8 if len(methods) <= 8 else 6, ncols=1 if len(methods) <= 4 else 2)
    _draw_answers(outcome, answers, {method: colour for method, (_, colour) in styles.items()})
    outcome.set_xlabel(f"accuracy on {as_it_is(study.measured_on)}, difference in points")


def _draw_grid(panels: Sequence[Axes], study: Study, network: str, grid: Grid, answers: Sequence[Answer]) -> None:
    """The options' difference to the baseline, and the accuracy that it comes to; bold where it is decided."""
    found = grid.answers(answers)
    differences = {place: answer.mean for place, answer in found.items()}
    outcomes = {place: study.outcomes(network, method) for place, method in grid.methods.items()}
    accuracies = {place: 100 * fmean(m.accuracy for m in seeds.values()) for place, seeds in outcomes.items() if seeds}
    largest = max((abs(value) for value in differences.values()), default=0.0) or 1.0
    for axes, values, colours, limits in (
        (panels[0], differences, "RdBu", (-largest, largest)),
        (panels[1], accuracies, "cividis", (None, None)),
    ):
        places = [[values.get((row, column), nan) for column in grid.columns] for row in grid.rows]
        image = axes.imshow(places, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
        for (row, column), value in values.items():
            answer = found.get((row, column)) if values is differences else None
            p = f"\np {p_text(answer.corrected_p)}" if answer and answer.interval else ""
            red, green, blue, _ = image.to_rgba(np.asarray([value]))[0]
            axes.annotate(
                f"{value:+.2f}{p}" if answer else f"{value:.2f}",
                (grid.columns.index(column), grid.rows.index(row)),
                ha="center",
                va="center",
                fontsize=8,
                weight="bold" if answer and answer.verdict in ("better", "worse") else "normal",
                color="black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white",
            )
        axes.set_xticks(range(len(grid.columns)), map(as_it_is, grid.columns), fontsize=8)
        axes.set_yticks(range(len(grid.rows)), map(as_it_is, grid.rows), fontsize=8)
        axes.set_xlabel(as_it_is(grid.across))
        axes.set_ylabel(as_it_is(grid.down))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    panels[0].set_title(f"accuracy - {as_it_is(study.reference)}, points", fontsize=9)
    panels[1].set_title("accuracy, %", fontsize=9)


def _draw_answers(axes: Axes, answers: Sequence[Answer], colours: dict[str, str]) -> None:
    """A line for each pair of methods: seeds as points, their mean and its interval; filled where it is decided."""
    for place, answer in enumerate(answers):
        colour = colours[answer.method]
        axes.plot(answer.differences, [place + 0.25] * len(answer.seeds), "o", ms=4, mew=0, color=colour, alpha=0.6)
        if answer.interval:
            axes.plot(answer.interval, [place] * 2, color=colour, lw=2, solid_capstyle="butt")
            decided = answer.verdict in ("better", "worse")
            axes.plot(answer.mean, place, "o", ms=7, color=colour, mfc=colour if decided else "white", mew=1.5)
            p = f"p {p_text(answer.corrected_p)}"
            axes.annotate(p, (1, place), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    axes.axvline(0, color="0.5", lw=1)
    names = [f"{as_it_is(a.method)} - {as_it_is(a.other)}" for a in answers]
    axes.set_yticks(range(len(answers)), names, fontsize=8 if len(names) < 12 else 6)
    axes.set_ylim(len(answers) - 0.4, -0.6)
    axes.margins(x=0.15)
    axes.grid(alpha=0.3, axis="x")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)


def _error(epoch: Epoch) -> float:
    return (epoch.validation or epoch.train).top1_error


def _curve(history: History, value: Callable[[Epoch], float]) -> list[float]:
    return [value(epoch) for epoch in history if epoch.complete]


class _Look:
    """How a method is drawn: its line, and its place among the methods that share the panel."""

    def __init__(self, dash: str, colour: str, place: int, methods: int) -> None:
        self.dash, self.colour, self.place, self.methods = dash, colour, place, methods

    def band(self, axes: Axes, curves: Sequence[Sequence[float]], label: str) -> None:
        """The mean of curves over the epochs, and one standard deviation to both sides, as far as all of them got."""
        columns = list(zip(*curves))
        epochs = range(1, len(columns) + 1)
        means = [fmean(c) for c in columns]
        marker = "o" if len(columns) < 20 else None
        axes.plot(epochs, means, ls=self.dash, marker=marker, ms=3, color=self.colour, label=label)
        if len(curves) < 2 or not columns:
            return
        deviations = [stdev(c) for c in columns]
        if len(columns) > 1 and self.methods <= _BANDS:
            low, high = ([m + sign * d for m, d in zip(means, deviations)] for sign in (-1, 1))
            axes.fill_between(epochs, low, high, color=self.colour, alpha=0.15, lw=0)
        else:  # a band of one epoch has no width, and many hide each other: whiskers, at another epoch for each method
            period = min(self.methods, len(columns))
            every = self.place % period, period
            axes.errorbar(epochs, means, deviations, errorevery=every, ls="none", color=self.colour, capsize=3, lw=1.2)
