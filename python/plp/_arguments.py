"""The options that commands have beyond their own: the fields of the optimizers, predictors and schedules that are
chosen; and files of options.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, make_dataclass, replace
from functools import partial
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import tyro
from docstring_parser import parse
from tyro.conf import arg, subcommand
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from . import schedules
from .options import OPTIMIZERS, PLP, PREDICTORS, RECIPES, SGD, Augmentation, by_name
from .schedules import Constant, Cosine, Cyclic, MultiStep, Warmup

SCHEDULES = {
    "constant": Constant(),
    "cyclic": Cyclic(),
    "multistep": MultiStep(tyro.MISSING),
    "cosine": Cosine(),
}
"""By their names here; with these options, where the recipe has another one."""

NAMED = ("demon",)
"""Options that are none here, since names of methods stand for them."""

REGISTRY = ConstructorRegistry()
"""How the parser is to take options."""


@dataclass(frozen=True)
class Choice:
    """What decides which options there are, and their defaults; and options that the parser would not tell of well."""

    recipe: str | None = None
    schedule: str | None = None
    method: str = "plp"
    methods: str | None = None
    quick: bool = False
    source: Annotated[str | None, arg(name="from")] = None
    step: Annotated[float, arg(name="plp.step")] = 1.0
    coefficients: Annotated[tuple[float, ...] | None, arg(name="plp.coefficients")] = None

    def check(self) -> None:
        """
        Raises:
            ValueError: options contradict.
        """
        try:
            PLP(step=self.step, coefficients=self.coefficients)
        except ValueError as error:
            raise ValueError(f"--plp.step, --plp.coefficients: {error}") from None

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Choice:
        arguments = [argument for argument in arguments if not argument.startswith("--tyro-")]  # which asks for output
        try:
            return tyro.cli(cls, args=arguments, return_unknown_args=True, add_help=False, console_outputs=False)[0]
        except SystemExit:  # what is wrong is told when all is parsed
            return cls()


def with_options(command: type[Any], choice: Choice, methods: Sequence[str], defaults: dict[str, Any]) -> Any:
    """A command that has the options of these methods, and of the recipe's schedule or the chosen one, too."""
    name = choice.recipe if choice.recipe in RECIPES else defaults["recipe"]
    recipe = RECIPES[name]
    options: dict[str, Any] = {}
    for method in methods:
        with suppress(ValueError):  # which is told when the command runs
            own = by_name(method.strip().partition("*")[0], recipe)
            optimizer = replace(own.optimizer, demon=False) if isinstance(own.optimizer, SGD) else own.optimizer
            options[name_of(optimizer)] = optimizer
            if own.predictor:
                options[name_of(own.predictor)] = own.predictor
    behind: Any = recipe.schedule
    warmup = 0.0
    if isinstance(behind, Warmup):
        behind, warmup = behind.schedule, behind.epochs
    schedule = choice.schedule if choice.schedule in SCHEDULES else name_of(behind)
    options[schedule] = behind if schedule == name_of(behind) else SCHEDULES[schedule]
    options["augmentation"] = recipe.augmentation
    kinds = [(name, Annotated[type(value), arg(help=_about(type(value)))]) for name, value in options.items()]
    parts = make_dataclass("Options", kinds, frozen=True)
    whole = make_dataclass(
        command.__name__, [("options", Annotated[parts, arg(name="")])], bases=(command,), frozen=True, kw_only=True
    )
    whole.__doc__ = command.__doc__
    of_recipe = {"recipe": name, "batch_size": recipe.batch_size, "schedule": schedule, "warmup": warmup}
    return Annotated[
        whole,
        subcommand(
            command.__name__.lower(), default=whole(**defaults | of_recipe, options=parts(**options)), prefix_name=False
        ),
    ]


@REGISTRY.struct_rule
def _options(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Those of optimizers and the like: with helps from their docstrings, in plain text."""
    if info.type not in (*OPTIMIZERS, *PREDICTORS, *schedules.SCHEDULES, Augmentation):
        return None
    helps = {param.arg_name: _in_words(param.description or "") for param in parse(info.type.__doc__).params}
    return StructConstructorSpec(
        instantiate=partial(replace, info.default),
        fields=tuple(
            StructFieldSpec(name, _with_metavar(kind), getattr(info.default, name), helps[name].rstrip("."))
            for name, kind in ((part.name, get_type_hints(info.type)[part.name]) for part in fields(info.type))
            if name not in NAMED
        ),
    )


def _about(kind: type) -> str:
    """What a class's docstring says in front of its arguments."""
    return _in_words((inspect.getdoc(kind) or "").partition("\n\nArgs:")[0])


def _with_metavar(kind: Any) -> Any:
    """A type whose values are told of by what they may be, besides None."""
    if NoneType not in get_args(kind):
        return kind
    (inner,) = (part for part in get_args(kind) if part is not NoneType)
    numbers = get_args(inner)
    return Annotated[kind, arg(metavar=f"{numbers[0].__name__.upper()} …" if numbers else inner.__name__.upper())]


def _in_words(text: str) -> str:
    """A docstring, or a part of one, without its markup."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text)
    text = re.sub(r"``([^`]*)``", lambda code: code[1] if code[1].startswith('"') else f"`{code[1]}`", text)
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def name_of(options: Any) -> str:
    return type(options).__name__.lower()


def with_file(arguments: Sequence[str]) -> list[str]:
    """The arguments, those in front that a TOML file names, if a command is followed by one."""
    if len(arguments) < 2 or not arguments[1].endswith(".toml"):
        return list(arguments)
    command, path, *others = arguments
    with open(path, "rb") as file:
        try:
            content = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: {error}") from None
    networks = [str(value) for name in ("network", "networks") for value in _listed(content.pop(name, []))]
    first = next((index for index, argument in enumerate(others) if argument.startswith("-")), len(others))
    given: list[str] = []
    for name, value in content.items():
        part = value if isinstance(value, dict) else {None: value}
        for option, setting in part.items():
            given += _flag(name, option, setting)
    return [command, *(others[:first] or networks), *given, *others[first:]]


def _flag(name: str, option: str | None, value: Any) -> list[str]:
    prefix, last = (f"--{name}.", option) if option else ("--", name)
    if isinstance(value, bool):
        return [f"{prefix}{last}"] if value else [f"{prefix}no-{last}"] if option else []
    if name == "methods":
        value = ",".join(_listed(value))
    return [f"{prefix}{last}", *map(str, _listed(value))]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
