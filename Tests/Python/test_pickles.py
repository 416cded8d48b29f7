"""Pickles and copies of data sets, models and trainers: in one process, in others, and damaged."""

import copy
import json
import multiprocessing
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


def test_a_folder_may_be_bytes(files):
    test = plp.datasets.cifar100(os.fsencode(files))[1]
    assert json.dumps(test._to_plain()) == json.dumps(plp.datasets.cifar100(files)[1]._to_plain())


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


def test_arrays_that_a_study_keeps_in_a_file(tmp_path):
    kept = plp.datasets.from_arrays(np.zeros((2, 3, 32, 32), np.uint8), [0, 1])._kept(tmp_path)
    pickled = pickle.dumps(kept)
    assert same(pickle.loads(pickled), kept)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    encrypted = whole.index(b"PK\1\2") + 8  # of the first array, says the lowest bit there
    for damaged in (whole[:-100], whole[:encrypted] + b"\1" + whole[encrypted + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(plp.Error, match="npz is not images that a study of plp's has kept: "):
            pickle.loads(pickled)


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
        with pytest.raises(ValueError, match="a pickled dataset is of .*expected one of arrays, cifar100"):
            function(source, *arguments[1:])
    function, arguments = plp.datasets.from_arrays(synthetic[0].images, synthetic[0].labels).__reduce__()
    with pytest.raises(ValueError, match="images are uint8"):
        function(arguments[0][:, :2], *arguments[1:])
    with pytest.raises(ValueError, match="label_names is"):
        function(*arguments[:4], ["one"])


# ---- Models and trainers ---------------------------------------------------------------------------------------------

COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda one: pickle.loads(pickle.dumps(one))}
each_copy = pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)


def equal(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@each_copy
@pytest.mark.parametrize("options", [
    {"architecture": "resnet18", "width": 1 / 16, "seed": 2**64 - 1, "mean": (0.1, 0.2, 0.3), "std": (1, 2, 3)},
    {"architecture": "vgg16", "width": 0.03, "dropout": 0.25, "classes": 7},
    {"architecture": "googlenet", "width": 0.1, "channel_count_epsilons": True},
], ids=lambda options: options["architecture"])  # fmt: skip
def test_copies_of_models(make, options, synthetic):
    model = plp.Model(**options)
    model.load_state_dict({name: values + 1 for name, values in model.state_dict().items()})
    model.note = ["kept"]
    other = make(model)
    assert (other._info, repr(other), other.note) == (model._info, repr(model), model.note) and equal(other, model)
    images = synthetic[1].images[:10]
    logits = model.logits(images)
    np.testing.assert_array_equal(other.logits(images), logits)
    other.load_state_dict({name: np.zeros_like(values) for name, values in other.state_dict().items()})
    np.testing.assert_array_equal(model.logits(images), logits)


METHODS = {"plp": plp.PLP(), "ema": plp.EMA(), "none": None}


@each_copy
@pytest.mark.parametrize("predictor", METHODS.values(), ids=METHODS)
def test_copies_of_trainers_go_on_to_the_last_bit(make, predictor, small, synthetic):
    train, test = synthetic
    trainer = plp.Trainer(
        small,
        optimizer=plp.SGD(lr=0.05, demon=True),
        predictor=predictor,
        schedule=plp.schedules.Cosine(),
        batch_size=50,
        seed=3,
        threads=1,
    )

    def stop(progress):
        if (progress.epoch, progress.iteration) == (2, 4):
            raise StopIteration

    with pytest.raises(StopIteration):
        trainer.fit(train, validation=0.2, epochs=3, progress=False, callback=stop)
    other = make(trainer)
    assert (other.recipe, other.history, other.model is not small) == (trainer.recipe, trainer.history, True)
    histories = [one.fit(train, validation=0.2, test=test, epochs=3, progress=False) for one in (trainer, other)]
    assert equal(trainer.model, other.model) and equal(trainer.best_model, other.best_model)
    assert [e.train for e in histories[0]] == [e.train for e in histories[1]] and histories[0].test == histories[1].test
    assert make(trainer).history == histories[0] and histories[0].last_test


def test_a_trainer_and_its_model_stay_together(small):
    trainer = plp.Trainer(small)
    model, other = pickle.loads(pickle.dumps((small, trainer)))
    assert other.model is model


def trained(work):
    trainer, train = work
    trainer.fit(train, epochs=2, progress=False)
    return trainer


def test_other_processes(small, synthetic):
    """Started anew, so that all they know of the work was pickled."""
    train = synthetic[0][:100]
    trainer = plp.Trainer(small, batch_size=50)
    trainer.fit(train, epochs=1, progress=False)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        other = pool.map(trained, [(trainer, train)])[0]
    assert equal(other.model, trained((trainer, train)).model)
    assert [epoch.train for epoch in other.history] == [epoch.train for epoch in trainer.history]


def restored(thing, **changes):
    state = {**thing.__getstate__(), **changes}
    type(thing).__new__(type(thing)).__setstate__({k: v for k, v in state.items() if v != "lacking"})


@pytest.mark.parametrize("predictor", [plp.PLP(), plp.Lookahead(), plp.EMA(), plp.SWA(start=2)])
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda prediction: pickle.loads(pickle.dumps(prediction))])
def test_copies_of_predictions_go_on_apart(predictor, make):
    random = np.random.default_rng(0)
    first = [random.normal(size=shape).astype(np.float32) for shape in ((3, 2), (5,))]
    prediction = plp.Prediction(predictor, first)

    def steps(prediction, theta, count):
        for number in range(count):
            for array in theta:
                array -= 0.1 * number
            prediction.after_step(theta)
        return theta

    theta = steps(prediction, first, 4)
    again = make(prediction)
    theirs = steps(again, [array.copy() for array in theta], 7)
    ours = steps(prediction, theta, 7)
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs))
    assert prediction.state_dict().keys() == again.state_dict().keys() and repr(again.predictor) == repr(predictor)


def test_damaged_pickles_of_models_and_trainers(small):
    tensors = small.state_dict()
    trainer = plp.Trainer(small, batch_size=50)
    checkpoint = trainer.__getstate__()["_handle"]
    prediction = plp.Prediction(plp.PLP(), np.zeros(3, np.float32))
    for thing, changes, error, message in (
        (small, {"_state": {**tensors, "fc.bias": np.zeros(3)}}, ValueError, "fc.bias has shape"),
        (small, {"_state": list(tensors)}, ValueError, "a pickled model has list for _state, expected dict"),
        (small, {"_options": "lacking"}, ValueError, "a pickled model has nothing for _options"),
        (small, {"_options": {"architecture": "resnet19"}}, ValueError, "resnet19"),
        (small, {"_options": {"depth": 19}}, ValueError, "there is no option 'depth'"),
        (trainer, {"_handle": checkpoint[:-1]}, plp.Error, "pickled trainer: "),
        (trainer, {"_handle": None}, ValueError, "a pickled trainer has NoneType for _handle, expected bytes"),
        (trainer, {"model": tensors}, ValueError, "a pickled trainer has dict for model, expected Model"),
        (trainer, {"recipe": plp.PAPER}, ValueError, "pickled trainer: "),
        (prediction, {"_handles": {}}, ValueError, "state has , expected state0"),
        (prediction, {"predictor": "plp"}, ValueError, "a pickled prediction has str for predictor"),
    ):
        with pytest.raises(error, match=message):
            restored(thing, **changes)
    with pytest.raises(ValueError, match="a pickled model holds list, expected a dict"):
        plp.Model.__new__(plp.Model).__setstate__([1])


def test_completion_shows_what_is_public():
    assert dir(plp.datasets) == sorted(plp.datasets.__all__)
    assert dir(plp.schedules) == sorted(plp.schedules.__all__)
    assert set(dir(plp)) == {*plp.__all__, "torch"}  # which is imported when it is asked for
