"""Arrays and numbers at the border: what the library takes on trust is checked here, with errors that name it."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from . import _plp

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

P = ParamSpec("P")
R = TypeVar("R")


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
        hint = f"; of a data set: write its {name}, as in test.{name}" if hasattr(value, "label_names") else ""
        raise ValueError(f"{name} is no array: {error}{hint}") from None


def _planar(images: NDArray[Any]) -> NDArray[Any] | None:
    """Square images with their three channels first, as PyTorch and plp have them; None where axes are not clear.

    Channels may also come last, as Keras and Pillow have them, and grey images have one of them or no axis for it.
    """
    if images.ndim == 3 and images.shape[0] != 3:  # three grey images, or one in colour?
        images = images[:, None]
    if images.ndim == 4 and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.shape[2] != images.shape[3]:
        return None
    return np.broadcast_to(images, (len(images), 3, *images.shape[2:]))


def _wrong_images(found: NDArray[Any], expected: str) -> ValueError:
    hint = ""
    if found.dtype == bool:
        hint = "; of masks: images.astype(np.uint8) * 255"
    elif found.ndim == 3:
        hint = "; of one image: images[None]"
    elif found.ndim == 2 and (side := round((found.shape[1] / 3) ** 0.5)) ** 2 * 3 == found.shape[1]:
        hint = f"; rows as in CIFAR's files: images.reshape(-1, 3, {side}, {side})"
    elif found.dtype.kind == "f":
        hint = (
            "; bytes as floats: images.astype(np.uint8); normalised ones: images.astype(np.float32), in logits and step"
        )
    return ValueError(f"images are {found.dtype} {list(found.shape)}, expected {expected}{hint}")


def checked_images(images: ArrayLike, size: int) -> tuple[NDArray[Any], int]:
    """Contiguous images, not copied where they are already, and their plp_dtype."""
    found = as_array("images", images)
    planar = _planar(found)
    if found.dtype not in (np.uint8, np.float32) or planar is None or planar.shape[2] != size:
        raise _wrong_images(found, f"uint8 or float32 [count, 3, {size}, {size}]")
    return np.ascontiguousarray(planar), _plp.UINT8 if found.dtype == np.uint8 else _plp.FLOAT32


def byte_images(images: ArrayLike) -> NDArray[np.uint8]:
    """Contiguous images as bytes; fractions from 0 to 1 are taken for such of 255."""
    found = as_array("images", images)
    planar, kind = _planar(found), found.dtype.kind
    lowest, highest = (found.min(), found.max()) if found.size and kind in "iuf" else (0, 0)
    if kind == "f" and 0 <= lowest and highest <= 1 and planar is not None:
        planar = np.rint(planar * np.float32(255))
    elif kind not in "iu" or not (0 <= lowest and highest <= 255) or planar is None:
        raise _wrong_images(found, "uint8 [count, 3, size, size]")
    return np.ascontiguousarray(planar, np.uint8)


def _one_hot(labels: NDArray[Any]) -> bool:
    return labels.ndim == 2 and bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())


def checked_labels(labels: ArrayLike, count: int) -> NDArray[np.int32]:
    """int32 labels, not copied where they are already. The library checks them against the number of classes.

    They may also stand in a column, or each be a row of zeros with a one in the place of its class.
    """
    given = found = as_array("labels", labels)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    elif found.dtype.kind in "biuf" and _one_hot(found):
        found = found.argmax(axis=1)
    if not np.issubdtype(found.dtype, np.integer) or found.shape != (count,):
        hint = ""
        if found.dtype.kind in "OSU":
            hint = "; of names: np.unique(labels, return_inverse=True)[1]"
        elif found.ndim == 2 and len(found) == count:
            hint = "; of the likeliest class: labels.argmax(axis=1)"
        elif found.dtype.kind == "f":
            hint = "; of whole numbers: labels.astype(int)"
        raise ValueError(
            f"labels are {given.dtype} {list(given.shape)}, expected integers [{count}], one for each image{hint}"
        )
    limits = np.iinfo(np.int32)
    if count and not (limits.min <= found.min() and found.max() <= limits.max):
        raise ValueError(f"labels range from {found.min()} to {found.max()}, expected 0 to the number of classes - 1")
    return np.ascontiguousarray(found, np.int32)


def in_brief(value: object) -> str:
    """What somebody gave, for the line of a message: arrays and networks have many."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def checked_integer(name: str, value: object, least: int = -(2**63)) -> int:
    """A whole number the C ABI can carry; what else it must be is the library's to check."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"{name} is {in_brief(value)}, expected a whole number") from None
    if number < least:
        raise ValueError(f"{name} is {number}, expected a whole number of at least {least}")
    if number >= 2**63:
        raise ValueError(f"{name} is {number}, expected a whole number of at most 63 bits")
    return number


def checked_numbers(name: str, values: Iterable[float]) -> array[float]:
    try:
        return array("d", list(values))  # of bytes it would be what they are in memory
    except (TypeError, OverflowError):
        raise ValueError(f"{name} is {in_brief(values)}, expected numbers") from None


def checked_number(name: str, value: Any) -> float:
    """A number of any kind; what else it must be is the library's to check."""
    if not isinstance(value, str):
        with suppress(TypeError, ValueError, OverflowError):
            return float(value)
    raise ValueError(f"{name} is {in_brief(value)}, expected a number")


def checked_text(name: str, value: object) -> str:
    """A text that is one in C, too, where a NUL would end it."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{name} is {in_brief(value)}, expected a text without NUL characters")
    return value


def checked_colours(name: str, value: Iterable[Any] | None) -> tuple[float, float, float] | None:
    """A number for each of red, green and blue, or None."""
    if value is None:
        return None
    try:
        red, green, blue = (checked_number(name, colour) for colour in value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {in_brief(value)}, expected three numbers, for red, green and blue") from None
    return red, green, blue


def checked_type(name: str, value: object, *types: type) -> None:
    if not isinstance(value, types):
        names = ["None" if t is type(None) else t.__name__ for t in types]
        expected = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        meant = [t for t in types if value is t or isinstance(value, str) and value.casefold() == t.__name__.casefold()]
        place = "plp.schedules" if meant and meant[0].__module__ == "plp.schedules" else "plp"
        hint = f": write {name}={place}.{meant[0].__name__}()" if meant else ""
        raise ValueError(f"{name} is {in_brief(value)}, expected {expected}{hint}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that there is not: the nearest one that there is, if one is near."""
    near = get_close_matches(name.casefold(), known, 1)
    return f", did you mean {near[0]!r}?" if near else ""


def explains(**hints: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Has a function that is given a keyword of other libraries' say what to write here."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name in hints:
                    place = function.__qualname__.removesuffix(".__init__")
                    raise TypeError(f"{place} has no argument {name}: {hints[name]}")
            return function(*args, **kwargs)

        return call

    return decorate


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
        raise ValueError(f"seed is {in_brief(seed)}, expected a whole number from 0 to 2**64 - 1")
    return number
