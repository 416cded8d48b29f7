"""Networks and their parameters."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _plp
from ._checks import (
    as_array,
    checked_colours,
    checked_images,
    checked_integer,
    checked_pickle,
    checked_seed,
    explains,
    in_brief,
)
from ._html import html_table
from ._plp import Error
from .datasets import as_dataset
from .records import Metrics

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .datasets import Data

ARCHITECTURES = tuple(re.search("networks: (.*)", _plp.build_info())[1].split())  # type: ignore[index]

_DTYPES = {_plp.FLOAT32: np.float32, _plp.INT64: np.int64}


_TAKE_STATE = "model = plp.Model('resnet18', classes=100), or what else it is of, then model.load_state_dict({})"


@dataclass(frozen=True)
class _Entry:
    """A tensor of the state dictionary: its name, kind, dtype and shape in PyTorch's layout."""

    name: str
    kind: int
    dtype: Any
    shape: tuple[int, ...]


class Model:
    """VGG16, ResNet18 or GoogLeNet for small images, with PyTorch's default initialisation.

    Any number of threads may use a model at once: their calls take turns, in the order in which they came, and compute
    on all of ``threads`` each. While a trainer fits it in one thread, calls of others come between two iterations, and
    see the model as the latest one left it. Copies and pickles have memory of their own.

    Args:
        architecture: ``"resnet18"``, ``"vgg16"`` (with batch norm) or ``"googlenet"``.
        classes: outputs, 2 to 100,000.
        image_size: pixels along a side of the images it takes, 16 to 96, VGG16 from 32 on; 32 is CIFAR's.
        width: factor on every hidden channel count, above 0, at most 8; 0.25 for quick studies.
        dropout: None for the architecture's own, else the probability wherever it drops, at least 0 and below 1.
        seed: of the initial parameters.
        mean, std: per colour; a byte b enters as (b/255 - mean) / std. None for CIFAR-100's.
        channel_count_epsilons: GoogLeNet with the public trainer's mistaken batch-norm eps, for its checkpoints.

    Raises:
        ValueError: an unknown architecture, or a value out of its range.
        MemoryError: it does not fit.
    """

    @explains(
        num_classes="write classes=10",
        pretrained="load_state_dict takes the weights",
        weights="load_state_dict takes them",
        device="it computes on the processor; leave it out",
    )
    def __init__(
        self,
        architecture: str = "resnet18",
        *,
        classes: int = 100,
        image_size: int = 32,
        width: float = 1.0,
        dropout: float | None = None,
        seed: int = 0,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        channel_count_epsilons: bool = False,
    ) -> None:
        if not isinstance(architecture, str):
            raise ValueError(f"architecture is {in_brief(architecture)}, expected a name such as 'resnet18'")
        options: dict[str, Any] = {
            "architecture": architecture.lower(),
            "classes": classes,
            "image_size": image_size,
            "width": width,
            "dropout": dropout,
            "seed": checked_seed(seed),
            "mean": checked_colours("mean", mean),
            "deviation": checked_colours("std", std),
            "channel_count_epsilons": channel_count_epsilons,
        }
        self._open(_plp.model_create({k: v for k, v in options.items() if v is not None}))

    def _open(self, handle: Any) -> None:
        self._handle = handle
        self._info = _plp.model_describe(handle)
        entries = self._info.pop("entries")
        del self._info["trained_on"]  # which changes
        self._entries = [_Entry(name, kind, _DTYPES[dtype], shape) for name, kind, dtype, shape in entries]

    def __getstate__(self) -> dict[str, Any]:
        options = {k: v for k, v in self._info.items() if k != "parameter_count"}
        if self.trained_on:
            options["trained_on"] = self.trained_on
        own = {"_options": options, "_state": self.state_dict()}
        return {**vars(self), **own, "_handle": None, "_info": None, "_entries": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        options, tensors = checked_pickle("model", state, _options=dict, _state=dict)
        vars(self).update({k: v for k, v in state.items() if k not in ("_options", "_state")})
        self._open(_plp.model_create(options))
        self.load_state_dict(tensors)

    @classmethod
    def _of(cls, handle: Any) -> Model:
        model = cls.__new__(cls)
        model._open(handle)
        return model

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """A model from a file that :meth:`save` wrote, its configuration included.

        Raises:
            FileNotFoundError, OSError: the file is not there, or cannot be read.
            plp.Error: it is damaged, or not such a file.
        """
        try:
            return cls._of(_plp.model_load(path))
        except Error as error:
            raise Error(_told(error, os.fspath(path))) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes parameters, running statistics and configuration as a safetensors file.

        An older file of that name is replaced only when the new one is complete on disk, and keeps its mode; links are
        followed.

        Raises:
            FileNotFoundError, OSError: the folder is not there, or the file cannot be written.
        """
        _plp.model_save(self._handle, path)

    @property
    def architecture(self) -> str:
        return self._info["architecture"]

    @property
    def classes(self) -> int:
        return self._info["classes"]

    @property
    def image_size(self) -> int:
        """Pixels along a side of the images it takes."""
        return self._info["image_size"]

    @property
    def width(self) -> float:
        return self._info["width"]

    @property
    def mean(self) -> tuple[float, float, float]:
        """Per colour; a byte b enters as (b/255 - mean) / std. As float32 has it, likewise :attr:`std`."""
        return self._info["mean"]

    @property
    def std(self) -> tuple[float, float, float]:
        return self._info["deviation"]

    @property
    def parameter_count(self) -> int:
        """Trainable values: weights and biases."""
        return self._info["parameter_count"]

    @property
    def trained_on(self) -> str | None:
        """The name of the data set that it was trained on last, also before it was saved; None where it was not."""
        return _plp.model_describe(self._handle)["trained_on"]

    @property
    def parameter_names(self) -> list[str]:
        """The names of weights and biases: the entries of :meth:`state_dict` that training has gradients for."""
        return [entry.name for entry in self._entries if entry.kind == _plp.ENTRY_PARAMETER]

    def __repr__(self) -> str:
        return (
            f"<plp.Model {self.architecture!r}: {self.classes} classes, width {self.width:g}, "
            f"{self.parameter_count:,} parameters>"
        )

    def _repr_html_(self) -> str:
        facts = {"architecture": self.architecture, "classes": self.classes, "image size": self.image_size}
        facts |= {"width": f"{self.width:g}", "parameters": f"{self.parameter_count:,}"}
        facts |= {"trained on": self.trained_on or "nothing"}
        return html_table([["plp.Model", ""], *([name, str(fact)] for name, fact in facts.items())])

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Copies of all tensors, of one moment, with PyTorch's names, order and layouts (convolution weights are OIHW).

        Parameters and running statistics are float32, ``num_batches_tracked`` int64. For PyTorch:
        ``module.load_state_dict({k: torch.from_numpy(v) for k, v in model.state_dict().items()})``.
        """
        state = {entry.name: np.empty(entry.shape, entry.dtype) for entry in self._entries}
        _plp.model_get_state(self._handle, tuple(state.values()))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes tensors by name, from :meth:`state_dict` or from PyTorch's. All of them, or, on an error, none.

        PyTorch's may be parameters that need a gradient, on any device, and of any floating type. Names may all begin
        with ``module.`` (DataParallel) or ``_orig_mod.`` (torch.compile); ``num_batches_tracked``, where it is missing,
        is 0.

        Raises:
            ValueError: a tensor is missing or not the network's, or its shape or dtype is another.
        """
        if not isinstance(state, Mapping):
            hint = "; of a module: module.state_dict()" if hasattr(state, "state_dict") else ""
            raise ValueError(f"the state dictionary is {in_brief(state)}, expected tensors by name{hint}")
        for prefix in ("module.", "_orig_mod.") * 2:  # or one within the other
            if state and all(isinstance(name, str) and name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): values for name, values in state.items()}
        counters = [e.name for e in self._entries if e.kind == _plp.ENTRY_COUNTER]
        state = {**dict.fromkeys(counters, 0), **state}
        missing = [e.name for e in self._entries if e.name not in state]
        names = {e.name for e in self._entries}
        foreign = [name for name in state if name not in names]
        wrong = [f"lacks {_some(missing)}"] if missing else []
        wrong += [f"has {_some(foreign)}, which {self.architecture} has not"] if foreign else []
        if wrong:
            inner = [
                name for name in foreign if isinstance(state[name], Mapping) and self._entries[0].name in state[name]
            ]
            hint = f"; there is one in it: state[{inner[0]!r}]" if inner else ""
            raise ValueError(f"the state dictionary {' and '.join(wrong)}{hint}")
        values = []
        for entry in self._entries:
            array = as_array(entry.name, state[entry.name])
            if array.shape != entry.shape:
                raise ValueError(f"{entry.name} has shape {list(array.shape)}, expected {list(entry.shape)}")
            if not np.can_cast(array.dtype, entry.dtype, "same_kind"):
                raise ValueError(f"{entry.name} has dtype {array.dtype}, expected {np.dtype(entry.dtype)}")
            values.append(np.ascontiguousarray(array, entry.dtype))
        _plp.model_set_state(self._handle, tuple(values))

    def logits(self, images: ArrayLike, *, threads: int = 0) -> NDArray[np.float32]:
        """The outputs before softmax, as in evaluation: running statistics, no dropout. Ctrl-C ends it.

        Args:
            images: [count, 3, size, size], either uint8, which are normalised, or float32, taken as they are.
            threads: 0 for what :func:`plp.build_info` says. The result does not depend on it.

        Returns:
            float32 [count, classes].
        """
        array, dtype = checked_images(images, self.image_size)
        threads = checked_integer("threads", threads)
        result = np.empty((len(array), self.classes), np.float32)
        # In parts of whole mini-batches: between them Ctrl-C is heard.
        for start in range(0, len(array), 1024):
            part = array[start : start + 1024]
            _plp.model_logits(self._handle, part, dtype, len(part), threads, result[start : start + 1024])
        return result

    def evaluate(self, dataset: Data, *, threads: int = 0) -> Metrics:
        """Loss and errors on a dataset as it is: running statistics, no dropout. Ctrl-C ends it.

        They are those of the model at this moment; other threads may use and change it in the meantime.

        Args:
            dataset: has images of the model's size and at most as many classes; or images and labels.
            threads: 0 for what :func:`plp.build_info` says. The result does not depend on it.
        """
        threads = checked_integer("threads", threads)
        return Metrics(*_plp.model_evaluate(self._handle, as_dataset("dataset", dataset)._handle, threads))


def _told(error: Error, path: str | bytes) -> str:
    """Why a file is no model and, where it may hold one, how to take it from there."""
    with open(path, "rb") as file:
        start = file.read(1 << 16)
    if b'"plp.checkpoint"' in start:
        return f"{path!r} is a trainer's checkpoint: trainer.restore({path!r}) in a trainer like it, then trainer.model"
    if start.startswith(b"PK") and b".npy" in start:
        return f"{path!r} is a file of NumPy's: {_TAKE_STATE.format(f'dict(np.load({path!r}))')}"
    if start.startswith((b"PK", b"\x80\x02")):  # archives as PyTorch has written since 1.6, and pickles, as before
        load = f"torch.load({path!r}, map_location='cpu')"
        return f"{path!r} is a file of PyTorch's: {_TAKE_STATE.format(load)}"
    if "plp.configuration" in str(error) and "metadata" in str(error):
        return f"{error}: {_TAKE_STATE.format(f'safetensors.numpy.load_file({path!r})')}"
    return str(error)


def _some(names: list[Any]) -> str:
    """The first few of many names."""
    return ", ".join(map(str, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
