"""Pictures of training runs, drawn on figures of their own: no window, no state shared with the caller's plots."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ._files import Place, write_whole
from .records import History
from .watched import Watched, means, spread_out, stretch

# Okabe and Ito's palette: told apart with any colour vision, and in the order in which methods are compared.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


NARROW = 8.0
"""A figure of less inches has one panel below the other."""


class Picture(Figure):
    """A figure that a notebook shows, whatever it has loaded."""

    def _repr_png_(self) -> bytes:
        return drawn(self, "png")


def drawn(figure: Figure, kind: str) -> bytes:
    """A figure as a file of some format."""
    drawing = io.BytesIO()
    figure.savefig(drawing, format=kind, dpi=150)
    return drawing.getvalue()


def style(axes: Axes, label: str, over: str = "epoch") -> None:
    """An axis of whole epochs or iterations, also where there is but one."""
    axes.set_xlabel(over)
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    first, last = axes.dataLim.intervalx
    if first == last:
        axes.set_xlim(first - 1, last + 1)
        axes.set_xticks([first])
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def as_it_is(name: str) -> str:
    """A name that is drawn as such: not as a formula, and not left out of legends, as what begins with _ would be."""
    return f"{' ' * name.startswith('_')}{name}".replace("$", r"\$")


def save(figure: Figure, path: Place) -> None:
    """Draws first, then writes. The ending chooses the format; PNG without one, which then gets it."""
    path = Path(path)
    kind = path.suffix.removeprefix(".") or "png"
    write_whole(path.with_suffix(f".{kind}"), drawn(figure, kind))


def plot_history(history: History, path: Place | None, width: float) -> Figure:
    """See :meth:`plp.History.plot`."""
    figure = history_figure(history, width)
    if path is not None:
        save(figure, path)
    return figure


def history_figure(history: History, width: float = 11.0) -> Figure:
    """Loss, top-1 error and learning rate of one run."""
    records = [e for e in history if e.complete]
    if not records:
        raise ValueError("the history holds no complete epoch to draw")
    rows, columns = (3, 1) if width < NARROW else (1, 3)
    figure = Picture(figsize=(width, 3.6 * rows), layout="constrained")
    loss, error, rate = figure.subplots(rows, columns)
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
        style(axes, label)
        axes.legend(frameon=False, fontsize=8)
    rate.plot(epochs, [e.learning_rate for e in records], marker=marker, ms=3, color=COLOURS[0])
    style(rate, "learning rate")
    rate.set_ylim(bottom=0)
    return figure


def watched_figure(watched: Watched) -> Figure:
    """Trajectories of some parameters; error and cosine of the prediction, of all parameters and of the layers."""
    if not len(watched.iterations):
        raise ValueError("no cycle of the watch is complete: nothing to draw")
    figure = Picture(figsize=(11, 7.6), layout="constrained")
    (path, cosine), (error, by_layer) = figure.subplots(2, 2)

    # From where they were after the first iteration, since layers differ in size; as many layers as lines can be told.
    shown = spread_out(len(watched.layers), len(COLOURS))
    if watched.trajectories.shape[2]:
        values = watched.trajectories[:, shown, 0] - watched.trajectories[0, shown, 0]
        for colour, layer, moved in zip(COLOURS, shown, values.T):
            path.plot(np.arange(1, len(moved) + 1), moved, lw=1, color=colour, label=as_it_is(watched.layers[layer]))
        path.legend(fontsize=6, framealpha=0.6)
    style(path, "a parameter's way since iteration 1", over="iteration")

    found = means(watched, stretch(watched, 40))
    edges = found.length * np.arange(len(found.cosine) + 1)
    seen = ~np.isnan(found.total_cosine)  # others than stretches before a rule's start
    middles = (edges[:-1] + found.length / 2)[seen]
    for axes, name, label in ((cosine, "cosine", "cosine"), (error, "error", "|θ' − m34| / |m34 − m23|")):
        low, high = np.nanquantile(getattr(found, name)[seen], (0.1, 0.9), axis=1)
        axes.fill_between(middles, low, high, color=COLOURS[0], alpha=0.2, lw=0, label="layers, 10 to 90 %")
        axes.plot(middles, getattr(found, f"total_{name}")[seen], color=COLOURS[0], label="all parameters")
        style(axes, label, over="iteration")
    if watched.expected_cosine is not None:
        label = f"independent gradients: {watched.expected_cosine:.3g}"
        cosine.axhline(watched.expected_cosine, color="0.3", ls="--", label=label)
    for axes in (cosine, error):
        axes.legend(frameon=False, fontsize=8)

    differences = found.cosine.T - (watched.expected_cosine or 0)
    largest = float(np.nanmax(np.abs(differences), initial=1e-3))
    rows = np.arange(len(watched.layers) + 1)
    mesh = by_layer.pcolormesh(edges, rows, differences, cmap="RdBu", vmin=-largest, vmax=largest)
    label = "cosine above independent gradients'" if watched.expected_cosine else "cosine"
    figure.colorbar(mesh, ax=by_layer, label=label)
    style(by_layer, "layer, from the input on", over="iteration")
    by_layer.grid(False)
    by_layer.invert_yaxis()
    return figure
