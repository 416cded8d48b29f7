"""A study as one HTML page that needs no other file."""

from __future__ import annotations

import io
from dataclasses import is_dataclass
from html import escape
from typing import Any

from .._files import Place, write_whole
from ..options import PAPER, Recipe
from .plots import study_figure
from .records import Settings, Study
from .table import caption, table

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #ddd; }}
.wide {{ overflow-x: auto; }}
svg {{ max-width: 100%; height: auto; }}
pre, small {{ color: #555; }}
</style>
<h1>{title}</h1>
<div class="wide">{results}</div>
<p><small>{caption}</small></p>
{picture}
<h2>Choices</h2>
<p>The method and the experiment are those of Ying et al., <i>Enhancing deep neural network training efficiency and
performance through linear prediction</i>, Scientific Reports 14, 15197 (2024),
<a href="https://doi.org/10.1038/s41598-024-65691-0">doi 10.1038/s41598-024-65691-0</a>, as far as they are known.</p>
<div class="wide">{choices}</div>
<h2>Methods</h2>
<div class="wide">{methods}</div>
<h2>Runs</h2>
<div class="wide">{runs}</div>
<h2>Machine</h2>
<pre>{builds}</pre>
</html>
"""

OURS = "our choice; the paper's is not known"


def write_report(study: Study, path: Place) -> None:
    """See :meth:`plp.Study.report`."""
    drawing = io.StringIO()
    study_figure(study).savefig(drawing, format="svg")
    picture = drawing.getvalue()
    title = f"{', '.join(study.networks)}: {', '.join(study.methods)}"
    page = _PAGE.format(
        title=escape(title),
        results=_table(table(study)),
        caption=escape(caption(study)),
        picture=picture[picture.index("<svg") :],  # without XML's heading, which HTML does not have
        choices=_table([["what", "here", "source"], *choices(study)]),
        methods=_table([["method", "what it changes"], *_changes(study)]),
        runs=_table(_runs(study)),
        builds=escape(_builds(study)),
    )
    write_whole(path, page.encode())


def choices(study: Study) -> list[list[str]]:
    """What was chosen, and whether the paper chose it: [what, value here, source]."""
    settings = study.settings
    recipe = settings.recipe
    held_out = f"{100 * settings.validation:g} %, at random" if settings.validation else "none"

    def of_the_paper(here: Any, theirs: Any, text: str) -> str:
        return "the paper's" if here == theirs else f"our choice; the paper's: {text}"

    return [
        ["data", f"{settings.train}, {settings.train_images:,} images", _data_source(settings)],
        ["validation", held_out, of_the_paper(settings.validation, 0.2, "20 %, at random")],
        ["optimal model", f"of {study.chosen_epoch}", OURS],
        ["epochs", f"{settings.epochs}", of_the_paper(settings.epochs, 100, "100")],
        ["width", f"{settings.width:g}", of_the_paper(settings.width, 1.0, "1")],
        ["networks' variants", "those of weiaicunzai/pytorch-cifar100", OURS],
        ["initialisation", "PyTorch's default", "the paper's"],
        [
            "optimizer",
            shown(recipe.optimizer),
            of_the_paper(
                _without(recipe.optimizer, "lr"),
                _without(PAPER.optimizer, "lr"),
                "SGD or DEMON, momentum 0.9, weight decay 1e-4",
            ),
        ],
        [
            "learning rate",
            shown(recipe.schedule),
            "the paper's, the period our choice"
            if _rates(recipe) == _rates(PAPER)
            else "our choice; the paper's: cyclic, 0.001 to 0.002",
        ],
        ["batch size", f"{recipe.batch_size}", OURS],
        ["augmentation", shown(recipe.augmentation), OURS],
        ["momentum at a prediction", "kept, unless the method says otherwise", OURS],
        ["batch-norm statistics at a prediction", "kept, unless the method says otherwise", OURS],
    ]


def _rates(recipe: Recipe) -> tuple[Any, ...]:
    """The learning rate and its schedule but for the period, which is not known of the paper's."""
    return recipe.optimizer.lr, type(recipe.schedule), _without(recipe.schedule, "up", "down")


def _without(option: Any, *names: str) -> dict[str, Any]:
    return {name: value for name, value in vars(option).items() if name not in names}


def shown(option: Any) -> str:
    """An option in words, what is None left out."""
    if not is_dataclass(option):
        return str(option)
    words = [f"{name.replace('_', ' ')} {shown(value)}" for name, value in vars(option).items() if value is not None]
    return f"{type(option).__name__}({', '.join(words)})"


def _data_source(settings: Settings) -> str:
    theirs = settings.train.startswith("CIFAR-100") and settings.train_images == 50_000
    return "the paper's" if theirs else "our choice; the paper's: CIFAR-100, 50,000 images"


def _changes(study: Study) -> list[list[str]]:
    """How each method differs from what all have in common."""
    common = vars(study.settings.recipe)
    rows = []
    for name, own in study.methods.items():
        changed = [f"{part}: {shown(value)}" for part, value in vars(own).items() if value != common[part]]
        rows.append([name, "; ".join(changed) or "nothing"])
    return rows


def _runs(study: Study) -> list[list[str]]:
    rows = [["network", "method", "seed", "best epoch", "accuracy %", "top-5 error", "images/s", ""]]
    for run in study.runs:
        outcome = run.outcome
        numbers = [f"{100 * outcome.accuracy:.2f}", f"{outcome.top5_error:.4f}"] if outcome else ["", ""]
        rows.append(
            [run.network, run.method, str(run.seed), str(run.history.best_epoch or "")]
            + numbers
            + [f"{run.history.images_per_second:,.0f}", run.failure or ""]
        )
    return rows


def _builds(study: Study) -> str:
    """What made the runs; which of them, where it was not always the same."""
    runs: dict[str, list[str]] = {}
    for run in study.runs:
        runs.setdefault(run.build or "not recorded", []).append(run.name)
    if len(runs) == 1:
        return next(iter(runs))
    return "\n\n".join(f"{', '.join(names)}:\n{build}" for build, names in runs.items())


def _table(rows: list[list[str]]) -> str:
    def line(row: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"

    heading, *body = rows
    return "<table>" + line(heading, "th") + "".join(line(row, "td") for row in body) + "</table>"
