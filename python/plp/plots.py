"""Pictures of training runs, drawn on figures of their own: no window, no state shared with the caller's plots."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ._files import Place, write_whole
from .records import History

# Okabe and Ito's palette: told apart with any colour vision, and in the order in which methods are compared.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


def style(axes: Axes, label: str) -> None:
    """An axis of whole epochs, also where there is but one."""
    axes.set_xlabel("epoch")
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
    drawing = io.BytesIO()
    figure.savefig(drawing, format=kind, dpi=150)
    write_whole(path.with_suffix(f".{kind}"), drawing.getvalue())


def plot_history(history: History, path: Place) -> None:
    """See :meth:`plp.History.plot`."""
    save(history_figure(history), path)


def history_figure(history: History) -> Figure:
    """Loss, top-1 error and learning rate of one run."""
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
        style(axes, label)
        axes.legend(frameon=False, fontsize=8)
    rate.plot(epochs, [e.learning_rate for e in records], marker=marker, ms=3, color=COLOURS[0])
    style(rate, "learning rate")
    rate.set_ylim(bottom=0)
    return figure
