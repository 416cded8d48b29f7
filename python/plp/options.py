"""What a run is made of: optimizer, predictor, augmentation, and a recipe that holds them together.

All are frozen dataclasses: they compare by value, print as the code that makes them, and change by
``dataclasses.replace``. Several numbers may come as any sequence or array, and become a tuple. Ranges are checked by
the library when a trainer is made, with a ValueError that names the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import inf
from numbers import Real
from typing import Any, ClassVar, Literal, get_args

from . import _plp
from ._checks import checked_integer, checked_numbers, checked_type, did_you_mean, in_brief
from .schedules import SCHEDULES, Constant, Cosine, Cyclic, MultiStep, Schedule, Warmup


class _Options:
    """Options under the names that they have in the library; None stands for what it chooses itself."""

    _KIND: ClassVar[int]
    _NAMES: ClassVar[dict[str, str]] = {}  #: in the library, where they differ

    def _fields(self) -> dict[str, Any]:
        own = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        carried = {self._NAMES.get(name, name): self._carried(name, value) for name, value in own.items()}
        return {"kind": self._KIND, **{name: value for name, value in carried.items() if value is not None}}

    def _carried(self, name: str, value: Any) -> Any:
        return value


class _Optimizer(_Options):
    _NAMES: ClassVar[dict[str, str]] = {"lr": "learning_rate", "eps": "epsilon"}


class _Predictor(_Options):
    _AVERAGES: ClassVar[bool] = False  #: whether its memory is what is evaluated
    _CHOICES: ClassVar[dict[str, dict[str, int]]] = {
        "momentum": {"kept": _plp.MOMENTUM_KEPT, "reset": _plp.MOMENTUM_RESET},
        "statistics": {
            "kept": _plp.STATISTICS_KEPT,
            "predicted": _plp.STATISTICS_PREDICTED,
            "recomputed": _plp.STATISTICS_RECOMPUTED,
        },
    }

    def _carried(self, name: str, value: Any) -> Any:
        if name in self._CHOICES:
            return _choice(name, value, self._CHOICES[name])
        return checked_integer(name, value, least=1) if name == "period" and value is not None else value


@dataclass(frozen=True)
class SGD(_Optimizer):
    """Stochastic gradient descent with PyTorch's update: g += weight_decay θ; v = momentum v + g; θ -= lr v.

    With ``nesterov``, θ -= lr (g + momentum v). ``SGD()`` is the paper's.

    Args:
        lr: the learning rate, before the schedule's factor; 0 to 1000.
        momentum: at least 0 and below 1.
        weight_decay: 0 to 1000.
        nesterov: needs a momentum above 0.
        demon: whether the momentum decays to 0 over the run (arXiv 1910.04952). At iteration t of T it is
            β (1 - t/T) / ((1 - β) + β (1 - t/T)), with β = ``momentum``.
    """

    _KIND: ClassVar[int] = _plp.OPTIMIZER_SGD

    lr: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 1e-4
    nesterov: bool = False
    demon: bool = False


@dataclass(frozen=True)
class AdamW(_Optimizer):
    """Adam with decoupled weight decay and PyTorch's update (arXiv 1711.05101): θ -= lr weight_decay θ;
    m = β1 m + (1 - β1) g; v = β2 v + (1 - β2) g²; θ -= lr m̂ / (√v̂ + eps), m̂ = m / (1 - β1^t) and v̂ likewise at step t.

    A predictor that resets the momentum resets m and its t; v stays. ``AdamW()`` is PyTorch's.

    Args:
        lr: the learning rate, before the schedule's factor; 0 to 1000.
        betas: β1 and β2, at least 0 and below 1.
        eps: above 0 and at most 1000. (With PyTorch's 0 a parameter whose gradient is 0 becomes NaN.)
        weight_decay: 0 to 1000.
    """

    _KIND: ClassVar[int] = _plp.OPTIMIZER_ADAMW

    lr: float = 0.001
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        betas = tuple(checked_numbers("betas", self.betas))
        if len(betas) != 2:
            raise ValueError(f"betas is {in_brief(self.betas)}, expected two numbers")
        object.__setattr__(self, "betas", betas)

    def _fields(self) -> dict[str, Any]:
        own = super()._fields()
        beta1, beta2 = own.pop("betas")
        return {**own, "beta1": beta1, "beta2": beta2}


@dataclass(frozen=True)
class PLP(_Predictor):
    """Parameter linear prediction (Ying et al., doi 10.1038/s41598-024-65691-0). ``PLP()`` is the paper's.

    After every third iteration the latest three iterates θ1, θ2, θ3 give way to their prediction
    θ' = θ3 + ½ (θ2 - θ1): from the midpoint of θ2 and θ3 one step along the slope between the two midpoints.

    Args:
        step: how far ahead, in steps between midpoints: coefficients (-h/2, ½, (1 + h)/2). 0 only averages θ2 and θ3.
        coefficients: 2 to 1000 others, oldest iterate first, in place of those that ``step`` gives.
        period: iterations from one prediction to the next, not fewer than coefficients; None for as many.
        start: the first iteration it sees.
        end: the first it no longer sees; None for never.
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
        if self.coefficients is not None:
            object.__setattr__(self, "coefficients", tuple(checked_numbers("coefficients", self.coefficients)))

    @property
    def _cycle(self) -> int:
        """Iterations from one prediction to the next."""
        return self.period or len(self.coefficients or (0, 0, 0))

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
        momentum: what happens to the optimizer's momentum, as for ``PLP``.
        statistics: what happens to batch norm's running statistics, as for ``PLP``.
    """

    _KIND: ClassVar[int] = _plp.PREDICTOR_LOOKAHEAD

    period: int = 5
    rate: float = 0.5
    momentum: Literal["kept", "reset"] = "kept"
    statistics: Literal["kept", "predicted"] = "kept"

    @property
    def _cycle(self) -> int:
        return self.period


@dataclass(frozen=True)
class EMA(_Predictor):
    """Evaluates an exponential moving average of the parameters, m = β m + (1 - β) θ; θ is trained on.

    Args:
        decay: β, at least 0 and below 1.
        warmup: whether β is min(decay, (1 + t) / (10 + t)) at iteration t, so that the average forgets the parameters
            from before the training sooner.
        statistics: the running statistics that the average is evaluated with: their own average (``"predicted"``),
            ``"recomputed"`` for it as with ``SWA``, or the run's (``"kept"``), which do not fit it.
    """

    _KIND: ClassVar[int] = _plp.PREDICTOR_EMA
    _AVERAGES: ClassVar[bool] = True

    decay: float = 0.999
    warmup: bool = True
    statistics: Literal["kept", "predicted", "recomputed"] = "predicted"


@dataclass(frozen=True)
class SWA(_Predictor):
    """Stochastic weight averaging (arXiv 1803.05407): from a start on, evaluates the mean of the parameters after every
    ``period`` iterations; they themselves are trained on.

    Args:
        start: the first iteration of the first period, counted from 0; or, above 0 and below 1, the fraction of the
            run that is over by then, where its length is known beforehand: in :func:`plp.compare` and ``plp train``.
            Until the first period is over, the parameters are evaluated.
        period: iterations, 1 or more; the paper's is an epoch's.
        statistics: the running statistics that the mean is evaluated with: their own mean (``"predicted"``); or that,
            but :meth:`plp.Trainer.fit` measures them anew on 5,000 training images at each epoch's end
            (``"recomputed"``); or the run's (``"kept"``), which do not fit it.
    """

    _KIND: ClassVar[int] = _plp.PREDICTOR_SWA
    _AVERAGES: ClassVar[bool] = True

    start: float = 0.75
    period: int = 1
    statistics: Literal["kept", "predicted", "recomputed"] = "recomputed"

    @property
    def _is_fraction(self) -> bool:
        return isinstance(self.start, Real) and 0 < self.start < 1

    def in_run(self, iterations: int) -> SWA:
        """The same in a run of so many iterations: with the first one where ``start`` is a fraction."""
        return replace(self, start=int(self.start * iterations)) if self._is_fraction else self

    def _carried(self, name: str, value: Any) -> Any:
        if name != "start":
            return super()._carried(name, value)
        if self._is_fraction:
            raise ValueError(
                f"start is {value} of a run, whose length is not known here: write plp.SWA({value}).in_run(iterations)"
            )
        return checked_integer(name, int(value) if isinstance(value, float) and value.is_integer() else value)


Optimizer = SGD | AdamW
Predictor = PLP | Lookahead | EMA | SWA
OPTIMIZERS: tuple[type[Optimizer], ...] = get_args(Optimizer)
PREDICTORS: tuple[type[Predictor], ...] = get_args(Predictor)


@dataclass(frozen=True)
class Watch:
    """Records how the parameters move, and takes no part in it: how far from a prediction they come.

    PLP predicts from a cycle's three iterates, which have the midpoints m12 and m23, where the next one, m34, will be.
    With a watch, a trainer records both moves of every layer: see :class:`plp.Watched`.

    Args:
        rule: what predicts; a PLP of three coefficients.
        samples: of each layer's parameters, how many are recorded themselves after every iteration; 0 to 1000.
    """

    rule: PLP = PLP()
    samples: int = 1

    def __post_init__(self) -> None:
        checked_type("rule", self.rule, PLP)


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
    watch: Watch | None = None

    def __post_init__(self) -> None:
        checked_type("optimizer", self.optimizer, *OPTIMIZERS)
        checked_type("predictor", self.predictor, *PREDICTORS, type(None))
        checked_type("schedule", self.schedule, *SCHEDULES)
        checked_type("augmentation", self.augmentation, Augmentation)
        checked_type("watch", self.watch, Watch, type(None))

    def scaled(self, factor: float) -> Recipe:
        """The same with ``factor`` times the learning rate."""
        return replace(self, optimizer=replace(self.optimizer, lr=self.optimizer.lr * factor))

    def in_run(self, iterations: int) -> Recipe:
        """The same in a run of so many iterations: see :meth:`SWA.in_run`."""
        predictor = self.predictor
        return replace(self, predictor=predictor.in_run(iterations)) if isinstance(predictor, SWA) else self

    def _fields(self) -> dict[str, Any]:
        result = {"batch_size": self.batch_size}
        for part in (self.schedule, self.augmentation):
            result |= part._fields()
        if self.watch:
            result["watch_samples"] = checked_integer("samples", self.watch.samples)
        return result


PAPER = Recipe(schedule=Cyclic())
"""The paper's performance runs: SGD, momentum 0.9, weight decay 1e-4, learning rate cyclic between 0.001 and 0.002."""

QUICK = Recipe(optimizer=SGD(lr=0.05, weight_decay=5e-4), schedule=Cosine())
"""Learns much in few epochs: learning rate 0.05 down to 0 along a cosine, weight decay 5e-4."""

STRONG = Recipe(
    optimizer=SGD(lr=0.1, weight_decay=5e-4),
    schedule=Warmup(MultiStep((60, 120, 160), total=200)),
    augmentation=Augmentation(rotation=15.0),
)
"""What people train CIFAR-100 with: learning rate 0.1, times 0.2 after 30, 60 and 80 % of the run, behind an epoch of
warm-up; weight decay 5e-4; rotation by up to 15 degrees. Of 200 epochs with it, the public trainer whose recipe and
networks these are (weiaicunzai/pytorch-cifar100) states 75.6 % for ResNet18, 72.9 % for VGG16, 78.0 % for GoogLeNet."""

RECIPES = {"paper": PAPER, "quick": QUICK, "strong": STRONG}

NAMED_OPTIMIZERS: dict[str, Optimizer] = {"sgd": SGD(), "demon": SGD(demon=True), "adamw": AdamW()}
NAMED_PREDICTORS: dict[str, Predictor] = {"plp": PLP(), "lookahead": Lookahead(), "ema": EMA(), "swa": SWA()}


def by_name(method: str, recipe: Recipe, lr: float | None = None) -> Recipe:
    """What a method's name makes of a recipe: an optimizer, a predictor, which is one with SGD, or both, and a factor
    on the learning rate: ``"adamw"``, ``"plp"``, ``"adamw+plp"``, ``"sgd*7/6"``.

    Kind of optimizer and predictor are the name's. An optimizer's options are the recipe's where its optimizer is of
    that kind, and else the defaults. All else is the recipe's. ``lr`` takes the place of the optimizer's own.

    Raises:
        ValueError: there is no such method, or the factor is not a number above 0.
    """
    if not isinstance(method, str):
        raise ValueError(f"a method is {in_brief(method)}, expected a name such as 'plp'")
    base, star, factor = method.partition("*")
    parts = base.split("+")
    if parts[0] in NAMED_PREDICTORS:
        parts.insert(0, "sgd")
    optimizer, predictor = NAMED_OPTIMIZERS.get(parts[0]), NAMED_PREDICTORS.get(parts[-1])
    if optimizer is None or len(parts) > 2 or (len(parts) == 2 and predictor is None):
        optimizers, predictors = ", ".join(NAMED_OPTIMIZERS), ", ".join(NAMED_PREDICTORS)
        both = (f"{optimizer}+{predictor}" for optimizer in NAMED_OPTIMIZERS for predictor in NAMED_PREDICTORS)
        near = did_you_mean(base, [*NAMED_OPTIMIZERS, *NAMED_PREDICTORS, *both])
        raise ValueError(
            f"there is no method {method!r}, expected {optimizers}, {predictors}, or one of each with a +{near}"
        )
    if isinstance(optimizer, SGD) and isinstance(recipe.optimizer, SGD):
        optimizer = replace(recipe.optimizer, demon=optimizer.demon)
    elif isinstance(recipe.optimizer, type(optimizer)):
        optimizer = recipe.optimizer
    if lr is not None:
        optimizer = replace(optimizer, lr=lr)
    own = replace(recipe, optimizer=optimizer, predictor=predictor)
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
        raise ValueError(f"{name} is {in_brief(value)}, expected {' or '.join(map(repr, choices))}")
    return choices[value]
