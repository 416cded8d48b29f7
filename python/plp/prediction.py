"""Prediction in training loops of one's own: a predictor at work on arrays, and the bare formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _plp
from ._checks import as_array, checked_numbers, checked_pickle, checked_type, in_brief
from .options import PREDICTORS, Predictor, _Predictor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Arrays = NDArray[np.float32] | Sequence[NDArray[np.float32]]


class Prediction:
    """A predictor at work on parameters that an optimizer of one's own moves.

        prediction = plp.Prediction(plp.PLP(), theta)
        for gradient in ...:
            theta -= lr * gradient
            prediction.after_step(theta)

    The arithmetic is the trainer's, to the bit; it runs on all processors. Options that concern a network's
    running statistics do nothing here; for them, a second ``Prediction`` will do. Copies and pickles have a state of
    their own.

    Args:
        predictor: :class:`plp.PLP`, :class:`plp.Lookahead`, :class:`plp.EMA` or :class:`plp.SWA`.
        theta: the parameters before the first step: a C-contiguous float32 array, or several in a list.

    Raises:
        ValueError: an option out of its range, or arrays that are not as above.
    """

    def __init__(self, predictor: Predictor, theta: Arrays) -> None:
        checked_type("predictor", predictor, *PREDICTORS)
        self.predictor = predictor
        arrays = _listed(theta)
        for number, array in enumerate(arrays):
            _check(f"theta[{number}]", array, None)
        self._shapes = [array.shape for array in arrays]
        self._is_list = not isinstance(theta, np.ndarray)
        self._open(arrays)

    def _open(self, theta: Sequence[NDArray[np.float32]]) -> None:
        self._handles = [_plp.predictor_create(self.predictor._fields(), array) for array in theta]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_handles": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        handles, shapes, _ = checked_pickle("prediction", state, _handles=dict, _shapes=list, predictor=_Predictor)
        vars(self).update(state)
        self._open([np.empty(shape, np.float32) for shape in shapes])
        self.load_state_dict(handles)

    def __copy__(self) -> Prediction:
        return deepcopy(self)

    def after_step(self, theta: Arrays) -> bool:
        """Does what follows a step of the optimizer, in place. NaN in the parameters is passed on.

        Args:
            theta: arrays as at the start: as many, of the same shapes, writable.

        Returns:
            Whether the parameters were replaced. Whoever wants momentum reset then resets it.

        Raises:
            ValueError: arrays that are not as at the start; nothing has changed then.
        """
        arrays = _listed(theta)
        if len(arrays) != len(self._shapes) or isinstance(theta, np.ndarray) == self._is_list:
            found = "an array" if isinstance(theta, np.ndarray) else f"a list of {len(arrays)}"
            expected = f"a list of {len(self._shapes)}" if self._is_list else "an array"
            raise ValueError(f"theta is {found}, expected {expected}, as at the start")
        for number, (array, shape) in enumerate(zip(arrays, self._shapes)):
            _check(f"theta[{number}]", array, shape, ", as at the start")
        return any([_plp.predictor_after_step(handle, array) for handle, array in zip(self._handles, arrays)])

    def average(self) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """The average that EMA has after its first step and SWA once its first period is over; new arrays, as theta is.

        Raises:
            ValueError: there is none.
        """
        arrays = [np.empty(shape, np.float32) for shape in self._shapes]
        for handle, array in zip(self._handles, arrays):
            _plp.predictor_average(handle, array)
        return arrays if self._is_list else arrays[0]

    def state_dict(self) -> dict[str, NDArray[np.uint8]]:
        """All that is needed to go on bit for bit, in the same version of the library: for ``numpy.savez``, say."""
        return {f"state{number}": state for number, state in enumerate(self._states())}

    def load_state_dict(self, state: Mapping[str, NDArray[np.uint8]]) -> None:
        """Goes back to what :meth:`state_dict` gave, in a Prediction with the same predictor and shapes.

        Raises:
            ValueError: it is of another; nothing has changed then.
        """
        names = [f"state{number}" for number in range(len(self._handles))]
        if not isinstance(state, Mapping):
            raise ValueError(f"state is {in_brief(state)}, expected arrays by name")
        if set(state) != set(names):
            raise ValueError(f"state has {', '.join(sorted(map(str, state)))[:200]}, expected {', '.join(names)[:200]}")
        arrays = [as_array(name, state[name]) for name in names]
        for name, array in zip(names, arrays):
            if array.dtype != np.uint8:
                raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, expected uint8")
        before = self._states()
        try:
            for name, handle, array in zip(names, self._handles, arrays):
                try:
                    _plp.predictor_set_state(handle, np.ascontiguousarray(array))
                except ValueError as error:
                    raise ValueError(f"{name}: {str(error).removeprefix('state: ')}") from None
        except BaseException:  # Ctrl-C, too
            for handle, kept in zip(self._handles, before):
                _plp.predictor_set_state(handle, kept)
            raise

    def _states(self) -> list[NDArray[np.uint8]]:
        states = [np.empty(_plp.predictor_state_size(handle), np.uint8) for handle in self._handles]
        for handle, state in zip(self._handles, states):
            _plp.predictor_get_state(handle, state)
        return states


def _listed(theta: Arrays) -> list[NDArray[np.float32]]:
    if not isinstance(theta, np.ndarray | list | tuple):
        raise ValueError(f"theta is {in_brief(theta)}, expected a NumPy array or a list of them")
    return [theta] if isinstance(theta, np.ndarray) else list(theta)


def _check(name: str, array: object, shape: tuple[int, ...] | None, why: str = "") -> None:
    """A copy would hide from the caller what is done to it, so that nothing is converted."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is a {type(array).__name__}, expected a NumPy array")
    expected = "contiguous float32" if shape is None else f"contiguous, writable float32 {list(shape)}{why}"
    is_fit = array.dtype == np.float32 and array.flags.c_contiguous
    if not is_fit or (shape is not None and (array.shape != shape or not array.flags.writeable)):
        kind = ("" if array.flags.c_contiguous else "non-contiguous ") + ("" if array.flags.writeable else "read-only ")
        raise ValueError(f"{name} is {kind}{array.dtype} {list(array.shape)}, expected {expected}")


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
        out: a contiguous, writable float32 array of that shape for the result; may be one of the iterates, or overlap
            some.

    Raises:
        ValueError: an array, a coefficient or the number of them is not as above.
    """
    arrays = tuple(as_array(f"iterate {number}", iterate) for number, iterate in enumerate(iterates, 1))
    if not arrays:
        raise ValueError("there are no iterates to predict from")
    for number, given in enumerate(arrays, 1):
        if given.dtype != np.float32 or given.shape != arrays[0].shape:
            raise ValueError(
                f"iterate {number} is {given.dtype} {list(given.shape)}, expected float32 {list(arrays[0].shape)}"
            )
    weights = None if coefficients is None else checked_numbers("coefficients", coefficients)
    if weights is None and len(arrays) != 3:
        raise ValueError(f"the paper's coefficients take 3 iterates, found {len(arrays)}: give coefficients")
    if weights is not None and len(weights) != len(arrays):
        raise ValueError(f"there are {len(weights)} coefficients for {len(arrays)} iterates")
    result = np.empty_like(arrays[0], order="C") if out is None else out
    _check("out", result, arrays[0].shape)
    # Where memory is not the same, but overlaps, values would be written before they are read.
    arrays = tuple(np.ascontiguousarray(given) for given in arrays)
    arrays = tuple(
        given.copy() if np.may_share_memory(given, result) and given.ctypes.data != result.ctypes.data else given
        for given in arrays
    )
    _plp.predict(arrays, weights, result)
    return result
