"""How the learning rate moves during a run: factors on the optimizer's ``lr``."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from . import _plp
from ._checks import checked_integer, checked_type, in_brief

__all__ = ["Constant", "Cosine", "Cyclic", "MultiStep", "Warmup"]


def __dir__() -> list[str]:
    return list(__all__)


@dataclass(frozen=True)
class Constant:
    """The optimizer's learning rate, throughout."""

    def _fields(self) -> dict[str, Any]:
        return {"schedule": _plp.SCHEDULE_CONSTANT}


@dataclass(frozen=True)
class Cyclic:
    """Triangular: factors from 1 to ``peak`` in ``up`` iterations, and back in ``down``, over and over.

    The defaults are the paper's ratio (0.001 to 0.002) and PyTorch's length.

    Args:
        peak: 0 to 1,000,000.
        up: iterations from 1 to it, 1 to 1,000,000,000.
        down: iterations back.
    """

    peak: float = 2.0
    up: int = 2000
    down: int = 2000

    def _fields(self) -> dict[str, Any]:
        return {
            "schedule": _plp.SCHEDULE_CYCLIC,
            "cyclic_peak": self.peak,
            "cyclic_up": self.up,
            "cyclic_down": self.down,
        }


@dataclass(frozen=True)
class MultiStep:
    """Times ``factor`` at each of the ``milestones``.

    Args:
        milestones: rising epochs, counted from 0 as in PyTorch.
        factor: 0 to 1000.
        total: where it is not 0, the milestones are those of a run of so many epochs, and lie as far into this one: of
            200, the milestones 60, 120, 160 are epochs 3, 6 and 8 in a run of 10.
    """

    milestones: Sequence[int]
    factor: float = 0.2
    total: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.milestones, Iterable):  # what stands for those that the command is yet to be given is not
            milestones = tuple(checked_integer("a milestone", milestone) for milestone in self.milestones)
            object.__setattr__(self, "milestones", milestones)

    def _fields(self) -> dict[str, Any]:
        if not isinstance(self.milestones, tuple):
            raise ValueError(f"milestones is {in_brief(self.milestones)}, expected whole numbers")
        return {
            "schedule": _plp.SCHEDULE_MULTI_STEP,
            "milestones": array("q", self.milestones),
            "milestone_total": checked_integer("the milestones' total", self.total, least=0),
            "step_factor": self.factor,
        }


@dataclass(frozen=True)
class Cosine:
    """Half a cosine over the whole run, from a factor of 1 down to another.

    Args:
        floor: that other, 0 to 1.
    """

    floor: float = 0.0

    def _fields(self) -> dict[str, Any]:
        return {"schedule": _plp.SCHEDULE_COSINE, "cosine_floor": self.floor}


@dataclass(frozen=True)
class Warmup:
    """A linear rise from 0 over ``epochs``, whole or not, in front of another schedule."""

    schedule: Constant | Cyclic | MultiStep | Cosine = Constant()
    epochs: float = 1.0

    def __post_init__(self) -> None:
        checked_type("Warmup's schedule", self.schedule, *SCHEDULES[:-1])

    def _fields(self) -> dict[str, Any]:
        return {**self.schedule._fields(), "warmup_epochs": self.epochs}


Schedule = Constant | Cyclic | MultiStep | Cosine | Warmup
SCHEDULES = (Constant, Cyclic, MultiStep, Cosine, Warmup)
