"""Labelled images: CIFAR-100 and CIFAR-10 from their published files, a synthetic set, or arrays of one's own."""

from __future__ import annotations

import errno
import hashlib
import io
import operator
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np

from . import _plp
from ._checks import (
    as_array,
    byte_images,
    checked_integer,
    checked_labels,
    checked_seed,
    checked_text,
    explains,
    in_brief,
)
from ._download import cache, download
from ._files import arrays_in, write_whole
from ._plp import Error

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Data: TypeAlias = "Dataset | tuple[ArrayLike, ArrayLike]"

__all__ = ["Dataset", "cifar10", "cifar100", "download", "find", "from_arrays", "synthetic"]


def __dir__() -> list[str]:
    return list(__all__)


@dataclass(frozen=True)
class _Source:
    """Where a data set comes from: one of the library's functions, its arguments, and slices of what that gave."""

    function: str
    arguments: tuple[Any, ...]
    parts: tuple[slice, ...] = ()

    def open(self) -> Dataset:
        dataset = Dataset(_FUNCTIONS[self.function](*self.arguments), replace(self, parts=()))
        for part in self.parts:
            dataset = dataset[part]
        return dataset


def _open_arrays(path: str) -> Any:
    """What :meth:`Dataset._kept` wrote."""
    with arrays_in(path, "images that a study of plp's has kept") as arrays:
        images, labels, classes, name = (arrays[part] for part in ("images", "labels", "classes", "name"))
    return _plp.dataset_from_arrays(images, labels, len(images), images.shape[-1], int(classes), str(name))


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "arrays": _open_arrays,
    "cifar100": _plp.dataset_cifar100,
    "cifar10": _plp.dataset_cifar10,
    "synthetic": _plp.dataset_synthetic,
}


class Dataset:
    """Labelled images of one size in three colours. Never changes; any number of trainers may share it.

    It can be pickled. What was read from files, or made by :func:`synthetic`, becomes a note of where it comes from and
    is read anew, as are its slices; a checksum tells whether the images are the same. Arrays are pickled whole.

    Attributes:
        name: such as ``"CIFAR-100 train"``.
        classes: how many there are.
        image_size: pixels along a side.
        images: uint8 [count, 3, image_size, image_size], a read-only view of the library's memory.
        labels: int32 [count], each from 0 to classes - 1, likewise.
        label_names: the classes' names, or None where there are none.
    """

    def __init__(self, handle: Any, source: _Source | None = None) -> None:
        self._handle = handle
        self._source = source
        self.name: str
        self.classes: int
        self.name, self.classes, images, labels, self.label_names = _plp.dataset_describe(handle)
        self.images: NDArray[np.uint8] = np.asarray(images)
        self.image_size: int = self.images.shape[-1]
        self.labels: NDArray[np.int32] = np.asarray(labels)

    @cached_property
    def checksum(self) -> str:
        """BLAKE2 of images and labels, in 32 hexadecimal digits: the same for the same images in the same order."""
        digest = hashlib.blake2b(self.images.data, digest_size=16)
        digest.update(self.labels.data)
        return digest.hexdigest()

    def __copy__(self) -> Dataset:
        return self  # as of all that never changes

    def __deepcopy__(self, memo: object) -> Dataset:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._source is None:
            return _from_pickle, (self.images, self.labels, self.classes, self.name, self.label_names)
        return _read_again, (self._source, self.name, len(self), self.checksum)

    def _kept(self, folder: Path) -> Dataset:
        """The same, as a note of where it comes from when pickled: arrays are written to a file in a folder."""
        if self._source is not None:
            return self
        path = folder / f"images-{self.checksum}.npz"
        if not path.exists():
            file = io.BytesIO()
            np.savez(file, images=self.images, labels=self.labels, classes=self.classes, name=self.name)
            write_whole(path, file.getvalue())
        kept = Dataset(self._handle, _Source("arrays", (str(path),)))
        kept.label_names = self.label_names
        return kept

    def _to_plain(self) -> dict[str, Any]:
        """For a file: as its place, where it has one, and what tells whether the images there are the same."""
        known = {"name": self.name, "images": len(self), "checksum": self.checksum}
        if self._source is None:
            return known
        parts = [[part.start, part.stop, part.step] for part in self._source.parts]
        return known | {"function": self._source.function, "arguments": list(self._source.arguments), "parts": parts}

    @classmethod
    def _from_plain(cls, data: Any) -> Dataset:
        """Read from its place; ValueError, OSError or :class:`plp.Error` where it cannot be, or is another."""
        name = str(data["name"])
        if "function" not in data:
            raise ValueError(f"{name!r:.60} is arrays, of which a file has only the name: they have to be given")
        parts = tuple(slice(*part) for part in data["parts"])
        source = _Source(str(data["function"]), tuple(data["arguments"]), parts)
        return _read_again(source, name, data["images"], data["checksum"])

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], int]]:
        return zip(self.images, self.labels.tolist(), strict=True)

    @overload
    def __getitem__(self, part: int | np.integer[Any]) -> tuple[NDArray[np.uint8], int]: ...

    @overload
    def __getitem__(self, part: slice | NDArray[Any] | Sequence[int] | Sequence[bool]) -> Dataset: ...

    def __getitem__(self, part: Any) -> tuple[NDArray[np.uint8], int] | Dataset:
        """An image and its label, by its index; or a set of some of the images, the classes of which stay.

        The latter by a slice, such as ``train[:10_000]`` for quick studies, or as in NumPy by an array of indices or of
        truth values, such as ``train[train.labels < 10]``.
        """
        if hasattr(part, "__index__") and not np.ndim(part):
            return self.images[part], int(self.labels[part])
        if isinstance(part, slice):
            # As plain numbers, whatever kind they are of: they may go to a file.
            given = (part.start, part.stop, part.step)
            part = slice(*(None if bound is None else operator.index(bound) for bound in given))
            bounds = ":".join("" if bound is None else str(bound) for bound in (part.start, part.stop, part.step))
            chosen = self._part(part, bounds.removesuffix(":"))
            chosen._source = self._source and replace(self._source, parts=(*self._source.parts, part))
            return chosen
        indices = np.arange(len(self))[part]
        # The name, by which a run knows its data, tells one choice from another.
        return self._part(
            indices, f"{len(indices):,} chosen, {hashlib.blake2b(indices.data, digest_size=4).hexdigest()}"
        )

    def _part(self, part: Any, what: str) -> Dataset:
        name = f"{self.name}[{what}]"
        return from_arrays(self.images[part], self.labels[part], self.classes, name=name, label_names=self.label_names)

    def __repr__(self) -> str:
        return f"<plp.datasets.Dataset {self.name!r}: {len(self):,} images, {self.classes} classes>"


def _read_again(source: _Source, name: str, count: int, checksum: str) -> Dataset:
    """A data set that was pickled as its source."""
    if not isinstance(source, _Source) or source.function not in _FUNCTIONS:
        raise ValueError(f"a pickled dataset is of {source!r:.200}, expected one of {', '.join(_FUNCTIONS)}")
    try:
        dataset = source.open()
    except OSError as error:
        error.add_note(f"{name} was pickled as the place of its files, not with its {count:,} images.")
        raise
    if (dataset.name, len(dataset), dataset.checksum) != (name, count, checksum):
        raise Error(
            f"{name}, {count:,} images of checksum {checksum}, was pickled as {source.function}{source.arguments}, "
            f"which now gives {dataset.name}, {len(dataset):,} images of checksum {dataset.checksum}"
        )
    return dataset


def _from_pickle(
    images: NDArray[np.uint8], labels: NDArray[np.int32], classes: int, name: str, label_names: list[str] | None
) -> Dataset:
    """One that was pickled whole."""
    return from_arrays(images, labels, classes, name=name, label_names=label_names)


def as_dataset(name: str, value: Data) -> Dataset:
    """A data set, made of images and their labels where it is none yet; ValueError, naming the argument, for others."""
    if isinstance(value, Dataset):
        return value
    hint = "see plp.datasets"
    if isinstance(value, (tuple, list)) and len(value) == 2:
        if not isinstance(value[0], Dataset):
            return from_arrays(*value, name=name)
        hint = "of two sets, give one"
    if hasattr(value, "data") and hasattr(value, "targets"):  # torchvision's
        hint = f"plp.datasets.from_arrays({name}.data, {name}.targets) makes one"
    raise ValueError(f"{name} is {in_brief(value)}, expected a dataset or a pair of images and labels ({hint})")


def cifar100(
    folder: str | os.PathLike[str] | None = None,
    *,
    labels: Literal["fine", "coarse"] = "fine",
    download: bool = False,
) -> tuple[Dataset, Dataset]:
    """CIFAR-100: 50,000 training and 10,000 test images of 100 classes.

    Args:
        folder: holds ``cifar-100-python/`` or ``cifar-100-binary/``, or is one of them. None for the first of
            ``$PLP_DATA``, ``data/`` and the user's cache that does.
        labels: ``"fine"``, or ``"coarse"`` for those of 20 groups of five classes.
        download: fetch the published archive into ``folder``, or that cache, where it is not there yet; see
            :func:`download`.

    Returns:
        The training set and the test set.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        plp.Error: a file is truncated, oversized or damaged.
        OSError: a file cannot be read.
    """
    kinds = {"fine": _plp.LABELS_FINE, "coarse": _plp.LABELS_COARSE}
    if labels not in kinds:
        raise ValueError(f"labels is {in_brief(labels)}, expected 'fine' or 'coarse'")
    key = "fine_labels" if labels == "fine" else "coarse_labels"
    return _published("cifar100", folder, download, f"d['{key}'], {100 if labels == 'fine' else 20}", kinds[labels])


def cifar10(folder: str | os.PathLike[str] | None = None, *, download: bool = False) -> tuple[Dataset, Dataset]:
    """CIFAR-10: 50,000 training and 10,000 test images of 10 classes.

    Args:
        folder: holds ``cifar-10-batches-py/`` or ``cifar-10-batches-bin/``, or is one of them; None as for
            :func:`cifar100`.
        download: as for :func:`cifar100`, which says what is returned and raised, too.
    """
    return _published("cifar10", folder, download, "d['labels'], 10")


def _published(
    function: str, folder: str | os.PathLike[str] | None, download: bool, labels: str, *options: int
) -> tuple[Dataset, Dataset]:
    """The two splits of a published data set, fetched if that is wanted; ``labels`` is where pickles have them."""
    places = _places() if folder is None else [folder]
    for place in places:
        try:
            return _both_splits(function, place, *options)
        except Error as error:
            file = str(error).partition(": ")[0]
            if not re.fullmatch(r"train|test|test_batch|data_batch_\d", os.path.basename(file)):
                raise
            raise Error(
                f"{error}; of a file that was pickled anew, and that you trust: d = pickle.load(open({file!r}, 'rb')), "
                f"then plp.datasets.from_arrays(d['data'].reshape(-1, 3, 32, 32), {labels})"
            ) from None
        except FileNotFoundError as error:
            if not download and (len(places) == 1 or "not yet unpacked" in str(error)):
                raise
    if not download:
        option = "" if function == "cifar100" else f" --dataset {function}"
        name = "CIFAR-100" if function == "cifar100" else "CIFAR-10"
        raise FileNotFoundError(
            errno.ENOENT, f"no {name} there; `plp download{option}` fetches it", " or ".join(map(str, places))
        )
    return _both_splits(function, _download_archive(places[-1], dataset=function), *options)


def _places() -> list[str | os.PathLike[str]]:
    named = os.environ.get("PLP_DATA")
    return [named] if named else ["data", cache()]


_download_archive = download  # an argument of that name hides it


def _both_splits(function: str, folder: str | os.PathLike[str], *others: int) -> tuple[Dataset, Dataset]:
    # Absolute, since another process may have another working directory.
    folder = os.path.abspath(os.fsdecode(folder))
    train, test = (_Source(function, (folder, split, *others)) for split in (_plp.SPLIT_TRAIN, _plp.SPLIT_TEST))
    return train.open(), test.open()


def synthetic(train: int = 10_000, test: int = 2_000, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Images made by code, of 100 classes in 20 groups of 5: needs no file, and is a function of its arguments.

    A linear classifier does poorly on them; a small ResNet18 learns them within minutes.

    Args:
        train, test: how many images; the two sets share none.
        seed: of everything in them.
    """
    seed = checked_seed(seed)
    return (
        _Source("synthetic", (_plp.SPLIT_TRAIN, checked_integer("train", train), seed)).open(),
        _Source("synthetic", (_plp.SPLIT_TEST, checked_integer("test", test), seed)).open(),
    )


@explains(num_classes="write classes=10")
def from_arrays(
    images: ArrayLike,
    labels: ArrayLike,
    classes: int | None = None,
    *,
    name: str = "images",
    label_names: Sequence[str] | None = None,
) -> Dataset:
    """A copy of one's own images.

    Args:
        images: square ones of 16 to 96 pixels along a side, uint8 [count, 3, size, size]: channels first; red, green,
            blue. Channels may come last, grey images have one or none, and numbers from 0 to 1 stand for such of 255.
        labels: integers [count], each from 0 to classes - 1; or [count, 1], or [count, classes] of zeros and ones.
        classes: None for as many as label_names, or else the largest label + 1.
        name: what histories, studies and messages call it. A run goes on only with data of the same name and size.
        label_names: the classes' names, for :attr:`Dataset.label_names`.

    Raises:
        ValueError: a shape, a dtype or a label is not as above.
    """
    pixels = byte_images(images)
    given = as_array("labels", labels)
    numbers = checked_labels(given, len(pixels))
    if label_names is not None:
        label_names = list(label_names)
        if classes is None:
            classes = len(label_names)
        if len(label_names) != classes or not all(isinstance(each, str) for each in label_names):
            raise ValueError(f"label_names is {in_brief(label_names)}, expected {classes} texts, one for each class")
    if classes is None:
        has_row_each = given.ndim == 2 and given.shape[1] > 1
        classes = given.shape[1] if has_row_each else int(numbers.max()) + 1 if len(numbers) else 0
    classes, name = checked_integer("classes", classes), checked_text("name", name)
    dataset = Dataset(_plp.dataset_from_arrays(pixels, numbers, len(pixels), pixels.shape[-1], classes, name))
    dataset.label_names = label_names
    return dataset


def find(folder: str | os.PathLike[str] | None = None) -> tuple[Dataset, Dataset] | None:
    """CIFAR-100 where :func:`cifar100` finds it; None where no folder is named and it is nowhere.

    Raises:
        FileNotFoundError: a folder was named, by argument or environment, and it is not there.
    """
    try:
        return cifar100(folder)
    except FileNotFoundError:
        if folder or os.environ.get("PLP_DATA"):
            raise
        return None
