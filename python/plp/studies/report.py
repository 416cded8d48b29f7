"""A study as one HTML page that needs no other file."""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import is_dataclass
from html import escape
from typing import Any

from .._files import Place, write_whole
from ..options import PAPER, Recipe
from .plots import heading, network_figures
from .records import Settings, Study
from .table import caption, table, verdict

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #222; --paper: #fff; --faint: #555; --line: #ddd; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink);
       background: var(--paper); overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; overflow-wrap: normal; }}
th, td {{ text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); }}
.numbers td {{ white-space: nowrap; }}
.wide {{ overflow-x: auto; }}
figure {{ margin: 0; }}
.panels {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
.panels img {{ flex: 1 1 18rem; min-width: 0; max-width: 100%; }}
pre {{ white-space: pre-wrap; }}
pre, small, figcaption {{ color: var(--faint); }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #ddd; --paper: #111; --faint: #aaa; --line: #444; }}
  img {{ filter: invert(1) hue-rotate(180deg); }} /* black turns white, and colours stay what they are */
}}
</style>
<h1>{title}</h1>
{verdict}
<div class="wide numbers" tabindex="0">{results}</div>
<p><small>{caption}</small></p>
{pictures}
<h2>Choices</h2>
<p>The method and the experiment are those of Ying et al., <i>Enhancing deep neural network training efficiency and
performance through linear prediction</i>, Scientific Reports 14, 15197 (2024),
<a href="https://doi.org/10.1038/s41598-024-65691-0">doi 10.1038/s41598-024-65691-0</a>, as far as they are known.</p>
<div class="wide" tabindex="0">{choices}</div>
<h2>Methods</h2>
<div class="wide" tabindex="0">{methods}</div>
<h2>Runs</h2>
<div class="wide" tabindex="0">{runs}</div>
<h2>Machine</h2>
<pre>{builds}</pre>
</html>
"""

OURS = "our choice; the paper's is not known"


def write_report(study: Study, path: Place) -> None:
    """See :meth:`plp.Study.report`."""
    page = _PAGE.format(
        title=escape(f"{', '.join(study.networks)}: {', '.join(study.methods)}"),
        verdict="".join(f"<p>{escape(sentence)}</p>" for sentence in verdict(study)),
        results=_table(table(study)),
        caption=escape(caption(study)),
        pictures="".join(_pictures(study, network) for network in study.networks),
        choices=_table([["what", "here", "source"], *choices(study)]),
        methods=_table([["method", "what it changes"], *_changes(study)]),
        runs=_table(_runs(study)),
        builds=escape(_builds(study)),
    )
    write_whole(path, page.encode())


def _pictures(study: Study, network: str) -> str:
    """The panels of a network, side by side or below each other as the window has room, and what they show."""
    images = []
    for figure in network_figures(study, network):
        drawing = io.BytesIO()
        figure.savefig(drawing, format="svg", transparent=True)
        data = b64encode(drawing.getvalue()).decode()
        shows = escape(f"{figure.axes[0].get_ylabel()} by epoch".replace(r"\$", "$"))
        images.append(f'<img src="data:image/svg+xml;base64,{data}" alt="{shows}">')
    caption = escape(heading(study, network))
    return f'<figure><div class="panels">{"".join(images)}</div><figcaption>{caption}</figcaption></figure>'


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
                _without(recipe.optimizer, "lr", "demon"),
                _without(PAPER.optimizer, "lr", "demon"),
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
        [
            "batch-norm statistics at a prediction",
            "kept, unless the method says otherwise; of an average they fit it",
            OURS,
        ],
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
