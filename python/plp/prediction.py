"""The bare formula, on any arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import _plp
from ._checks import as_array, checked_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def predict(
    *iterates: ArrayLike,
    coefficients: Sequence[float] | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """The parameters that prediction puts in the place of the latest iterates, oldest first.

    For three iterates and the paper's coefficients (-½, ½, 1): θ3 + ½ (θ2 - θ1).

    Args:
        iterates: 1 to 1000 float32 arrays of one shape; contiguous ones are not copied.
        coefficients: one for each iterate; None for the paper's.
        out: a contiguous float32 array of that shape for the result; may be one of the iterates, or overlap some.

    Raises:
        ValueError: a shape, a dtype or the number of coefficients is not as above.
    """
    arrays = tuple(as_array(f"iterate {number}", iterate) for number, iterate in enumerate(iterates, 1))
    if not arrays:
        raise ValueError("there are no iterates to predict from")
    for number, given in enumerate(arrays, 1):
        if given.dtype != np.float32 or given.shape != arrays[0].shape:
            raise ValueError(
                f"iterate {number} is {given.dtype} {list(given.shape)}, expected float32 {list(arrays[0].shape)}"
            )
    if coefficients is None and len(arrays) != 3:
        raise ValueError(f"the paper's coefficients take 3 iterates, found {len(arrays)}: give coefficients")
    if coefficients is not None and len(coefficients) != len(arrays):
        raise ValueError(f"there are {len(coefficients)} coefficients for {len(arrays)} iterates")
    result = np.empty_like(arrays[0], order="C") if out is None else out
    if result.dtype != np.float32 or result.shape != arrays[0].shape or not result.flags.c_contiguous:
        raise ValueError(
            f"out is {result.dtype} {list(result.shape)}, expected float32 {list(arrays[0].shape)}, contiguous"
        )
    # Where memory is not the same, but overlaps, values would be written before they are read.
    arrays = tuple(np.ascontiguousarray(given) for given in arrays)
    arrays = tuple(
        given.copy() if np.may_share_memory(given, result) and given.ctypes.data != result.ctypes.data else given
        for given in arrays
    )
    weights = None if coefficients is None else checked_numbers("coefficients", coefficients)
    _plp.predict(arrays, weights, result)
    return result
