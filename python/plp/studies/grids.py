"""How much depends on options: methods for every combination of some, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from math import prod
from typing import Any

from .._checks import checked_type, did_you_mean, in_brief
from ..options import OPTIMIZERS, PREDICTORS, Predictor, Recipe
from .records import Answer, Study


def grid(predictor: Predictor | None = None, **options: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Methods for :func:`plp.compare`: every combination of some options, and a baseline for each::

        plp.compare(methods=plp.grid(plp.PLP(), step=[0, 0.5, 1, 2], period=[3, 5, 10]), …)
        plp.compare(methods=plp.grid(plp.PLP(), lr=[0.01, 0.02, 0.05, 0.1]), recipe=plp.QUICK, …)

    Methods are named by their options: ``"plp step=0.5 period=3"``. A method is held against the baseline with the same
    options but for prediction: ``"baseline"``, ``"baseline lr=0.02"``.

    Args:
        predictor: what the options are of, or what is held against the baselines; None for the baselines alone.
        options: values of options: the predictor's, a recipe's (``batch_size``, ``schedule``, …), or its optimizer's
            (``lr``, ``momentum``, ``weight_decay``, …). ``momentum`` is the optimizer's where its values are numbers.

    Raises:
        ValueError: there is no such option, or no values, or one twice.
    """
    checked_type("predictor", predictor, *PREDICTORS, type(None))
    own = [f.name for f in fields(predictor)] if predictor else []
    shared = [f.name for cls in (Recipe, *OPTIMIZERS) for f in fields(cls)]
    shared = [name for name in shared if name not in ("optimizer", "predictor")]
    for name, values in options.items():
        if name not in (*own, *shared):
            raise ValueError(f"there is no option {name!r}{did_you_mean(name, [*own, *shared])}")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(f"{name} is {in_brief(values)}, expected a list of values")
        if len(set(map(_shown, values))) < len(values):
            raise ValueError(f"{name} is {in_brief(values)}, which has a value twice")

    def is_own(name: str) -> bool:
        return name in own and (name not in shared or isinstance(options[name][0], str))

    methods: dict[str, dict[str, Any]] = {}
    combinations = [dict(zip(options, values)) for values in product(*options.values())]
    for chosen in combinations:
        common = {name: value for name, value in chosen.items() if not is_own(name)}
        methods[_name("baseline", common)] = {**common, "predictor": None}
    for chosen in combinations:
        if predictor is None:
            break
        common = {name: value for name, value in chosen.items() if not is_own(name)}
        changed = replace(predictor, **{name: value for name, value in chosen.items() if is_own(name)})
        methods[_name(type(predictor).__name__.lower(), chosen)] = {**common, "predictor": changed}
    return methods


def _name(kind: str, chosen: dict[str, Any]) -> str:
    return " ".join([kind, *(f"{name}={_shown(value)}" for name, value in chosen.items())])


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Grid:
    """Methods that differ in some options only, all combinations of them, as a table: two options, or sets of them."""

    down: str
    rows: list[str]
    across: str
    columns: list[str]
    methods: dict[tuple[str, str], str]

    def answers(self, answers: Sequence[Answer]) -> dict[tuple[str, str], Answer]:
        """For each place in the table, of one network's answers that of its method."""
        found: dict[str, Answer] = {}
        for answer in answers:
            found.setdefault(answer.method, answer)
        return {place: found[method] for place, method in self.methods.items() if method in found}


def grid_of(study: Study) -> Grid | None:
    """The methods of a study that are a grid: of the predictor with most methods, or else those without one."""
    kinds: dict[type, dict[str, dict[str, str]]] = {}
    for method, recipe in study.methods.items():
        kinds.setdefault(type(recipe.predictor), {})[method] = _options(recipe)
    grids = [found for kind, methods in kinds.items() if kind is not type(None) and (found := _arranged(methods))]
    if grids:
        return max(grids, key=lambda found: len(found.methods))
    return _arranged(kinds.get(type(None), {}))


def _arranged(methods: dict[str, dict[str, str]]) -> Grid | None:
    """Methods as a table of the options in which they differ; None where they are no grid."""
    names = dict.fromkeys(name for options in methods.values() for name in options)
    values = {name: list(dict.fromkeys(options.get(name, "") for options in methods.values())) for name in names}
    varied = [name for name in names if len(values[name]) > 1]
    if len(methods) < 3 or prod(len(values[name]) for name in varied) != len(methods):
        return None
    *down, across = varied
    places = {
        (", ".join(options.get(name, "") for name in down), options.get(across, "")): method
        for method, options in methods.items()
    }
    return Grid(", ".join(down), list(dict.fromkeys(row for row, _ in places)), across, values[across], places)


def _options(recipe: Recipe) -> dict[str, str]:
    """All options of a recipe by name, as they are shown; a predictor's where an optimizer has one of that name too."""
    parts = {name: value for name, value in vars(recipe).items() if name not in ("optimizer", "predictor")}
    optimizer = {"optimizer": type(recipe.optimizer).__name__, **vars(recipe.optimizer)}
    predictor = vars(recipe.predictor) if recipe.predictor else {}
    own = {f"predictor's {name}" if name in optimizer else name: value for name, value in predictor.items()}
    return {name: _shown(value) for name, value in {**own, **optimizer, **parts}.items()}
