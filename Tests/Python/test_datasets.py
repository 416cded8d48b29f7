"""Data: from arrays, made by code, and real; shared with the library without copies."""

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


def test_slices(synthetic):
    train, _ = synthetic
    part = train[100:300]
    assert (len(part), part.classes, part.label_names) == (200, train.classes, train.label_names)
    assert np.array_equal(part.images, train.images[100:300]) and part.name == f"{train.name}[100:300]"
    assert train[::100].name == f"{train.name}[::100]" and len(train[-50:]) == 50
    model = plp.Model("resnet18", width=1 / 64)
    history = plp.Trainer(model, batch_size=50).fit(part, validation=train[:50], progress=False)
    assert f"{train.name}[100:300], 200 images" in history.data and f"{train.name}[:50], 50 images" in history.data
    with pytest.raises(TypeError, match="slices"):
        train[0]
    with pytest.raises(ValueError):
        train[:0]


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
        (IMAGES.astype(np.float32), [0, 1], None, r"images are float32 \[2, 3, 32, 32\], expected uint8"),
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
