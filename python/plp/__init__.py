"""Train image classifiers on a CPU, with and without parameter linear prediction.

    import plp

    train, test = plp.datasets.cifar100("data")
    model = plp.Model("resnet18", width=0.25)
    trainer = plp.Trainer(model, optimizer=plp.SGD(lr=0.05), predictor=plp.PLP(), schedule=plp.schedules.Cosine())
    history = trainer.fit(train, validation=0.2, test=test, epochs=10)
    print(history)

Errors are Python's own (ValueError, FileNotFoundError, MemoryError, OSError), and :class:`plp.Error` for the rest: a
damaged file, a loss that is no longer finite. The interpreter's lock is released while the library computes.
"""

from importlib import import_module
from typing import Any

from . import datasets, schedules
from ._plp import Error, build_info
from ._plp import version as __version__
from .callbacks import EarlyStopping, TensorBoard
from .model import Model
from .options import EMA, PAPER, PLP, QUICK, SGD, STRONG, SWA, AdamW, Augmentation, Lookahead, Recipe, Watch
from .prediction import Prediction, predict
from .profile import Profile, Timing
from .records import Epoch, History, Metrics, Progress
from .studies import Answer, Run, Settings, Study, Task, compare, engine, grid, merge, stop
from .training import Trainer
from .watched import Watched

__all__ = [
    "EMA",
    "PAPER",
    "PLP",
    "QUICK",
    "SGD",
    "STRONG",
    "SWA",
    "AdamW",
    "Answer",
    "Augmentation",
    "EarlyStopping",
    "Epoch",
    "Error",
    "History",
    "Lookahead",
    "Metrics",
    "Model",
    "Prediction",
    "Profile",
    "Progress",
    "Recipe",
    "Run",
    "Settings",
    "Study",
    "Task",
    "TensorBoard",
    "Timing",
    "Trainer",
    "Watch",
    "Watched",
    "__version__",
    "build_info",
    "compare",
    "datasets",
    "engine",
    "grid",
    "merge",
    "predict",
    "schedules",
    "stop",
]


def __dir__() -> list[str]:
    return [*__all__, "torch"]


def __getattr__(name: str) -> Any:
    if name == "torch":  # loads PyTorch, which takes its time
        return import_module(".torch", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
