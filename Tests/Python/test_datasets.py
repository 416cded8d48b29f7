"""Data: from arrays, made by code, and real; shared with the library without copies."""

import json
import pickle

import numpy as np
import plp
import pytest


def test_synthetic_is_a_function_of_its_arguments():
    (train, test), (again, _), (other, _) = (plp.datasets.synthetic(300, 100, seed=s) for s in (1, 1, 2))
    assert (len(train), len(test), train.classes) == (300, 100, 100)
    assert np.array_equal(train.images, again.images) and np.array_equal(train.labels, again.labels)
    assert not np.array_equal(train.images, other.images)


def test_views_are_not_copies_and_not_writable(synthetic):
    train, _ = synthetic
    assert train.images.dtype == np.uint8 and train.images.shape == (400, 3, 32, 32)
    assert train.labels.dtype == np.int32 and train.labels.shape == (400,)
    address = train.images.ctypes.data
    assert np.asarray(plp.datasets.Dataset(train._handle).images).ctypes.data == address
    with pytest.raises(ValueError, match="read-only"):
        train.images[0] = 0
    with pytest.raises(ValueError):
        train.images.flags.writeable = True


def test_views_outlive_their_dataset():
    images = plp.datasets.synthetic(50, 10)[0].images
    total = int(images.sum())
    for _ in range(10):
        plp.datasets.synthetic(50, 10, seed=3)
    assert int(images.sum()) == total


def test_from_arrays_copies():
    images = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8).reshape(2, 3, 32, 32)
    dataset = plp.datasets.from_arrays(images, [0, 4])
    assert dataset.classes == 5 and dataset.label_names is None
    assert np.array_equal(dataset.images, images) and list(dataset.labels) == [0, 4]
    images[:] = 0
    assert dataset.images.any()


def test_from_arrays_takes_any_strides_and_integers():
    images = np.zeros((4, 32, 32, 3), np.uint8).transpose(0, 3, 1, 2)
    images[1, 2] = 7
    dataset = plp.datasets.from_arrays(images, np.array([3, 2, 1, 0], np.int64), classes=10)
    assert (dataset.images[1, 2] == 7).all() and dataset.classes == 10


def test_classes_have_names():
    images = np.zeros((2, 3, 32, 32), np.uint8)
    dataset = plp.datasets.from_arrays(images, [0, 1], label_names=("cat", "dog", "elk"))
    assert dataset.classes == 3 and dataset[:1].label_names == ["cat", "dog", "elk"]
    for names in (["cat"], [1, 2], "cat"):
        with pytest.raises(ValueError, match=r"label_names is .*, expected 2 texts, one for each class"):
            plp.datasets.from_arrays(images, [0, 1], 2, label_names=names)


def test_slices(synthetic):
    train, _ = synthetic
    part = train[100:300]
    assert (len(part), part.classes, part.label_names) == (200, train.classes, train.label_names)
    assert np.array_equal(part.images, train.images[100:300]) and part.name == f"{train.name}[100:300]"
    assert train[::100].name == f"{train.name}[::100]" and len(train[-50:]) == 50
    bounds = np.array([100, 300])  # as plain numbers, which a file can have
    assert json.dumps(train[bounds[0] : bounds[1]]._to_plain()) == json.dumps(part._to_plain())
    model = plp.Model("resnet18", width=1 / 64)
    history = plp.Trainer(model, batch_size=50).fit(part, validation=train[:50], progress=False)
    assert f"{train.name}[100:300], 200 images" in history.data and f"{train.name}[:50], 50 images" in history.data
    with pytest.raises(ValueError):
        train[:0]


def test_indexing_and_iteration(synthetic):
    train, _ = synthetic
    for index in (3, -1, np.int64(7), np.array(5)):
        image, label = train[index]
        assert np.array_equal(image, train.images[index]) and type(label) is int and label == train.labels[index]
    with pytest.raises(IndexError):
        train[400]
    pairs = list(train)
    assert len(pairs) == 400 and np.array_equal([label for _, label in pairs], train.labels)
    assert np.array_equal(pairs[9][0], train.images[9])


def test_choices(synthetic):
    train, _ = synthetic
    few = train[train.labels < 10]
    assert np.array_equal(few.images, train.images[train.labels < 10]) and few.classes == 100
    some = train[[5, 3, -1]]
    assert some.labels.tolist() == [train.labels[5], train.labels[3], train.labels[399]]
    assert some.label_names == train.label_names
    names = {train[indices].name for indices in ([5, 3, -1], [5, 3, 398], np.array([5, 3, 399]), range(3))}
    assert len(names) == 3 and all(name.startswith(f"{train.name}[3 chosen, ") for name in names)
    for wrong in ([400], [0.5], "abc", [], np.zeros(3, bool), None):
        with pytest.raises((IndexError, ValueError)):
            train[wrong]


@pytest.mark.parametrize("size", [16, 33, 96])
def test_other_sizes(size):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, size, size), np.uint8)
    dataset = plp.datasets.from_arrays(images, range(5))
    assert dataset.image_size == size and np.array_equal(dataset.images, images)
    assert dataset[1:3].image_size == size and np.array_equal(dataset[1:3].images, images[1:3])


IMAGES = np.zeros((2, 3, 32, 32), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "classes", "message"),
    [
        (IMAGES + np.float32(2), [0, 1], None, r"images are float32 \[2, 3, 32, 32\], expected uint8"),
        (IMAGES.reshape(2, -1), [0, 1], None, r"images are uint8 \[2, 3072\]"),
        (IMAGES[..., :31], [0, 1], None, r"images are uint8 \[2, 3, 32, 31\], expected uint8 \[count, 3, size, size\]"),
        (IMAGES[..., :15, :15], [0, 1], None, "image size: found 15, expected a whole number from 16 to 96"),
        (IMAGES[..., :0, :0], [0, 1], None, "image size: found 0"),
        (np.zeros((1, 3, 2000, 2000), np.uint8), [0], None, "image size: found 2000"),
        (np.zeros((), np.uint8), [0], None, r"images are uint8 \[\]"),
        (IMAGES, [0], None, r"labels are int64 \[1\], expected integers \[2\]"),
        (IMAGES, [0.0, 1.0], None, "labels are float64"),
        (IMAGES, [0, -1], None, "-1"),
        (IMAGES, [0, 5], 5, "5"),
        (IMAGES, [0, 2**40], None, "labels range from 0 to 1099511627776"),
        (IMAGES, [0, 1], 10**30, "63 bits"),
        (IMAGES, [0, 1], 2.5, "classes is 2.5"),
        (IMAGES[:0], np.zeros(0, int), None, "."),
    ],
)
def test_wrong_arrays(images, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        plp.datasets.from_arrays(images, labels, classes)


@pytest.mark.parametrize("name", [3, None, "a\0b"], ids=repr)
def test_wrong_names(name):
    with pytest.raises(ValueError, match="name is .*, expected a text without NUL characters"):
        plp.datasets.from_arrays(IMAGES, [0, 1], name=name)


PICTURES = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), np.uint8)


@pytest.mark.parametrize(
    "images",
    [
        PICTURES.transpose(0, 2, 3, 1),
        PICTURES / 255,
        PICTURES.transpose(0, 2, 3, 1) / np.float32(255),
        PICTURES.astype(np.int64),
        list(PICTURES),
    ],
    ids=["channels last", "fractions", "both", "integers", "list"],
)
def test_images_as_people_have_them(images):
    assert np.array_equal(plp.datasets.from_arrays(images, [0, 1, 2, 3]).images, PICTURES)


@pytest.mark.parametrize("axes", [(), (1,), (3,)], ids=str)
def test_grey_images(axes):
    grey = PICTURES[:, 0]
    dataset = plp.datasets.from_arrays(np.expand_dims(grey, axes), [0, 1, 2, 3])
    assert all(np.array_equal(dataset.images[:, channel], grey) for channel in range(3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_labels_as_people_have_them(dtype, small):
    column = np.array([[3], [0], [1], [3]], np.int64 if dtype in (np.float32, bool) else dtype)
    one_hot = np.eye(7, dtype=dtype)[column[:, 0]]
    for labels, classes in ((column, 4), (one_hot, 7)):
        dataset = plp.datasets.from_arrays(PICTURES, labels)
        assert dataset.labels.tolist() == [3, 0, 1, 3] and dataset.classes == classes
    loss = plp.Trainer(small, batch_size=4).gradients(PICTURES, [3, 0, 1, 3])
    same = plp.Trainer(small, batch_size=4).gradients(PICTURES.transpose(0, 2, 3, 1), one_hot)
    assert all(np.array_equal(loss[name], same[name]) for name in loss)


def test_pairs_where_sets_are_taken(small, synthetic):
    train, test = synthetic
    pair = (test.images.transpose(0, 2, 3, 1), test.labels[:, None])
    assert small.evaluate(pair) == small.evaluate(test) == plp.Trainer(small).evaluate(list(pair))
    trainer = plp.Trainer(small, batch_size=50)
    history = trainer.fit((train.images, train.labels), validation=pair, test=pair, progress=False)
    assert history.data == "train, 400 images; for validation validation, 100 images" and history.test


class Torchvision:
    data, targets = PICTURES.transpose(0, 2, 3, 1), [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Torchvision(), r"plp.datasets.from_arrays\(train.data, train.targets\) makes one"),
        (plp.datasets.synthetic(1, 1), "of two sets, give one"),
        (PICTURES, "expected a dataset or a pair of images and labels"),
        (None, "expected a dataset or a pair"),
    ],
)
def test_what_is_no_set(small, value, message):
    with pytest.raises(ValueError, match=message):
        plp.Trainer(small).fit(value, progress=False)


@pytest.mark.parametrize(("train", "test", "seed"), [(0, 1, 0), (-5, 1, 0), (10, 1.5, 0), (10, 10, -1), (10**18, 1, 0)])
def test_absurd_synthetic_sets(train, test, seed):
    with pytest.raises((ValueError, MemoryError)):
        plp.datasets.synthetic(train, test, seed=seed)


def test_missing_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        plp.datasets.cifar100(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        plp.datasets.cifar10(tmp_path)


def test_damaged_files(tmp_path):
    (tmp_path / "train.bin").write_bytes(b"\0" * 3074)
    (tmp_path / "test.bin").write_bytes(b"\0" * 3000)
    (tmp_path / "fine_label_names.txt").write_text("apple\n" * 100)
    with pytest.raises(plp.Error, match=r"t\w+\.bin"):
        plp.datasets.cifar100(tmp_path)


def test_coarse_labels(tmp_path):
    for split, images in ("train", 50_000), ("test", 10_000):
        with (tmp_path / f"{split}.bin").open("wb") as file:
            file.write(b"\x07\x2a")  # of the first image; the rest is zeros
            file.truncate(images * 3074)
    (tmp_path / "coarse_label_names.txt").write_text("".join(f"group {i}\n" for i in range(20)))
    for labels, first, classes, name in ("coarse", 7, 20, "CIFAR-100 coarse test"), ("fine", 42, 100, "CIFAR-100 test"):
        dataset = plp.datasets.cifar100(tmp_path, labels=labels)[1]
        assert dataset.labels[:2].tolist() == [first, 0] and (dataset.classes, dataset.name) == (classes, name)
    assert plp.datasets.cifar100(tmp_path, labels="coarse")[0].label_names[19] == "group 19"
    with pytest.raises(ValueError, match="labels is 'both', expected 'fine' or 'coarse'"):
        plp.datasets.cifar100(tmp_path, labels="both")


@pytest.mark.parametrize("protocol", range(2, 6))
def test_files_pickled_anew(tmp_path, protocol):
    """They are refused with the line that reads them."""
    images = np.random.default_rng(0).integers(0, 256, (10_000, 3072), np.uint8)
    content = {"data": images, "fine_labels": [i % 100 for i in range(10_000)], "coarse_labels": [0] * 10_000}
    for split in "train", "test":
        (tmp_path / split).write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(plp.Error, match="train: .*; of a file that was pickled anew") as caught:
        plp.datasets.cifar100(tmp_path)
    read, make = str(caught.value).partition("trust: ")[2].split(", then ")
    names = {"pickle": pickle, "plp": plp}
    exec(read, names)
    assert np.array_equal(eval(make, names).images.reshape(10_000, -1), images)


@pytest.mark.parametrize("inside", [True, False])
def test_an_archive_that_is_not_unpacked(tmp_path, inside):
    archive = tmp_path / "cifar-100-python.tar.gz"
    archive.write_bytes(b"")
    with pytest.raises(
        FileNotFoundError, match="not yet unpacked, which is done by: tar -xzf '.*cifar-100-python.tar.gz'"
    ):
        plp.datasets.cifar100(tmp_path if inside else archive)


def test_pickles_are_not_executed(tmp_path):
    (tmp_path / "train").write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "executed") + b"'\ntR.")
    (tmp_path / "test").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    (tmp_path / "meta").write_bytes(b"\x80\x04}.")
    with pytest.raises(plp.Error):
        plp.datasets.cifar100(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_find_names_a_missing_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLP_DATA", raising=False)
    monkeypatch.setattr("plp._download.user_cache_path", lambda *_, **__: tmp_path / "cache")
    assert plp.datasets.find() is None
    with pytest.raises(FileNotFoundError):
        plp.datasets.find(tmp_path / "nowhere")
    monkeypatch.setenv("PLP_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        plp.datasets.find()


def test_real(real):
    train, test = real
    assert (len(train), len(test), train.classes) == (50_000, 10_000, 100)
    assert (np.bincount(train.labels) == 500).all() and (np.bincount(test.labels) == 100).all()
    assert train.label_names[0] == "apple" and train.label_names[99] == "worm"
    assert train.images.mean() / 255 == pytest.approx((0.5071 + 0.4865 + 0.4409) / 3, abs=1e-3)
