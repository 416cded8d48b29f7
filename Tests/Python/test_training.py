"""Models and trainers: state dictionaries, steps, fits, checkpoints, and what goes wrong."""

import copy
import errno
import subprocess
import sys
import threading
import time

import numpy as np
import plp
import pytest

QUICK = {"optimizer": plp.SGD(lr=0.05), "batch_size": 50}


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# ---- Models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("vgg16", 34_015_396), ("resnet18", 11_220_132), ("googlenet", 6_402_564)])
def test_parameter_counts(name, count):
    model = plp.Model(name)
    assert model.parameter_count == count
    assert (model.architecture, model.classes, model.width) == (name, 100, 1.0)


def test_state_dict_round_trip(small):
    state = small.state_dict()
    assert state["conv1.0.weight"].shape[1:] == (3, 3, 3) and state["conv1.0.weight"].dtype == np.float32
    assert state["conv1.1.num_batches_tracked"].dtype == np.int64 and state["conv1.1.num_batches_tracked"].shape == ()
    changed = {name: values + 1 for name, values in state.items()}
    small.load_state_dict(changed)
    assert equal(small.state_dict(), changed)


def test_state_dict_is_a_copy(small):
    small.state_dict()["fc.bias"][:] = 7
    assert not (small.state_dict()["fc.bias"] == 7).any()


def test_wrong_state_dicts_change_nothing(small):
    before = small.state_dict()
    other = {name: values * 2 for name, values in before.items()}
    lacking = {name: values for name, values in other.items() if name != "fc.bias"}
    for state, message in (
        (lacking, "lacks fc.bias"),
        ({**other, "fc2.bias": 0}, "has fc2.bias, which resnet18 has not"),
        ({**other, "fc.bias": np.zeros(3)}, r"fc.bias has shape \[3\], expected \[100\]"),
        ({**other, "fc.bias": np.zeros(100, complex)}, "fc.bias has dtype complex128, expected float32"),
        ({f"net.{name}": values for name, values in other.items()}, "lacks conv1.*more and has net.conv1.*more,"),
        ({**other, 0: np.zeros(3)}, "has 0, which resnet18 has not"),
        ({"epoch": 3, "weights": other}, r"lacks conv1.*and has epoch, weights,.* in it: state\['weights'\]"),
        ([other], "the state dictionary is .*, expected tensors by name"),
        ({}, "lacks conv1"),
    ):
        with pytest.raises(ValueError, match=message):
            small.load_state_dict(state)
    assert equal(small.state_dict(), before)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_state_dicts_of_wrapped_modules(small, prefix):
    state = {name: values + 1 for name, values in small.state_dict().items()}
    small.load_state_dict({prefix + name: values for name, values in state.items()})
    assert equal(small.state_dict(), state)


def test_state_dicts_without_counters(small):
    state = {name: values + 1 for name, values in small.state_dict().items()}
    small.load_state_dict(state)
    small.load_state_dict({name: values for name, values in state.items() if values.dtype == np.float32})
    counters = {name: 0 for name in state if name.endswith("num_batches_tracked")}
    assert equal(small.state_dict(), {**state, **counters}) and len(counters) > 10


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"PK\x03\x04 and the rest", r"model.load_state_dict\(torch.load\('.*w.pth', map_location='cpu'\)\)"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "w.pth' is a file of PyTorch's: model = plp.Model"),
    ],
    ids=["zip", "pickle"],
)  # fmt: skip
def test_weights_of_pytorch_s(start, message, tmp_path):
    (tmp_path / "w.pth").write_bytes(start)
    with pytest.raises(plp.Error, match=message):
        plp.Model.load(tmp_path / "w.pth")


def test_files_of_plp_s_that_are_no_models(small, tmp_path):
    plp.Trainer(small, batch_size=2).save(tmp_path / "run")
    with pytest.raises(plp.Error, match="run' is a trainer's checkpoint: trainer.restore"):
        plp.Model.load(tmp_path / "run")
    np.savez(tmp_path / "w.npz", **small.state_dict())
    with pytest.raises(plp.Error, match=r"is a file of NumPy's: .*load_state_dict\(dict\(np.load\('.*w.npz'\)\)\)"):
        plp.Model.load(tmp_path / "w.npz")
    plp.Model("resnet18", width=1 / 16).load_state_dict(dict(np.load(tmp_path / "w.npz")))


def test_a_state_dictionary_in_safetensors(small, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    state = {name: np.asarray(values + 1) for name, values in small.state_dict().items()}
    safetensors.save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(plp.Error, match=r"model.load_state_dict\((safetensors.*)\)") as caught:
        plp.Model.load(tmp_path / "w.safetensors")
    line = str(caught.value).rpartition("load_state_dict(")[2].removesuffix(")")
    small.load_state_dict(eval(line, {"safetensors": __import__("safetensors.numpy")}))
    assert equal(small.state_dict(), state)


def test_names_of_networks_in_any_case():
    assert repr(plp.Model("ResNet18", width=1 / 16)) == repr(plp.Model("resnet18", width=1 / 16))
    with pytest.raises(ValueError, match="resnet19.*resnet18"):
        plp.Model("ResNet19")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: plp.Model(num_classes=10), r"Model has no argument num_classes: write classes=10"),
        (lambda m: plp.Model(device="cuda"), "Model has no argument device: it computes on the processor"),
        (lambda m: plp.Trainer(m, lr=0.1), r"Trainer has no argument lr: write optimizer=plp.SGD\(lr=0.05\)"),
        (lambda m: plp.Trainer(m, epochs=2), r"no argument epochs: write trainer.fit\(train, epochs=10\)"),
        (lambda m: plp.Trainer(m).fit(None, batch_size=2), "Trainer.fit has no argument batch_size: write plp.Tr"),
        (lambda m: plp.Trainer(m).fit(None, validation_split=0.1), "validation_split: write validation=0.2"),
        (lambda m: plp.datasets.from_arrays([], [], num_classes=3), "from_arrays has no argument num_classes"),
        (lambda m: plp.compare(batch_size=64), "compare has no argument batch_size: it is the recipe.s: write recipe="),
        (lambda m: plp.compare(n_jobs=2), "compare has no argument n_jobs: write jobs=2"),
        (lambda m: plp.Model(depth=3), "unexpected keyword argument 'depth'"),
    ],
)
def test_keywords_of_other_libraries(small, call, message):
    with pytest.raises(TypeError, match=message):
        call(small)


def test_seeds_choose_the_start():
    first, again, other = (plp.Model("resnet18", width=1 / 16, seed=s).state_dict() for s in (1, 1, 2))
    assert equal(first, again) and not equal(first, other)


def test_save_and_load(small, tmp_path, synthetic):
    small.save(tmp_path / "model.safetensors")
    loaded = plp.Model.load(tmp_path / "model.safetensors")
    assert equal(loaded.state_dict(), small.state_dict()) and repr(loaded) == repr(small)
    images = synthetic[1].images
    assert np.array_equal(loaded.logits(images), small.logits(images))


def test_files_that_are_no_models(small, tmp_path):
    missing = tmp_path / "missing" / "modèle"
    with pytest.raises(FileNotFoundError) as load:
        plp.Model.load(missing)
    with pytest.raises(FileNotFoundError) as save:
        small.save(missing)
    with pytest.raises(IsADirectoryError) as folder:
        plp.Model.load(tmp_path)
    with pytest.raises(FileNotFoundError) as data:
        plp.datasets.cifar100(tmp_path)
    for error, number, path, text in [
        (load, errno.ENOENT, missing, "No such file or directory"),
        (save, errno.ENOENT, missing, "opening its folder failed: No such file or directory"),
        (folder, errno.EISDIR, tmp_path, "found a folder, expected a regular file"),
        (data, errno.ENOENT, tmp_path, "found no CIFAR-100, expected a file train"),
    ]:
        assert (error.value.errno, error.value.filename) == (number, str(path))
        assert error.value.strerror.startswith(text) and str(path) not in error.value.strerror
    small.save(tmp_path / "model")
    data = (tmp_path / "model").read_bytes()
    for damaged in (b"", b"x", data[:-1], data[:40], b"\xff" * 8 + data[8:]):
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(plp.Error, match="damaged"):
            plp.Model.load(tmp_path / "damaged")


def test_logits(small, synthetic):
    images = synthetic[1].images
    logits = small.logits(images)
    assert logits.shape == (100, 100) and logits.dtype == np.float32 and np.isfinite(logits).all()
    assert small.logits(images[:0]).shape == (0, 100)
    assert np.array_equal(small.logits(images, threads=1), logits)
    np.testing.assert_allclose(small.logits(images[:7]), logits[:7], rtol=1e-4, atol=1e-5)
    many = small.logits(np.tile(images, (11, 1, 1, 1)))  # more than are computed at a time
    np.testing.assert_allclose(many, np.tile(logits, (11, 1)), rtol=1e-4, atol=1e-5)
    mean, deviation = (np.array(small._info[key], np.float32)[:, None, None] for key in ("mean", "deviation"))
    np.testing.assert_allclose(
        small.logits((images / np.float32(255) - mean) / deviation), logits, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    ("images", "hint"),
    [
        (np.zeros((2, 3, 32, 32)), r"normalised ones: images.astype\(np.float32\)"),
        (np.zeros((2, 3072), np.uint8), r"images.reshape\(-1, 3, 32, 32\)"),
        (np.zeros((3, 32, 32), np.uint8), r"images\[None\]"),
        (np.zeros(5, np.uint8), ""),
    ],
)
def test_wrong_images(small, images, hint):
    with pytest.raises(ValueError, match="expected uint8 or float32.*" + hint):
        small.logits(images)
    with pytest.raises(ValueError, match="expected uint8 or float32"):
        plp.Trainer(small, **QUICK).step(images, [0, 1])


def test_images_of_another_size_than_the_models(small, synthetic, tmp_path):
    model = plp.Model("resnet18", classes=100, width=1 / 16, image_size=48)
    model.save(tmp_path / "model")
    images = np.zeros((2, 3, 48, 48), np.uint8)
    assert model.image_size == 48 and small.image_size == 32
    assert plp.Model.load(tmp_path / "model").image_size == 48
    assert model.logits(images).shape == (2, 100)
    assert np.isfinite(plp.Trainer(model, **QUICK).step(images, [0, 1]))
    for call in (small.logits, lambda images: plp.Trainer(small, **QUICK).step(images, [0, 1])):
        with pytest.raises(ValueError, match=r"\[2, 3, 48, 48\], expected uint8 or float32 \[count, 3, 32, 32\]"):
            call(images)
    refused = f"image size of {synthetic[0].name}: found 32, expected the model's 48"
    with pytest.raises(ValueError, match=refused):
        plp.Trainer(model, **QUICK).fit(synthetic[0], progress=False)
    with pytest.raises(ValueError, match=refused):
        model.evaluate(synthetic[0])
    mine = plp.datasets.from_arrays(images, [0, 1])
    with pytest.raises(ValueError, match="image size of images: found 48, expected the model's 32"):
        plp.Trainer(small, **QUICK).fit(synthetic[0], validation=mine, progress=False)
    for size in (31, 97, -1):
        with pytest.raises(
            ValueError, match=f"image size of vgg16: found {size}, expected a whole number from 32 to 96"
        ):
            plp.Model("vgg16", image_size=size)
    with pytest.raises(ValueError, match="image_size is 'large', expected a whole number"):
        plp.Model(image_size="large")


# ---- Steps -----------------------------------------------------------------------------------------------------------


def test_step_learns_a_mini_batch(small, synthetic):
    images, labels = synthetic[0].images[:50], synthetic[0].labels[:50]
    trainer = plp.Trainer(small, **QUICK)
    losses = [trainer.step(images, labels) for _ in range(15)]
    assert losses[-1] < losses[0] - 1


def test_profile(small, synthetic):
    images, labels = synthetic[0].images[:8], synthetic[0].labels[:8]
    trainer = plp.Trainer(small, predictor=plp.PLP(), batch_size=8)
    assert trainer.profile.iterations == 0 and trainer.profile.seconds == 0
    trainer.step(images, labels)
    first = trainer.profile
    assert first.iterations == 1 and first.timings[0].operation == "convolution"
    assert first.timings[-1].operation == "update" and all(t.seconds > 0 for t in first.timings)
    for _ in range(3):
        trainer.step(images, labels)
    later = trainer.profile - first
    assert later.iterations == 3
    assert later.seconds == pytest.approx((4 * trainer.profile.seconds - first.seconds) / 3)
    assert "images/s" in str(later) and "parameters" in str(later)


def test_gradients_change_nothing(small, synthetic):
    images, labels = synthetic[0].images[:50], synthetic[0].labels[:50]
    before = small.state_dict()
    gradients = plp.Trainer(small, **QUICK).gradients(images, labels)
    assert equal(small.state_dict(), before)
    assert {name: g.shape for name, g in gradients.items()} == {
        name: v.shape for name, v in before.items() if "running" not in name and "tracked" not in name
    }
    # The bias's gradient is the mean of softmax minus one-hot: it sums to nothing.
    assert gradients["fc.bias"].sum() == pytest.approx(0, abs=1e-5)


def test_parameters_are_what_has_gradients(small, synthetic):
    gradients = plp.Trainer(small, **QUICK).gradients(synthetic[0].images[:2], synthetic[0].labels[:2])
    assert small.parameter_names == list(gradients)
    assert sum(gradient.size for gradient in gradients.values()) == small.parameter_count


def test_a_counter_at_its_end_ends_nothing(small, synthetic):
    state = small.state_dict()
    counter = next(name for name in state if name.endswith("num_batches_tracked"))
    small.load_state_dict({**state, counter: np.array(2**63 - 1)})
    assert np.isfinite(plp.Trainer(small, **QUICK).step(synthetic[0].images[:2], synthetic[0].labels[:2]))


def test_a_step_is_down_the_gradient(small, synthetic):
    images, labels = synthetic[0].images[:50], synthetic[0].labels[:50]
    trainer = plp.Trainer(small, optimizer=plp.SGD(lr=0.1, momentum=0.9, weight_decay=0.0), batch_size=50)
    before, gradients = small.state_dict(), trainer.gradients(images, labels)
    trainer.step(images, labels)
    after = small.state_dict()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(after[name], before[name] - np.float32(0.1) * gradient, rtol=1e-5, atol=1e-7)


def test_prediction_follows_the_formula(synthetic):
    def run(predictor, steps):
        model = plp.Model("resnet18", width=1 / 16)
        trainer = plp.Trainer(model, predictor=predictor, **QUICK)
        states = []
        for n in range(steps):
            trainer.step(synthetic[0].images[50 * n : 50 * n + 50], synthetic[0].labels[50 * n : 50 * n + 50])
            states.append(model.state_dict())
        return states

    plain, predicted = run(None, 3), run(plp.PLP(), 3)
    assert equal(plain[1], predicted[1])
    for name in (n for n in plain[0] if n.endswith(("weight", "bias"))):
        expected = plp.predict(*(state[name] for state in plain))
        np.testing.assert_array_max_ulp(predicted[2][name], expected, maxulp=1)


def test_a_model_evaluates_as_its_trainer_does(small, synthetic):
    trainer = plp.Trainer(small, **QUICK)
    trainer.fit(synthetic[0], progress=False)
    assert small.evaluate(synthetic[1]) == small.evaluate(synthetic[1], threads=1) == trainer.evaluate(synthetic[1])
    with pytest.raises(ValueError, match="dataset is 3, expected a dataset"):
        small.evaluate(3)
    with pytest.raises(ValueError, match="threads: found -1"):
        small.evaluate(synthetic[1], threads=-1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0], r"labels are int64 \[1\]"),
        ([0.0, 1.0], "float64"),
        ([0, 100], "100"),
        ([0, -1], "-1"),
        ([0, 2**35], "range"),
    ],
)
def test_wrong_labels(small, labels, message):
    trainer = plp.Trainer(small, **QUICK)
    with pytest.raises(ValueError, match=message):
        trainer.step(np.zeros((2, 3, 32, 32), np.uint8), labels)
    assert np.isfinite(trainer.step(np.zeros((2, 3, 32, 32), np.uint8), [0, 1]))


def test_batches_of_a_wrong_size(small):
    trainer = plp.Trainer(small, **QUICK)
    for count in (0, 51):
        with pytest.raises(ValueError):
            trainer.step(np.zeros((count, 3, 32, 32), np.uint8), np.zeros(count, int))


def test_a_loss_that_is_not_finite(small):
    images = np.full((2, 3, 32, 32), np.nan, np.float32)
    with pytest.raises(plp.Error, match="finite"):
        plp.Trainer(small, **QUICK).step(images, [0, 1])


# ---- Fits ------------------------------------------------------------------------------------------------------------


def test_fit(small, synthetic, capfd):
    train, test = synthetic
    history = plp.Trainer(small, **QUICK).fit(train, validation=0.25, test=test, epochs=2)
    assert [e.epoch for e in history] == [1, 2] and not history.interrupted
    assert all(e.complete and 0 <= e.validation.top1_error <= 1 for e in history)
    best = max(history, key=lambda e: (e.validation.accuracy, -e.epoch))
    assert history.best_epoch == best.epoch and history.test is not None and history.last_test is not None
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3 and "resnet18 epoch 2/2" in lines[2] and "images/s" in lines[2]


def test_a_small_network_learns_the_synthetic_set():
    train, test = plp.datasets.synthetic(8000, 1000)
    model = plp.Model("resnet18", width=0.125)
    trainer = plp.Trainer(
        model, optimizer=plp.SGD(lr=0.1, weight_decay=5e-4), schedule=plp.schedules.Cosine(), predictor=plp.PLP()
    )
    history = trainer.fit(train, validation=0.1, test=test, epochs=6, progress=False)
    assert history.test.accuracy > 0.5  # where a linear classifier gets 0.12 at most


def test_fit_is_silent_on_request(small, synthetic, capfd):
    plp.Trainer(small, **QUICK).fit(synthetic[0], progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_seed_decides_everything_and_threads_nothing(synthetic):
    def run(seed, threads=0):
        model = plp.Model("resnet18", width=1 / 16)
        plp.Trainer(model, seed=seed, threads=threads, **QUICK).fit(synthetic[0], progress=False)
        return model.state_dict()

    assert equal(run(1), run(1, threads=1)) and not equal(run(1), run(2))


def test_callback_hears_every_iteration_and_can_stop(small, synthetic):
    heard = []

    def callback(progress):
        heard.append(progress)
        assert not trainer.history.interrupted
        return len(heard) == 5

    trainer = plp.Trainer(small, **QUICK)
    history = trainer.fit(synthetic[0], epochs=3, callback=callback, progress=False)
    assert [p.iteration for p in heard] == [1, 2, 3, 4, 5] and {p.iterations for p in heard} == {8}
    assert not history[-1].complete
    history = trainer.fit(synthetic[0], epochs=1, callback=callback, progress=False)
    assert history[0].complete
    assert [p.iteration for p in heard if p.phase == "training"] == list(range(1, 9))


def test_a_callback_that_stops_early_leaves_a_whole_result(small, synthetic):
    """The best model is measured, and nothing is called interrupted: the run ended as its callback meant it to."""
    train, test = synthetic
    trainer = plp.Trainer(small, **QUICK)
    enough = lambda progress: bool(progress.finished) and progress.epoch == 2  # noqa: E731
    history = trainer.fit(train, validation=0.25, test=test, epochs=9, callback=enough, progress=False)
    assert [epoch.complete for epoch in history] == [True, True]
    assert history.test == trainer.best_model.evaluate(test) and history.last_test == trainer.evaluate(test)
    assert not history.interrupted and "interrupted" not in str(history) and "test set" in str(history)


def test_the_last_model_s_test_lasts_as_long_as_the_best_one_s(small, synthetic):
    trainer = plp.Trainer(small, **QUICK)
    history = trainer.fit(synthetic[0], test=synthetic[1], epochs=2, progress=False)
    with pytest.raises(ValueError, match="epochs: found 1"):
        trainer.fit(synthetic[0], epochs=1, progress=False)
    assert trainer.history == history and history.test and history.last_test
    small.load_state_dict({**small.state_dict(), "fc.bias": np.full(100, np.nan)})
    with pytest.raises(plp.Error, match="0 of 8 iterations"):
        trainer.fit(synthetic[0], epochs=3, progress=False)
    assert trainer.history.test is None and trainer.history.last_test is None


def test_callback_sees_the_model_and_saves_checkpoints(small, synthetic, tmp_path):
    trainer = plp.Trainer(small, predictor=plp.PLP(), **QUICK)
    predicted = []

    def callback(progress):
        predicted.append(progress.predicted)
        if progress.finished:
            trainer.save(tmp_path / "checkpoint")
        assert np.isfinite(small.state_dict()["fc.bias"]).all()

    trainer.fit(synthetic[0], callback=callback, progress=False)
    assert predicted[:8] == [False, False, True, False, False, True, False, False]
    assert (tmp_path / "checkpoint").exists()


def test_callbacks_exception_comes_through(small, synthetic):
    def callback(progress):
        raise LookupError("mine")

    trainer = plp.Trainer(small, **QUICK)
    with pytest.raises(LookupError, match="mine"):
        trainer.fit(synthetic[0], callback=callback, progress=False)
    assert trainer.history.interrupted


def test_resume_is_bit_for_bit(synthetic, tmp_path):
    def trainer():
        model = plp.Model("resnet18", width=1 / 16)
        return plp.Trainer(model, predictor=plp.PLP(), schedule=plp.schedules.Cosine(), seed=3, **QUICK)

    whole, first, second = trainer(), trainer(), trainer()
    whole.fit(synthetic[0], validation=0.25, epochs=2, progress=False)
    first.fit(
        synthetic[0], validation=0.25, epochs=2, progress=False, callback=lambda p: p.epoch == 2 and p.iteration == 2
    )
    first.save(tmp_path / "checkpoint")
    second.restore(tmp_path / "checkpoint")
    history = second.fit(synthetic[0], validation=0.25, epochs=2, progress=False)
    assert equal(second.model.state_dict(), whole.model.state_dict())
    assert [e.train for e in history] == [e.train for e in whole.history]


def test_checkpoints_of_other_runs(small, tmp_path):
    plp.Trainer(small, **QUICK).save(tmp_path / "checkpoint")
    others = [
        ("model.width: 0.0625 in the checkpoint, 0.125 in the trainer", plp.Model("resnet18", width=1 / 8, seed=1), {}),
        ("optimizer.lr: 0.05 in the checkpoint, 0.1 in the trainer", small, {"optimizer": plp.SGD(lr=0.1)}),
        ("predictor: none in the checkpoint, PLP in the trainer", small, {"predictor": plp.PLP()}),
        ("seed: 0 in the checkpoint, 7 in the trainer", small, {"seed": 7}),
    ]
    for line, model, options in others:
        with pytest.raises(ValueError) as error:
            plp.Trainer(model, **(QUICK | options)).restore(tmp_path / "checkpoint")
        assert str(error.value).splitlines()[1:] == [f"    {line}"]
    with pytest.raises(FileNotFoundError):
        plp.Trainer(small, **QUICK).restore(tmp_path / "missing")
    (tmp_path / "damaged").write_bytes((tmp_path / "checkpoint").read_bytes()[:-1])
    with pytest.raises(plp.Error):
        plp.Trainer(small, **QUICK).restore(tmp_path / "damaged")


# The trainer is there already; what a mini-batch is prepared in, 12 MB, is not to be had.
FIT_WITHOUT_MEMORY = """
import resource, sys
from pathlib import Path
import plp
few, many = plp.datasets.synthetic(900, 1)[0], plp.datasets.synthetic(1000, 1)[0]
trainer = plp.Trainer(plp.Model("resnet18", width=1 / 64), batch_size=1000, threads=1)
limits = resource.getrlimit(resource.RLIMIT_AS)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (6 << 20), limits[1]))
try:
    sys.exit(f"trained without memory: {trainer.fit(many, progress=False)}")
except MemoryError:
    resource.setrlimit(resource.RLIMIT_AS, limits)
assert trainer.history.data == "", trainer.history.data
trainer.fit(few, progress=False)
"""


def test_a_fit_that_cannot_begin_ties_the_trainer_to_no_data():
    done = subprocess.run([sys.executable, "-c", FIT_WITHOUT_MEMORY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# No file may grow beyond half the length of the one that is there: what is to replace it fails on the way.
FAILING_SAVE = """
import os, resource, sys
from pathlib import Path
import numpy as np, plp
model = plp.Model("resnet18", width=1 / 16)
trainer = plp.Trainer(model, batch_size=2)
path, save = Path("saved"), {"model": model, "trainer": trainer}[sys.argv[1]].save
save(path)
old = path.read_bytes()
trainer.step(np.zeros((2, 3, 32, 32), np.uint8), [0, 1])
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, limits[1]))  # Python ignores its signal, SIGXFSZ
try:
    save(path)
    sys.exit("saved beyond the limit")
except OSError as error:
    assert str(error) == "[Errno 27] writing failed: File too large: 'saved'", repr(error)
assert os.listdir() == ["saved"] and path.read_bytes() == old, os.listdir()
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
save(path)
assert os.listdir() == ["saved"] and path.read_bytes() != old
"""


@pytest.mark.parametrize("which", ["model", "trainer"])
def test_a_save_that_fails_half_way_leaves_the_old_file(which, tmp_path):
    subprocess.run([sys.executable, "-c", FAILING_SAVE, which], cwd=tmp_path, check=True, timeout=60)


@pytest.mark.parametrize(
    "arguments",
    [
        {"epochs": 0},
        {"epochs": -1},
        {"epochs": 1.5},
        {"epochs": 10**30},
        {"validation": 1.0},
        {"validation": -0.1},
        {"validation": 10**400},
        {"validation": float("nan")},
        {"validation": "0.2"},
        {"validation": []},
    ],
    ids=str,
)
def test_absurd_fits(small, synthetic, arguments):
    trainer = plp.Trainer(small, **QUICK)
    with pytest.raises(ValueError):
        trainer.fit(synthetic[0], progress=False, **arguments)
    trainer.fit(synthetic[0], progress=False)


def test_too_many_classes(synthetic):
    trainer = plp.Trainer(plp.Model("resnet18", width=1 / 16, classes=10), **QUICK)
    with pytest.raises(ValueError, match="10"):
        trainer.fit(synthetic[0], progress=False)
    with pytest.raises(ValueError, match="train is 'CIFAR-100', expected a dataset"):
        trainer.fit("CIFAR-100", progress=False)
    with pytest.raises(ValueError, match="dataset is None, expected a dataset"):
        trainer.evaluate(None)


def test_a_diverging_fit_keeps_its_history(synthetic):
    trainer = plp.Trainer(
        plp.Model("resnet18", width=1 / 16), optimizer=plp.SGD(1000, weight_decay=1000), batch_size=50
    )
    with pytest.raises(plp.Error, match="iteration"):
        trainer.fit(synthetic[0], epochs=5, progress=False)
    assert trainer.history.interrupted


def test_a_diverging_fit_keeps_the_best_model(small, synthetic):
    trainer = plp.Trainer(small, **QUICK)
    trainer.fit(synthetic[0], progress=False)
    best = small.state_dict()
    small.load_state_dict({**best, "fc.bias": np.full(100, np.nan)})
    with pytest.raises(plp.Error, match="after 1 of 2 epochs and 0 of 8 iterations: loss: found nan"):
        trainer.fit(synthetic[0], epochs=2, progress=False)
    assert equal(trainer.best_model.state_dict(), best)


def test_a_fit_that_fails_at_once(small, synthetic):
    before = small.state_dict()
    small.load_state_dict({**before, "fc.bias": np.full(100, np.nan)})
    trainer = plp.Trainer(small, **QUICK)
    with pytest.raises(plp.Error, match="after 0 of 1 epochs and 0 of 8 iterations: loss: found nan"):
        trainer.fit(synthetic[0], progress=False)
    assert len(trainer.history) == 0 and trainer.history.interrupted
    small.load_state_dict(before)
    assert not trainer.fit(synthetic[0], progress=False).interrupted


def test_other_threads_run_meanwhile(small, synthetic):
    """The interpreter's lock is free during computation: another thread gets on with its work."""
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    small.logits(np.zeros((2000, 3, 32, 32), np.uint8))
    stop.set()
    thread.join()
    assert len(ticks) > 5


# ---- The bare formula ------------------------------------------------------------------------------------------------


def test_predict():
    iterates = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    expected = iterates[2] + np.float32(0.5) * (iterates[1] - iterates[0])
    np.testing.assert_allclose(plp.predict(*iterates), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(plp.predict(*iterates, coefficients=(0, 0, 2)), 2 * iterates[2])
    result = plp.predict(*iterates, out=iterates[2])
    assert np.shares_memory(result, iterates)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("offset", [-17, -1, 0, 1, 16])
def test_predict_into_memory_that_overlaps(offset):
    memory = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    iterates = [memory[i : i + 300] for i in (100, 400, 300)]
    expected = plp.predict(*iterates)
    out = memory[400 + offset : 700 + offset]
    assert plp.predict(*iterates, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_predict_in_a_thread_with_a_small_stack():
    program = """if True:
        import threading
        import numpy as np, plp
        iterates, results = [np.full(5, i, np.float32) for i in range(3)], []
        threading.stack_size(65536)
        thread = threading.Thread(target=lambda: results.append(plp.predict(*iterates)))
        thread.start()
        thread.join()
        assert results[0].tolist() == [2.5] * 5
    """
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize(
    ("iterates", "coefficients"),
    [
        ([np.zeros(2)] * 3, None),
        ([np.zeros(2, np.float32)] * 2, None),
        ([np.zeros(2, np.float32)] * 2, (1.0,)),
        ([np.zeros(2, np.float32), np.zeros(3, np.float32), np.zeros(2, np.float32)], None),
        ([np.zeros(2, np.float32)] * 1001, (1.0,) * 1001),
        ([], None),
    ],
)
def test_wrong_predictions(iterates, coefficients):
    with pytest.raises(ValueError):
        plp.predict(*iterates, coefficients=coefficients)


READ_ONLY = np.zeros(2, np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": READ_ONLY}, r"out is read-only float32 \[2\], expected contiguous, writable float32 \[2\]"),
        ({"out": np.zeros(4, np.float32)[::2]}, "out is non-contiguous float32"),
        ({"out": [0, 0]}, "out is a list, expected a NumPy array"),
        ({"coefficients": (10**400, 0, 0)}, "coefficients is .*, expected numbers"),
        ({"coefficients": 1.0}, "coefficients is 1.0, expected numbers"),
    ],
    ids=range(5),
)
def test_wrong_options_of_a_prediction(options, message):
    with pytest.raises(ValueError, match=message):
        plp.predict(*np.zeros((3, 2), np.float32), **options)


def test_a_model_remembers_what_it_was_trained_on(small, synthetic, tmp_path):
    assert small.trained_on is None
    trainer = plp.Trainer(small, threads=1)
    trainer.fit(synthetic[0][:100], validation=0.2, progress=False)
    assert small.trained_on == trainer.best_model.trained_on == "synthetic train[:100]"
    assert copy.deepcopy(small).trained_on == "synthetic train[:100]"
    trainer.save(tmp_path / "checkpoint.plp")
    restored = plp.Trainer(plp.Model("resnet18", width=1 / 16, seed=1), threads=1)
    restored.restore(tmp_path / "checkpoint.plp")
    restored.best_model.save(tmp_path / "best.safetensors")
    assert plp.Model.load(tmp_path / "best.safetensors").trained_on == "synthetic train[:100]"
