# The extension module, for type checkers: plp.h's functions, whose comments say what they do.
from array import array
from collections.abc import Callable
from os import PathLike
from typing import Any, TypeAlias

from numpy.typing import NDArray

_Array: TypeAlias = NDArray[Any]
_Handle: TypeAlias = object  # a capsule
_Options: TypeAlias = dict[str, Any]  # by the names of a struct's fields
_Path: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes]
_Metrics: TypeAlias = tuple[float, float, float]  # loss, top-1 error, top-5 error
# epoch, whether it is complete, iterations, predictions, learning rate, seconds, images/s, training, validation
_Epoch: TypeAlias = tuple[int, bool, int, int, float, float, float, _Metrics | None, _Metrics | None]

version: str

class Error(Exception): ...

def build_info() -> str: ...
def defaults(of: str, kind: int = ..., /) -> _Options: ...
def predict(vectors: tuple[_Array, ...], coefficients: array[float] | None, result: _Array, /) -> None: ...

# Datasets
def dataset_cifar10(folder: _Path, split: int, /) -> _Handle: ...
def dataset_cifar100(folder: _Path, split: int, labels: int, /) -> _Handle: ...
def dataset_synthetic(split: int, count: int, seed: int, /) -> _Handle: ...
def dataset_from_arrays(
    images: _Array, labels: _Array, count: int, size: int, classes: int, name: str | None, /
) -> _Handle: ...
def dataset_describe(dataset: _Handle, /) -> tuple[str, int, Any, Any, list[str] | None]: ...  # Any: read-only arrays

# Models
def model_create(options: _Options, /) -> _Handle: ...
def model_load(path: _Path, /) -> _Handle: ...
def model_save(model: _Handle, path: _Path, /) -> None: ...
def model_describe(model: _Handle, /) -> dict[str, Any]: ...
def model_get_state(model: _Handle, arrays: tuple[_Array, ...], /) -> None: ...
def model_set_state(model: _Handle, arrays: tuple[_Array, ...], /) -> None: ...
def model_logits(model: _Handle, images: _Array, dtype: int, count: int, threads: int, logits: _Array, /) -> None: ...
def model_evaluate(model: _Handle, dataset: _Handle, threads: int, /) -> _Metrics: ...

# Prediction
def predictor_action(
    options: _Options, iteration: int, /
) -> tuple[float, float, float, float, bool, bool, bool, bool]: ...
def predictor_create(options: _Options, parameters: _Array, /) -> _Handle: ...
def predictor_after_step(predictor: _Handle, parameters: _Array, /) -> bool: ...
def predictor_average(predictor: _Handle, out: _Array, /) -> None: ...
def predictor_state_size(predictor: _Handle, /) -> int: ...
def predictor_get_state(predictor: _Handle, state: _Array, /) -> None: ...
def predictor_set_state(predictor: _Handle, state: _Array, /) -> None: ...

# Training
def trainer_create(
    model: _Handle, optimizer: _Options, predictor: _Options | None, watch: _Options | None, options: _Options, /
) -> _Handle: ...
def trainer_fit(
    trainer: _Handle,
    train: _Handle,
    epochs: int,
    validation_fraction: float,
    validation: _Handle | None,
    test: _Handle | None,
    callback: Callable[..., Any],
    /,
) -> None: ...
def trainer_step(
    trainer: _Handle, images: _Array, dtype: int, labels: _Array, count: int, size: int, /
) -> _Metrics: ...
def trainer_gradients(
    trainer: _Handle, images: _Array, dtype: int, labels: _Array, count: int, size: int, gradients: _Array, /
) -> _Metrics: ...
def trainer_evaluate(trainer: _Handle, dataset: _Handle, /) -> _Metrics: ...
def trainer_best_model(trainer: _Handle, /) -> _Handle: ...
def trainer_history(trainer: _Handle, /) -> tuple[int, bool, str, _Metrics | None, list[_Epoch]]: ...
def trainer_profile(trainer: _Handle, /) -> list[tuple[str, str, float, int]]: ...
def trainer_watched(trainer: _Handle, /) -> tuple[int, int, int, int]: ...  # cycles, layers, iterations, samples
def trainer_records(
    trainer: _Handle, cycles: int, iterations: int, moves: _Array, numbers: _Array, trajectories: _Array, /
) -> tuple[int, int]: ...  # cycles, iterations
def trainer_save(trainer: _Handle, path: _Path, /) -> None: ...
def trainer_restore(trainer: _Handle, path: _Path, /) -> None: ...

# plp.h's enumerators
UINT8: int
FLOAT32: int
INT64: int
SPLIT_TRAIN: int
SPLIT_TEST: int
LABELS_FINE: int
LABELS_COARSE: int
ENTRY_PARAMETER: int
ENTRY_STATISTIC: int
ENTRY_COUNTER: int
OPTIMIZER_SGD: int
OPTIMIZER_ADAMW: int
SCHEDULE_CONSTANT: int
SCHEDULE_CYCLIC: int
SCHEDULE_MULTI_STEP: int
SCHEDULE_COSINE: int
PREDICTOR_PLP: int
PREDICTOR_LOOKAHEAD: int
PREDICTOR_EMA: int
PREDICTOR_SWA: int
MOMENTUM_KEPT: int
MOMENTUM_RESET: int
STATISTICS_KEPT: int
STATISTICS_PREDICTED: int
STATISTICS_RECOMPUTED: int
PHASE_STATISTICS: int
PHASE_TRAINING: int
PHASE_VALIDATION: int
PHASE_EPOCH_END: int
PHASE_TEST: int
