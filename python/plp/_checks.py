"""Arrays and numbers at the border: what the library takes on trust is checked here, with errors that name it."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _plp

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def as_array(name: str, value: Any) -> NDArray[Any]:
    """What NumPy makes of it, not copied where that is not needed. A tensor of PyTorch's may be on any device, need a
    gradient, and have a type that NumPy lacks (bfloat16), which then becomes float32.
    """
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
        try:
            return np.asarray(value)
        except TypeError:
            if not hasattr(value, "float"):
                raise
            return np.asarray(value.float())
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} is no array: {error}") from None


def checked_images(images: ArrayLike, size: int) -> tuple[NDArray[Any], int]:
    """Contiguous images, not copied where they are already, and their plp_dtype."""
    found = as_array("images", images)
    if found.dtype not in (np.uint8, np.float32) or found.shape[1:] != (3, size, size):
        raise ValueError(
            f"images are {found.dtype} {list(found.shape)}, expected uint8 or float32 [count, 3, {size}, {size}]"
        )
    return np.ascontiguousarray(found), _plp.UINT8 if found.dtype == np.uint8 else _plp.FLOAT32


def checked_labels(labels: ArrayLike, count: int) -> NDArray[np.int32]:
    """int32 labels, not copied where they are already. The library checks them against the number of classes."""
    found = as_array("labels", labels)
    if not np.issubdtype(found.dtype, np.integer) or found.shape != (count,):
        raise ValueError(
            f"labels are {found.dtype} {list(found.shape)}, expected integers [{count}], one for each image"
        )
    limits = np.iinfo(np.int32)
    if count and not (limits.min <= found.min() and found.max() <= limits.max):
        raise ValueError(f"labels range from {found.min()} to {found.max()}, expected 0 to the number of classes - 1")
    return np.ascontiguousarray(found, np.int32)


def checked_integer(name: str, value: object, least: int = -(2**63)) -> int:
    """A whole number the C ABI can carry; what else it must be is the library's to check."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"{name} is {value!r}, expected a whole number") from None
    if number < least:
        raise ValueError(f"{name} is {number}, expected a whole number of at least {least}")
    if number >= 2**63:
        raise ValueError(f"{name} is {number}, expected a whole number of at most 63 bits")
    return number


def checked_numbers(name: str, values: Iterable[float]) -> array[float]:
    try:
        return array("d", values)
    except TypeError:
        raise ValueError(f"{name} is {values!r}, expected numbers") from None


def checked_type(name: str, value: object, *types: type) -> None:
    if not isinstance(value, types):
        names = ["None" if t is type(None) else t.__name__ for t in types]
        expected = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        raise ValueError(f"{name} is {value!r}, expected {expected}")


def checked_pickle(noun: str, state: Any, **types: type) -> list[Any]:
    """The attributes of these types in what ``__setstate__`` is given, or ValueError."""
    if not isinstance(state, dict):
        raise ValueError(f"a pickled {noun} holds {type(state).__name__}, expected a dict")
    for name, expected in types.items():
        if not isinstance(state.get(name), expected):
            found = type(state[name]).__name__ if name in state else "nothing"
            raise ValueError(f"a pickled {noun} has {found} for {name}, expected {expected.__name__}")
    return [state[name] for name in types]


def checked_seed(seed: object) -> int:
    number = operator.index(seed) if hasattr(seed, "__index__") else -1  # type: ignore[arg-type]
    if not 0 <= number < 2**64:
        raise ValueError(f"seed is {seed!r}, expected a whole number from 0 to 2**64 - 1")
    return number
