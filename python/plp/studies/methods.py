"""What a study's methods are: a recipe for each, by names or by what they change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .._checks import did_you_mean, in_brief
from ..options import Recipe, by_name
from .records import checked_name

Methods = str | Sequence[str] | Mapping[str, Recipe | Mapping[str, Any]]


def recipes_of(methods: Methods, recipe: Recipe) -> dict[str, Recipe]:
    """Every method's own recipe, by name."""
    if isinstance(methods, Mapping):
        if not methods:
            raise ValueError("methods is {}, expected at least one")
        recipes = {checked_name(name): _changed(name, recipe, own) for name, own in methods.items()}
    else:
        recipes = {name: by_name(name, recipe) for name in names_of("methods", methods, " or a dict")}
    return recipes


def names_of(what: str, names: str | Iterable[str], otherwise: str = "") -> list[str]:
    """One name, or several, each once."""
    several = [names] if isinstance(names, str) else list(dict.fromkeys(names)) if isinstance(names, Iterable) else []
    if not several:
        raise ValueError(f"{what} is {in_brief(names)}, expected a list of names{otherwise}")
    return several


def _changed(name: str, recipe: Recipe, own: Recipe | Mapping[str, Any]) -> Recipe:
    """A recipe as the method of that name has it."""
    if isinstance(own, Recipe):
        return own
    if not isinstance(own, Mapping):
        raise ValueError(f"method {name!r} is {in_brief(own)}, expected a recipe or a dict of what it changes")
    changed = replace(recipe, **{part: value for part, value in own.items() if part in vars(recipe)})
    within = {option: value for option, value in own.items() if option not in vars(recipe)}
    options = vars(changed.optimizer)
    if unknown := [option for option in within if option not in options]:
        known = ", ".join([*vars(recipe), *options])
        near = did_you_mean(str(unknown[0]), [*vars(recipe), *options])
        raise ValueError(f"method {name!r} changes {unknown[0]!r:.40}, expected one of {known}{near}")
    return replace(changed, optimizer=replace(changed.optimizer, **within))
