"""A study as one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from datetime import datetime, timedelta
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from vl_convert import javascript_bundle

from .._files import Place, write_whole
from .._html import html_table
from .._progress import duration
from ..options import PAPER, Recipe
from .charts import looks, movement_charts, network_charts, vega_lite
from .curves import movements
from .records import Run, Settings, Study
from .table import answer_table, caption, table, verdict

OURS = "our choice; the paper's is not known"


def write_report(study: Study, path: Place) -> None:
    """See :meth:`plp.Study.report`."""

    def region(name: str, rows: list[list[str]], kind: str = "") -> Markup:
        """A table that scrolls by itself, by keys too, where it is wider than the page."""
        opening = Markup('<div class="wide {}" role="region" aria-label="{}" tabindex="0">').format(kind, name)
        return opening + Markup(html_table(rows)) + Markup("</div>")

    names = ", ".join(study.methods)
    networks = [
        (
            network,
            network_charts(study, network),
            movement_charts(study, found) if (found := movements(study, network)) else [],
        )
        for network in study.networks
    ]
    sections = [(f"network-{index}", network) for index, network in enumerate(study.networks, 1)]
    sections = [("verdict", "verdict"), *sections, ("answers", "all answers"), ("runs", "runs")]
    page = Environment(
        loader=PackageLoader("plp.studies", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("report.html.jinja")
    text = page.render(
        title=f"{', '.join(study.networks)}: {names if len(names) < 80 else f'{len(study.methods)} methods'}",
        sections=[*sections, ("choices", "choices"), ("made", "how it was made")],
        region=region,
        verdict=verdict(study),
        results=table(study),
        caption=caption(study),
        networks=networks,
        width=study.settings.width,
        looks=looks(study),
        answers=answer_table(study.answers()),
        chosen_epoch=study.chosen_epoch,
        runs=_runs(study),
        choices=[["what", "here", "source"], *choices(study)],
        methods=[["method", "what it changes"], *_changes(study)],
        made=_when(study.runs),
        makers=_makers(study),
        builds=_builds(study),
        library=Markup(
            javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=vega_lite()).replace("</script", "<\\/script")
        ),
    )
    write_whole(path, text.encode())


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
    rows = [["network", "method", "seed", "best epoch", "accuracy %", "top-5 error", "last %", "images/s", ""]]
    for run in study.runs:
        outcome = run.outcome
        numbers = [f"{100 * outcome.accuracy:.2f}", f"{outcome.top5_error:.4f}"] if outcome else ["", ""]
        numbers.append(f"{100 * run.last.accuracy:.2f}" if run.last else "")
        rows.append(
            [run.network, run.method, str(run.seed), str(run.history.best_epoch or "")]
            + numbers
            + [f"{run.history.images_per_second:,.0f}", run.failure or ""]
        )
    return rows


def _makers(study: Study) -> list[tuple[str, list[str]]]:
    """The commands that made runs, and for each what else is known of that: the machine, versions, and when it was."""
    makers: dict[tuple[str, ...], list[Run]] = {}
    for run in study.runs:
        versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
        made = run.command, ", ".join(filter(None, (run.host, run.processor))), versions
        makers.setdefault(made, []).append(run)
    several = len(makers) > 1
    return [
        (command or "by a command that is not recorded", [*filter(None, known), *[_when(runs)] * several])
        for (command, *known), runs in makers.items()
        if command or any(known)
    ]


def _when(runs: Sequence[Run]) -> str:
    """How many runs, from when to when, and how long they took; files of early versions have no more than the last."""
    training = f"{duration(sum(epoch.seconds for run in runs for epoch in run.history))} of training"
    number = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    begun = [(datetime.fromisoformat(run.started).astimezone(), run) for run in runs if run.started]
    if not begun:
        return f"{number}, {training}"
    first, last = min(start for start, _ in begun), max(start + timedelta(seconds=run.seconds) for start, run in begun)
    between = f"from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}, {duration((last - first).total_seconds())}"
    return f"{number}, {between}; {duration(sum(run.seconds for run in runs))} of runs, {training}"


def _builds(study: Study) -> str:
    """What made the runs; which of them, where it was not always the same."""
    runs: dict[str, list[str]] = {}
    for run in study.runs:
        runs.setdefault(run.build or "not recorded", []).append(run.name)
    if len(runs) == 1:
        return next(iter(runs))
    return "\n\n".join(f"{', '.join(names)}:\n{build}" for build, names in runs.items())
