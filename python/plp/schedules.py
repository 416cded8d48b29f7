"""How the learning rate moves during a run: factors on the optimizer's ``lr``."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Constant:
    """The optimizer's learning rate, throughout."""

    def _fields(self) -> dict[str, Any]:
        return {"schedule": 0}


@dataclass(frozen=True)
class Cyclic:
    """Triangular: factors from 1 to ``peak`` in ``up`` iterations, and back in ``down``, over and over.

    The defaults are the paper's ratio (0.001 to 0.002) and PyTorch's length.
    """

    peak: float = 2.0
    up: int = 2000
    down: int = 2000

    def _fields(self) -> dict[str, Any]:
        return {"schedule": 1, "cyclic_peak": self.peak, "cyclic_up": self.up, "cyclic_down": self.down}


@dataclass(frozen=True)
class MultiStep:
    """Times ``factor`` at each of the rising epochs ``milestones``, counted from 0 as in PyTorch."""

    milestones: tuple[int, ...]
    factor: float = 0.2

    def _fields(self) -> dict[str, Any]:
        return {"schedule": 2, "milestones": array("q", self.milestones), "step_factor": self.factor}


@dataclass(frozen=True)
class Cosine:
    """Half a cosine over the whole run, from a factor of 1 down to ``floor``."""

    floor: float = 0.0

    def _fields(self) -> dict[str, Any]:
        return {"schedule": 3, "cosine_floor": self.floor}


@dataclass(frozen=True)
class Warmup:
    """A linear rise from 0 over ``epochs`` in front of another schedule."""

    schedule: Constant | Cyclic | MultiStep | Cosine = Constant()
    epochs: float = 1.0

    def _fields(self) -> dict[str, Any]:
        return {**self.schedule._fields(), "warmup_epochs": self.epochs}


Schedule = Constant | Cyclic | MultiStep | Cosine | Warmup
