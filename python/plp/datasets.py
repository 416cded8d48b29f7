"""Labelled images: CIFAR-100 and CIFAR-10 from their published files, a synthetic set, or arrays of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _plp
from ._checks import checked_integer, checked_labels, checked_seed
from ._download import download

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Dataset", "cifar10", "cifar100", "download", "find", "from_arrays", "synthetic"]


class Dataset:
    """Labelled images of 32 × 32 pixels in three colours. Never changes; any number of trainers may share it.

    Attributes:
        name: such as ``"CIFAR-100 train"``.
        classes: how many there are.
        images: uint8 [count, 3, 32, 32], a read-only view of the library's memory.
        labels: int32 [count], each from 0 to classes - 1, likewise.
        label_names: the classes' names, or None where there are none.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self.name: str
        self.classes: int
        self.name, self.classes, images, labels, self.label_names = _plp.dataset_describe(handle)
        self.images: NDArray[np.uint8] = np.asarray(images)
        self.labels: NDArray[np.int32] = np.asarray(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Dataset:
        """A copy of a part, such as ``train[:10_000]`` for quick studies; the classes stay."""
        if not isinstance(part, slice):
            raise TypeError(f"a dataset is cut by slices such as [:1000], not by {part!r}; see images and labels")
        bounds = ":".join("" if bound is None else str(bound) for bound in (part.start, part.stop, part.step))
        name = f"{self.name}[{bounds.removesuffix(':')}]"
        dataset = from_arrays(self.images[part], self.labels[part], self.classes, name=name)
        dataset.label_names = self.label_names
        return dataset

    def __repr__(self) -> str:
        return f"<plp.datasets.Dataset {self.name!r}: {len(self):,} images, {self.classes} classes>"


def dataset_handle(name: str, dataset: Dataset) -> Any:
    """The library's handle of a dataset; ValueError, naming the argument, where it is none."""
    if not isinstance(dataset, Dataset):
        raise ValueError(f"{name} is {dataset!r:.40}, expected a dataset (see plp.datasets)")
    return dataset._handle


def cifar100(folder: str | os.PathLike[str] = "data", *, download: bool = False) -> tuple[Dataset, Dataset]:
    """CIFAR-100: 50,000 training and 10,000 test images of 100 classes.

    Args:
        folder: holds ``cifar-100-python/`` or ``cifar-100-binary/``, or is one of them.
        download: fetch the published archive into ``folder`` where it is not there; see :func:`download`.

    Returns:
        The training set and the test set.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        plp.Error: a file is truncated, oversized or damaged.
        OSError: a file cannot be read.
    """
    try:
        return _both_splits(_plp.dataset_cifar100, folder)
    except FileNotFoundError:
        if not download:
            raise
    _download_archive(folder)
    return cifar100(folder)


_download_archive = download  # cifar100's argument of that name hides it


def cifar10(folder: str | os.PathLike[str] = "data") -> tuple[Dataset, Dataset]:
    """CIFAR-10 in its binary layout: ``folder`` holds ``cifar-10-batches-bin/``, or is it; see :func:`cifar100`."""
    return _both_splits(_plp.dataset_cifar10, folder)


def _both_splits(read: Callable[..., Any], folder: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    return Dataset(read(folder, _plp.SPLIT_TRAIN)), Dataset(read(folder, _plp.SPLIT_TEST))


def synthetic(train: int = 10_000, test: int = 2_000, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Images made by code, of 100 classes in 20 groups of 5: needs no file, and is a function of its arguments.

    A linear classifier does poorly on them; a small ResNet18 learns them within minutes.

    Args:
        train, test: how many images; the two sets share none.
        seed: of everything in them.
    """
    seed = checked_seed(seed)
    return (
        Dataset(_plp.dataset_synthetic(_plp.SPLIT_TRAIN, checked_integer("train", train), seed)),
        Dataset(_plp.dataset_synthetic(_plp.SPLIT_TEST, checked_integer("test", test), seed)),
    )


def from_arrays(images: ArrayLike, labels: ArrayLike, classes: int | None = None, *, name: str = "images") -> Dataset:
    """A copy of one's own images.

    Args:
        images: uint8 [count, 3, 32, 32]: channels first; red, green, blue.
        labels: integers [count], each from 0 to classes - 1.
        classes: None for the largest label + 1.
        name: what histories, studies and messages call it. A run goes on only with data of the same name and size.

    Raises:
        ValueError: a shape, a dtype or a label is not as above.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.shape[1:] != (3, 32, 32):
        raise ValueError(f"images are {images.dtype} {list(images.shape)}, expected uint8 [count, 3, 32, 32]")
    labels = checked_labels(labels, len(images))
    if classes is None:
        classes = int(labels.max()) + 1 if len(labels) else 0
    classes = checked_integer("classes", classes)
    return Dataset(_plp.dataset_from_arrays(np.ascontiguousarray(images), labels, len(images), classes, name))


def find(folder: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset] | None:
    """CIFAR-100 from ``folder``, or else from ``$PLP_DATA`` or ``data/``; None where it is in neither.

    Raises:
        FileNotFoundError: a folder was named, by argument or environment, and it is not there.
    """
    named = folder or os.environ.get("PLP_DATA")
    try:
        return cifar100(named or "data")
    except FileNotFoundError:
        if named:
            raise
        return None
