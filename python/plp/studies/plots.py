"""The picture of a study."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, product
from math import nan
from statistics import fmean, stdev

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._files import Place
from ..plots import COLOURS, NARROW, Picture, as_it_is, save, style
from .answers import of_accuracy
from .curves import HeatMap, heat_maps, panels
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
    of options, also as heat maps. Without a validation split, error and difference are those in training. Failed runs
    are left out.
    """
    if not study.runs:
        raise ValueError("the study holds no complete run to draw")
    columns = 1 if width < NARROW else 2
    grid = grid_of(study)
    answers = of_accuracy(study)
    last = max(3.2, 0.9 + 0.32 * max((sum(a.network == n for a in answers) for n in study.networks), default=0))
    heights = [3.2, 3.2, 3.2, last] if columns == 1 else [3.2, last]
    if grid:
        heights += [1.2 + 0.4 * len(grid.rows)] * (2 // columns)
    figure = Picture(figsize=(width, (sum(heights) + 0.3) * len(study.networks)), layout="constrained")
    rows = figure.subfigures(len(study.networks), 1, squeeze=False)[:, 0]
    for row, network in zip(rows, study.networks):
        axes = list(row.subplots(len(heights), columns, height_ratios=heights).flat)
        of_network = [answer for answer in answers if answer.network == network]
        _draw_network(axes[:4], study, network, of_network)
        if grid:
            _draw_grid(axes[4:], grid, heat_maps(study, network, grid, of_network))
        row.suptitle((";\n" if columns == 1 else "; ").join(heading(study, network)), fontsize=11 if columns > 1 else 9)
    return figure


def heading(study: Study, network: str) -> list[str]:
    """What the panels of a network are of, and how to read them."""
    methods = panels(study, network)[0].curves
    lines = [f"{network}, width {study.settings.width:g}"]
    if any(len(seeds) > 1 for seeds in methods.values()):
        bands = "bands" if len(methods) <= _BANDS else "whiskers"
        lines.append(f"lines: means of n seeds, {bands}: ± their standard deviation")
    return lines


def _draw_network(axes: Sequence[Axes], study: Study, network: str, answers: Sequence[Answer]) -> None:
    """The four panels of one network: curves, and what they come to."""
    styles = dict(zip(study.methods, cycle(_STYLES)))
    found = panels(study, network)
    methods = list(found[0].curves)
    for place, panel in zip(axes, found):
        for method, curves in panel.curves.items():
            look = _Look(*styles[method], methods.index(method), len(methods))
            look.band(place, curves, f"{as_it_is(method)} (n = {len(curves)})")
        if panel.is_difference:
            dash, colour = styles[study.baseline]
            place.axhline(0, ls=dash, color=colour, label=as_it_is(study.baseline))
        style(place, as_it_is(panel.title))
    if methods:  # there are none where all runs failed
        small, wide = len(methods) > 8, len(methods) > 4
        axes[0].legend(frameon=False, fontsize=6 if small else 8, ncols=2 if wide else 1)
    _draw_answers(axes[3], answers, {method: colour for method, (_, colour) in styles.items()})
    axes[3].set_xlabel(f"accuracy on {as_it_is(study.measured_on)}, difference in points")


def _draw_grid(panels: Sequence[Axes], grid: Grid, heat_maps: Sequence[HeatMap]) -> None:
    """The options' difference to the baseline, bold where it is decided, and the accuracy that it comes to."""
    for axes, heat_map, colours in zip(panels, heat_maps, ("RdBu", "cividis")):
        places = [[heat_map.values.get((row, column), nan) for column in grid.columns] for row in grid.rows]
        low, high = heat_map.limits
        image = axes.imshow(places, cmap=colours, vmin=low, vmax=high, aspect="auto")
        for (row, column), value in heat_map.values.items():
            answer = heat_map.answers.get((row, column))
            p = f"\np {p_text(answer.corrected_p)}" if answer and answer.interval else ""
            red, green, blue, _ = image.to_rgba(np.asarray([value]))[0]
            axes.annotate(
                f"{value:+.2f}{p}" if answer else f"{value:.2f}",
                (grid.columns.index(column), grid.rows.index(row)),
                ha="center",
                va="center",
                fontsize=8,
                weight="bold" if answer and answer.is_decided else "normal",
                color="black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white",
            )
        axes.set_xticks(range(len(grid.columns)), map(as_it_is, grid.columns), fontsize=8)
        axes.set_yticks(range(len(grid.rows)), map(as_it_is, grid.rows), fontsize=8)
        axes.set_xlabel(as_it_is(grid.across))
        axes.set_ylabel(as_it_is(grid.down))
        axes.set_title(as_it_is(heat_map.title), fontsize=9)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)


def _draw_answers(axes: Axes, answers: Sequence[Answer], colours: dict[str, str]) -> None:
    """A line for each pair of methods: seeds as points, their mean and its interval; filled where it is decided."""
    for place, answer in enumerate(answers):
        colour = colours[answer.method]
        axes.plot(answer.differences, [place + 0.25] * len(answer.seeds), "o", ms=4, mew=0, color=colour, alpha=0.6)
        if answer.interval:
            axes.plot(answer.interval, [place] * 2, color=colour, lw=2, solid_capstyle="butt")
            fill = colour if answer.is_decided else "white"
            axes.plot(answer.mean, place, "o", ms=7, color=colour, mfc=fill, mew=1.5)
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
