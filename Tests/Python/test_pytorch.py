"""The three networks against PyTorch: same weights and images in, same logits, gradients and training steps out.

The truth is PyTorch in float64. Logits are continuous and simply compared. Gradients are not: where a ReLU's input is
within rounding of 0, or two values of a pooling window within rounding of each other, float32 may decide otherwise, and
at the sizes of a test one such decision moves whole tensors by a hundredth; PyTorch's own float32 gradients do. Hence

- gradients are compared on several mini-batches, and each tensor judged by the median: a decision that turns on one of
  them does not count, an error that is always there does,
- training over several steps likewise, each tensor relative to how far it moved,
- the update and the prediction are compared by themselves, PyTorch's optimizer being given the library's gradients.

Skipped without PyTorch; Debian's python3-torch will do.
"""

import copy
import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import plp  # noqa: E402
from programs import ROOT  # noqa: E402

sys.path.insert(0, str(ROOT / "examples/python"))
from torch_networks import NETWORKS, network  # noqa: E402

each_network = pytest.mark.parametrize("name", NETWORKS)
# Full width; and a reduced one with channel counts that are no multiple of a vector's 16, and an odd mini-batch. Images
# of other sizes: maps that do not halve evenly (33, 40, 48), and more than a pixel left for VGG16's linear layers (64).
each_size = pytest.mark.parametrize(
    "width, count, image_size", [(1.0, 8, 32), (0.3, 11, 32), (0.3, 3, 33), (0.3, 3, 40), (0.3, 3, 48), (0.3, 3, 64)]
)


def pair(name, width=1.0, dropout=0.0, **options):
    """A PyTorch module and a plp.Model with the same values, none of them at a special one such as 0 or 1."""
    torch.manual_seed(1)
    module = network(name, width=width, dropout=dropout, **options)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, -0.5, 0.5)
            torch.nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
    model = plp.Model(name, width=width, dropout=dropout, seed=2, **options)
    model.load_state_dict(arrays(module.state_dict()))
    return module, model


def arrays(tensors):
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def mini_batch(count, seed=3, image_size=32):
    """Float32 images, as if normalised, and labels."""
    random = np.random.default_rng(seed)
    images = random.standard_normal((count, 3, image_size, image_size), np.float32)
    labels = random.integers(0, 100, count).astype(np.int32)
    return images, labels


def exact(module):
    """The same module in float64."""
    return copy.deepcopy(module).double()


def loss_of(module, images, labels):
    dtype = next(module.parameters()).dtype
    logits = module(torch.from_numpy(images).to(dtype))
    return torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels).long())


def gradients_of(module, images, labels):
    parameters = dict(module.named_parameters())
    gradients = torch.autograd.grad(loss_of(module, images, labels), parameters.values())
    return arrays(dict(zip(parameters, gradients)))


def distance(values, truth):
    """‖values − truth‖ / ‖truth‖"""
    return np.linalg.norm(values - truth) / np.linalg.norm(truth)


def biases_without_effect(state):
    """Biases of convolutions in front of a batch norm, which takes any constant away: {name: the norm's own bias}."""
    names = {}
    for name in state:
        layer, _, kind = name.rpartition(".")
        if kind == "bias" and state[f"{layer}.weight"].ndim == 4:
            block, _, index = layer.rpartition(".")
            names[name] = f"{block}.{int(index) + 1}.bias"
    return names


@each_network
def test_names_shapes_and_counts(name):
    module, model = network(name), plp.Model(name)
    state, ours = module.state_dict(), model.state_dict()
    assert list(ours) == list(state)
    assert [v.shape for v in ours.values()] == [tuple(v.shape) for v in state.values()]
    assert model.parameter_count == NETWORKS[name] == sum(p.numel() for p in module.parameters())
    module.load_state_dict({key: torch.from_numpy(value) for key, value in ours.items()})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_state_dicts_of_parameters_in_any_floating_type(dtype):
    module, model = network("resnet18"), plp.Model("resnet18")
    with torch.no_grad():
        state = {**module.state_dict(), **{name: p.to(dtype) for name, p in module.named_parameters()}}
    state["fc.weight"] = torch.nn.Parameter(state["fc.weight"])
    model.load_state_dict(state)
    for name, values in model.state_dict().items():
        expected = state[name].detach()
        np.testing.assert_array_equal(values, expected.float() if expected.is_floating_point() else expected)


@pytest.mark.parametrize(
    "tensor", [torch.zeros(100, device="meta"), torch.zeros(100).to_sparse()], ids=["meta", "sparse"]
)
def test_tensors_that_are_no_arrays(tensor):
    model = plp.Model("resnet18", width=1 / 16)
    with pytest.raises(ValueError, match="fc.bias is no array"):
        model.load_state_dict({**model.state_dict(), "fc.bias": tensor})


def test_sets_in_pytorch_s_loader():
    train = plp.datasets.synthetic(10, 1)[0]
    batches = list(torch.utils.data.DataLoader(train, batch_size=4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    np.testing.assert_array_equal(torch.cat([images for images, _ in batches]), train.images)
    np.testing.assert_array_equal(torch.cat([labels for _, labels in batches]), train.labels)


def test_tensors_where_arrays_are_taken():
    parameter = torch.nn.Parameter(torch.arange(3.0))
    assert plp.predict(parameter, parameter, parameter).tolist() == [0, 1, 2]
    images, labels = torch.zeros((2, 3, 32, 32), requires_grad=True), torch.tensor([0, 1])
    model = plp.Model("resnet18", width=1 / 16)
    model.logits(images)
    plp.Trainer(model).step(images, labels)
    assert plp.datasets.from_arrays(images.byte(), labels).classes == 2


@each_size
@each_network
def test_evaluation(name, width, count, image_size):
    module, model = pair(name, width, dropout=None, image_size=image_size)
    images, _ = mini_batch(count, image_size=image_size)
    with torch.no_grad():
        truth = exact(module).eval()(torch.from_numpy(images).double()).numpy()
    assert abs(model.logits(images) - truth).max() <= 1e-4 * abs(truth).max()


def test_bytes_are_normalised():
    mean, deviation = np.float32([0.5, 0.4, 0.3]), np.float32([0.2, 0.25, 0.3])
    model = plp.Model("resnet18", width=0.25, mean=tuple(mean.tolist()), std=tuple(deviation.tolist()))
    images = np.random.default_rng(4).integers(0, 256, (6, 3, 32, 32), np.uint8)
    normalised = (images / np.float32(255) - mean.reshape(3, 1, 1)) / deviation.reshape(3, 1, 1)
    np.testing.assert_allclose(model.logits(images), model.logits(normalised), rtol=1e-5, atol=1e-6)


def test_the_public_googlenets_epsilons():
    module, model = pair("googlenet", 0.25, channel_count_epsilons=True)
    images, _ = mini_batch(4)
    with torch.no_grad():
        truth = exact(module).eval()(torch.from_numpy(images).double()).numpy()
    assert abs(model.logits(images) - truth).max() <= 1e-4 * abs(truth).max()


def offs(ours, truth, size):
    """How far each tensor is from the truth, relative to the norm of that tensor in `size`."""
    zero = biases_without_effect(truth)
    # What is 0 in exact arithmetic is measured by the sum over the same pixels that is not.
    return np.array([np.linalg.norm(ours[key] - truth[key]) / np.linalg.norm(size[zero.get(key, key)]) for key in size])


# What a tensor may be off by in the median of mini-batches: rounding alone in the small networks; in large ones, where
# few mini-batches or none are without a decision that rounding turns, what one or two such decisions make.
LARGE = {"vgg16": 0.02, "resnet18": 0.02, "googlenet": 0.06}


@pytest.mark.parametrize(
    "width, count, image_size, candidates",
    [(1 / 16, 2, 32, 11), (0.1, 3, 32, 11), (0.3, 11, 32, 5), (1.0, 8, 32, 3)]
    + [(1 / 16, 2, 33, 11), (1 / 16, 2, 48, 11), (1 / 16, 2, 64, 11)],
)
@each_network
def test_gradients(name, width, count, image_size, candidates):
    module, model = pair(name, width, image_size=image_size)
    module = exact(module)
    trainer = plp.Trainer(model, batch_size=count)
    off = []
    for seed in range(candidates):
        images, labels = mini_batch(count, seed, image_size)
        ours, truth = trainer.gradients(images, labels), gradients_of(module, images, labels)
        assert list(ours) == list(truth)
        off.append(offs(ours, truth, truth))
    tolerance = LARGE[name] if width > 0.1 else 2e-4
    off = dict(zip(truth, np.median(off, axis=0)))
    assert max(off.values()) <= tolerance, max(off.items(), key=lambda item: item[1])
    assert trainer.step(images, labels) == pytest.approx(loss_of(module, images, labels).item(), rel=1e-5)


# Learning rates at which one such decision does not grow in five steps to all there is, and what a tensor may be off
# by, relative to how far it moved. GoogLeNet's gradients are ten times as large.
FIVE_STEPS = {"vgg16": (1e-4, 0.03), "resnet18": (1e-4, 0.03), "googlenet": (1e-5, 0.15)}


@pytest.mark.parametrize("width, count, image_size", [(1.0, 4, 32), (0.3, 11, 32), (0.2, 3, 48), (0.2, 3, 64)])
@each_network
def test_five_steps(name, width, count, image_size):
    module, model = pair(name, width, image_size=image_size)
    start = model.state_dict()
    rate, tolerance = FIVE_STEPS[name]
    options = {"lr": rate, "momentum": 0.9, "weight_decay": 5e-4}
    floats = [key for key, values in start.items() if values.dtype == np.float32]
    off = []
    for run in range(3):
        exactly = exact(module)
        optimizer = torch.optim.SGD(exactly.parameters(), **options)
        model.load_state_dict(start)
        trainer = plp.Trainer(model, optimizer=plp.SGD(**options), batch_size=count)
        for step in range(5):
            batch = mini_batch(count, 5 * run + step, image_size)
            optimizer.zero_grad()
            loss_of(exactly, *batch).backward()
            optimizer.step()
            trainer.step(*batch)
        ours, truth = model.state_dict(), arrays(exactly.state_dict())
        assert all(ours[key] == truth[key] for key in truth if key not in floats)
        moved = {key: truth[key] - start[key] for key in floats}
        # What float32 rounds at each step comes on top, and counts where a tensor hardly moved: GoogLeNet's last γ.
        rounding = offs({key: (1 + 1.2e-7) * start[key].astype(float) for key in floats}, start, moved)
        assert np.quantile(rounding, 0.75) < 0.1, dict(zip(floats, rounding))
        off.append(offs(ours, truth, moved) - rounding)
    off = dict(zip(floats, np.median(off, axis=0)))
    assert max(off.values()) <= tolerance, max(off.items(), key=lambda item: item[1])


@pytest.mark.parametrize("steps", [3, 30])
@pytest.mark.parametrize("predictor", [None, plp.PLP()])
@pytest.mark.parametrize(
    "optimizer, options",
    [
        ("SGD", {"lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": False}),
        ("SGD", {"lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}),
        ("AdamW", {}),
        ("AdamW", {"lr": 0.003, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ],
)
def test_updates_and_predictions(optimizer, options, predictor, steps):
    """Each step's arithmetic is PyTorch's: to the bit, but where rounding differs between its versions."""
    module, model = pair("resnet18", 1 / 16)
    trainer = plp.Trainer(model, optimizer=getattr(plp, optimizer)(**options), predictor=predictor, batch_size=4)
    parameters = dict(module.named_parameters())
    exactly = optimizer == "AdamW" and torch.__version__.startswith("1.")
    optimizer = getattr(torch.optim, optimizer)(parameters.values(), **options)
    iterates = []
    for step in range(steps):
        batch = mini_batch(4, step)
        for key, gradient in trainer.gradients(*batch).items():
            parameters[key].grad = torch.from_numpy(gradient)
        optimizer.step()
        iterates.append([p.detach().clone() for p in parameters.values()])
        if predictor and len(iterates) == 3:  # a cycle's end: θ = θ3 + ½ (θ2 − θ1)
            with torch.no_grad():
                for p, first, second, third in zip(parameters.values(), *iterates):
                    p.copy_(third + 0.5 * (second - first))
            iterates.clear()
        trainer.step(*batch)
    ours = model.state_dict()
    for key, values in arrays(parameters).items():
        assert distance(ours[key], values) <= (0 if exactly else 1e-6), key


def test_recomputed_statistics():
    """An average's running statistics are what PyTorch's modules measure on the training images under it."""
    module = network("resnet18", width=1 / 16, dropout=0.0)
    model = plp.Model("resnet18", width=1 / 16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    train, _ = plp.datasets.synthetic(60, 1)
    trainer = plp.Trainer(
        model,
        optimizer=plp.SGD(lr=0.02),
        predictor=plp.SWA(start=1),
        batch_size=60,
        augmentation=plp.Augmentation.none(),
    )
    phases = []
    trainer.fit(train, epochs=4, progress=False, callback=lambda progress: phases.append(progress.phase))
    assert phases == ["training", "epoch end"] + 3 * ["training", "statistics", "epoch end"]
    best = trainer.best_model.state_dict()
    module.load_state_dict({name: torch.from_numpy(values) for name, values in best.items()})
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a mean over mini-batches, as update_bn takes it
    with torch.no_grad():
        module.train()(torch.from_numpy((train.images / np.float32(255) - np.float32(0.5)) / np.float32(0.25)))
    for name, values in arrays(module.state_dict()).items():
        if "running" in name:
            np.testing.assert_allclose(best[name], values, rtol=1e-3, atol=1e-5, err_msg=name)
            assert distance(model.state_dict()[name], values) > 1e-2, name


@each_network
def test_safetensors(name, tmp_path):
    """The library's file as the format's own package reads it, and back."""
    load_file = pytest.importorskip("safetensors.numpy").load_file
    module, model = pair(name, width=0.25)
    model.save(tmp_path / "model.safetensors")
    written, state = load_file(tmp_path / "model.safetensors"), arrays(module.state_dict())
    assert written.keys() == state.keys()
    again = plp.Model.load(tmp_path / "model.safetensors").state_dict()
    for key, values in state.items():
        np.testing.assert_array_equal(written[key], values, key)
        np.testing.assert_array_equal(again[key], values, key)


@pytest.mark.parametrize("epochs", [10, 20])
def test_the_strong_recipe_s_learning_rates(epochs):
    """Those of an epoch of LinearLR, and MultiStepLR at 30, 60 and 80 % of the run."""
    rates = []
    trainer = plp.Trainer(plp.Model(width=1 / 64, image_size=16), **vars(replace(plp.STRONG, batch_size=2)))
    train = plp.datasets.from_arrays(np.zeros((14, 3, 16, 16), np.uint8), np.arange(14), 100)
    trainer.fit(
        train, epochs=epochs, progress=False, callback=lambda p: p.phase == "training" and rates.append(p.learning_rate)
    )

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], plp.STRONG.optimizer.lr)
    milestones = [7 * epochs * tenths // 10 for tenths in (3, 6, 8)]
    scheduler = torch.optim.lr_scheduler.ChainedScheduler(
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 7, total_iters=6),
            torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, 0.2),
        ]
    )
    expected = []
    for _ in range(7 * epochs):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
