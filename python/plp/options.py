"""What a run is made of: optimizer, predictor, augmentation, and a recipe that holds them together.

All are frozen dataclasses: they compare by value, print as the code that makes them, and change by
``dataclasses.replace``. Ranges are checked by the library when a trainer is made, with a ValueError that names the
value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import inf
from typing import Any, ClassVar, Literal

from . import _plp
from ._checks import checked_integer, checked_numbers, checked_type
from .schedules import SCHEDULES, Constant, Cosine, Cyclic, Schedule


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with PyTorch's update: g += weight_decay θ; v = momentum v + g; θ -= lr v.

    With ``nesterov``, θ -= lr (g + momentum v). The defaults are the paper's.

    Args:
        lr: the learning rate, before the schedule's factor; 0 to 1000.
        momentum: at least 0 and below 1.
        weight_decay: 0 to 1000.
        nesterov: needs a momentum above 0.
    """

    lr: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 1e-4
    nesterov: bool = False

    def _fields(self) -> dict[str, Any]:
        return {
            "optimizer": _plp.OPTIMIZER_SGD,
            "learning_rate": self.lr,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "nesterov": self.nesterov,
        }


@dataclass(frozen=True)
class DEMON(SGD):
    """SGD whose momentum decays to 0 over the run (arXiv 1910.04952).

    At iteration t of T: β_t = β (1 - t/T) / ((1 - β) + β (1 - t/T)), with β = ``momentum``.
    """

    def _fields(self) -> dict[str, Any]:
        return {**super()._fields(), "optimizer": _plp.OPTIMIZER_DEMON}


class _Options:
    """Options under the names that they have in the library; None stands for what it chooses itself."""

    _KIND: ClassVar[int]

    def _fields(self) -> dict[str, Any]:
        own = {field.name: self._carried(field.name, getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]
        return {"kind": self._KIND, **{name: value for name, value in own.items() if value is not None}}

    def _carried(self, name: str, value: Any) -> Any:
        return value


class _Predictor(_Options):
    _CHOICES: ClassVar[dict[str, dict[str, int]]] = {
        "momentum": {"kept": _plp.MOMENTUM_KEPT, "reset": _plp.MOMENTUM_RESET},
        "statistics": {"kept": _plp.STATISTICS_KEPT, "predicted": _plp.STATISTICS_PREDICTED},
    }

    def _carried(self, name: str, value: Any) -> Any:
        if name in self._CHOICES:
            return _choice(name, value, self._CHOICES[name])
        return checked_integer(name, value, least=1) if name == "period" and value is not None else value


@dataclass(frozen=True)
class PLP(_Predictor):
    """Parameter linear prediction (Ying et al., doi 10.1038/s41598-024-65691-0). ``PLP()`` is the paper's.

    After every third iteration the latest three iterates θ1, θ2, θ3 give way to their prediction
    θ' = θ3 + ½ (θ2 - θ1): from the midpoint of θ2 and θ3 one step along the slope between the two midpoints.

    Args:
        step: how far ahead, in steps between midpoints: coefficients (-h/2, ½, (1 + h)/2). 0 only averages θ2 and θ3.
        coefficients: 2 to 1000 others, oldest iterate first, in place of those that ``step`` gives.
        period: iterations from one prediction to the next, not fewer than coefficients; None for as many.
        start, end: the first iteration it sees, and the first it no longer does; None for never.
        momentum: what happens to the optimizer's momentum at a prediction: ``"kept"`` or ``"reset"``.
        statistics: what happens to batch norm's running statistics: ``"kept"``, or ``"predicted"`` like the parameters.
    """

    _KIND: ClassVar[int] = _plp.PREDICTOR_PLP

    step: float = 1.0
    coefficients: tuple[float, ...] | None = None
    period: int | None = None
    start: int = 0
    end: int | None = None
    momentum: Literal["kept", "reset"] = "kept"
    statistics: Literal["kept", "predicted"] = "kept"

    def __post_init__(self) -> None:
        if self.coefficients is not None and self.step != 1:
            raise ValueError("step chooses the paper's coefficients: give either step or coefficients, not both")

    def _carried(self, name: str, value: Any) -> Any:
        if name == "coefficients" and value is not None:
            return checked_numbers(name, value)
        return super()._carried(name, value)


@dataclass(frozen=True)
class Lookahead(_Predictor):
    """Every ``period`` iterations the slow parameters go the fraction ``rate`` of the way to the fast ones, which then
    start again from there: φ += rate (θ - φ); θ = φ (arXiv 1907.08610).

    Args:
        period: iterations, 1 or more.
        rate: 0 to 1.
        momentum, statistics: as for :class:`PLP`.
    """

    _KIND: ClassVar[int] = _plp.PREDICTOR_LOOKAHEAD

    period: int = 5
    rate: float = 0.5
    momentum: Literal["kept", "reset"] = "kept"
    statistics: Literal["kept", "predicted"] = "kept"


@dataclass(frozen=True)
class EMA(_Predictor):
    """Evaluates an exponential moving average of the parameters, m = decay m + (1 - decay) θ; θ is trained on.

    Args:
        decay: at least 0 and below 1.
        statistics: the running statistics that the average is evaluated with: the ``"kept"`` ones of the run, or
            ``"predicted"``, their average.
    """

    _KIND: ClassVar[int] = _plp.PREDICTOR_EMA

    decay: float = 0.999
    statistics: Literal["kept", "predicted"] = "kept"


Optimizer = SGD | DEMON
Predictor = PLP | Lookahead | EMA


@dataclass(frozen=True)
class Augmentation:
    """Random changes to every training image, drawn anew in each epoch.

    Args:
        crop: pixels of zero padding on every side before a random crop to the old size; 0 (none) to 96.
        flip: mirror every other image, at random.
        rotation: up to so many degrees either way; 0 (none) to 180.
    """

    crop: int = 4
    flip: bool = True
    rotation: float = 0.0

    @classmethod
    def none(cls) -> Augmentation:
        """Images as they are."""
        return cls(crop=0, flip=False)

    def _fields(self) -> dict[str, Any]:
        return {"crop": self.crop, "flip": self.flip, "rotation": self.rotation}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All choices of a run but the network, the data and the seed: ``Trainer(model, **vars(recipe))``.

    Raises:
        ValueError: an option is of another kind than its name says.
    """

    optimizer: Optimizer = SGD()
    predictor: Predictor | None = None
    schedule: Schedule = Constant()
    batch_size: int = 128
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        checked_type("optimizer", self.optimizer, SGD, DEMON)
        checked_type("predictor", self.predictor, PLP, Lookahead, EMA, type(None))
        checked_type("schedule", self.schedule, *SCHEDULES)
        checked_type("augmentation", self.augmentation, Augmentation)

    def scaled(self, factor: float) -> Recipe:
        """The same with ``factor`` times the learning rate."""
        return replace(self, optimizer=replace(self.optimizer, lr=self.optimizer.lr * factor))

    def _fields(self) -> dict[str, Any]:
        result = {"batch_size": self.batch_size}
        for part in (self.optimizer, self.schedule, self.augmentation):
            result |= part._fields()
        return result


PAPER = Recipe(schedule=Cyclic())
"""The paper's performance runs: SGD, momentum 0.9, weight decay 1e-4, learning rate cyclic between 0.001 and 0.002."""

QUICK = Recipe(optimizer=SGD(lr=0.05, weight_decay=5e-4), schedule=Cosine())
"""Learns much in few epochs: learning rate 0.05 down to 0 along a cosine, weight decay 5e-4."""

RECIPES = {"paper": PAPER, "quick": QUICK}

METHODS: dict[str, tuple[type[Optimizer], Predictor | None]] = {
    "sgd": (SGD, None),
    "demon": (DEMON, None),
    "plp": (SGD, PLP()),
    "lookahead": (SGD, Lookahead()),
    "ema": (SGD, EMA()),
}


def by_name(method: str, recipe: Recipe) -> Recipe:
    """What a method's name makes of a recipe: ``"plp"``, or with a factor on the learning rate, ``"sgd*7/6"``.

    Kind of optimizer and predictor are the name's, all else is the recipe's.

    Raises:
        ValueError: there is no such method, or the factor is not a number above 0.
    """
    if not isinstance(method, str):
        raise ValueError(f"a method is {method!r:.60}, expected a name such as 'plp'")
    base, star, factor = method.partition("*")
    if base not in METHODS:
        raise ValueError(f"there is no method {method!r}, expected one of {', '.join(METHODS)}")
    optimizer, predictor = METHODS[base]
    own = replace(recipe, optimizer=optimizer(**vars(recipe.optimizer)), predictor=predictor)
    return own.scaled(_factor(method, factor)) if star else own


def _factor(method: str, text: str) -> float:
    above, slash, below = text.partition("/")
    try:
        factor = float(above) / (float(below) if slash else 1)
    except (ValueError, ZeroDivisionError):
        factor = 0.0
    if not 0 < factor < inf:
        raise ValueError(f"method {method!r} has the factor {text!r}, expected a number above 0 such as 7/6")
    return factor


def _choice(name: str, value: str, choices: Mapping[str, int]) -> int:
    """The library's number of a named choice."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected {' or '.join(map(repr, choices))}")
    return choices[value]
