"""Pickles and copies of data sets, models and trainers: in one process, in others, and damaged."""

import copy
import os
import pickle

import numpy as np
import plp
import pytest


def same(one, other):
    assert (one.name, one.classes, one.label_names) == (other.name, other.classes, other.label_names)
    return np.array_equal(one.images, other.images) and np.array_equal(one.labels, other.labels)


# ---- Data sets -------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """CIFAR-100's files with nothing but zeros in them, which the disk does not store."""
    folder = tmp_path / "files"
    folder.mkdir()
    for split, images in ("train", 50_000), ("test", 10_000):
        (folder / f"{split}.bin").touch()
        os.truncate(folder / f"{split}.bin", images * 3074)
    (folder / "fine_label_names.txt").write_text("".join(f"name {i}\n" for i in range(100)))
    return folder


def overwrite(path, place, byte):
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes([byte]))


@pytest.mark.parametrize("part", [lambda d: d, lambda d: d[10:5000:2], lambda d: d[100:5000][:50][::-1]])
def test_a_set_of_files_is_pickled_as_its_place(files, part, monkeypatch):
    overwrite(files / "test.bin", 130 * 3074 + 1000, 7)
    monkeypatch.chdir(files.parent)
    dataset = part(plp.datasets.cifar100("files")[1])
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    assert same(pickle.loads(pickled), dataset)
    assert pickle.dumps(pickle.loads(pickled)) == pickled


def test_other_images_at_that_place_are_an_error(files):
    train, test = plp.datasets.cifar100(files)
    pickled = [pickle.dumps(dataset) for dataset in (train, test, test[:10])]
    overwrite(files / "test.bin", 9_999 * 3074 + 3, 7)
    assert same(pickle.loads(pickled[0]), train)
    with pytest.raises(
        plp.Error, match=r"CIFAR-100 test, 10,000 images of checksum \w+, was pickled as cifar100.*files"
    ):
        pickle.loads(pickled[1])
    assert same(pickle.loads(pickled[2]), test[:10])
    overwrite(files / "test.bin", 1, 42)  # a label
    with pytest.raises(plp.Error, match="now gives CIFAR-100 test.:10., 10 images"):
        pickle.loads(pickled[2])


def test_files_that_are_gone(files):
    pickled = pickle.dumps(plp.datasets.cifar100(files)[0])
    files.rename(files.parent / "elsewhere")
    with pytest.raises(FileNotFoundError, match="found no CIFAR-100.*files'") as caught:
        pickle.loads(pickled)
    assert caught.value.__notes__ == [
        "CIFAR-100 train was pickled as the place of its files, not with its 50,000 images."
    ]


def test_a_synthetic_set_is_pickled_as_its_arguments(synthetic):
    for dataset in (synthetic[0], synthetic[1], synthetic[0][7:70]):
        pickled = pickle.dumps(dataset)
        assert len(pickled) < 1000 and same(pickle.loads(pickled), dataset)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_pickled_whole(protocol):
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), np.uint8)
    dataset = plp.datasets.from_arrays(images, np.arange(20), 30, name="mine")
    for one in (dataset, dataset[3:9]):
        again = pickle.loads(pickle.dumps(one, protocol))
        assert same(again, one) and again.checksum == one.checksum
        assert again.images.ctypes.data != one.images.ctypes.data


def test_checksums_tell_images_and_labels_apart(synthetic):
    train, test = synthetic
    part = train[:10]
    swapped = plp.datasets.from_arrays(part.images, part.labels[::-1], 100)
    reversed_ = plp.datasets.from_arrays(part.images[::-1], part.labels, 100)
    assert len({d.checksum for d in (train, test, part, swapped, reversed_)}) == 5
    assert part.checksum == plp.datasets.from_arrays(part.images, part.labels, 100, name="other").checksum


def test_a_set_is_its_own_copy(synthetic):
    """It never changes, so nobody can tell."""
    train, _ = synthetic
    assert copy.copy(train) is train and copy.deepcopy([train])[0] is train


def test_damaged_pickles_of_sets(synthetic):
    function, arguments = synthetic[0].__reduce__()
    for source in (None, ("cifar100",), plp.datasets._Source("system", ("ls",))):
        with pytest.raises(ValueError, match="a pickled dataset is of .*expected one of cifar100"):
            function(source, *arguments[1:])
    function, arguments = plp.datasets.from_arrays(synthetic[0].images, synthetic[0].labels).__reduce__()
    with pytest.raises(ValueError, match="images are uint8"):
        function(arguments[0][:, 0], *arguments[1:])
    with pytest.raises(ValueError, match="label names"):
        function(*arguments[:4], ["one"])


def test_completion_shows_what_is_public():
    assert dir(plp.datasets) == sorted(plp.datasets.__all__)
    assert dir(plp.schedules) == sorted(plp.schedules.__all__)
    assert set(dir(plp)) == set(plp.__all__)
