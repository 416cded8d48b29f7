"""Options: what they mean to the library, and what it says of wrong ones."""

import dataclasses

import plp
import pytest
from plp.options import by_name, describe


def test_defaults_are_the_papers():
    assert plp.SGD() == plp.SGD(lr=0.001, momentum=0.9, weight_decay=1e-4, nesterov=False)
    assert plp.PAPER.schedule == plp.schedules.Cyclic(peak=2, up=2000, down=2000)
    assert plp.PLP() == plp.PLP(step=1, momentum="kept", statistics="kept")


def test_options_are_frozen_and_compare_by_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        plp.SGD().lr = 1
    assert plp.DEMON(lr=0.1) == plp.DEMON(lr=0.1) != plp.SGD(lr=0.1)
    assert repr(plp.EMA(decay=0.9)) == "EMA(decay=0.9)"


def test_descriptions_are_plain_data():
    assert describe(plp.PLP(coefficients=(-1.0, 2.0)))["coefficients"] == [-1.0, 2.0]
    assert describe(plp.QUICK)["schedule"] == {"type": "Cosine", "floor": 0.0}


@pytest.mark.parametrize(
    ("name", "lr", "optimizer", "predictor"),
    [
        ("sgd", 0.001, plp.SGD, None),
        ("sgd*7/6", 0.001 * 7 / 6, plp.SGD, None),
        ("demon", 0.001, plp.DEMON, None),
        ("plp*0.5", 0.0005, plp.SGD, plp.PLP()),
        ("lookahead", 0.001, plp.SGD, plp.Lookahead()),
        ("ema", 0.001, plp.SGD, plp.EMA()),
    ],
)
def test_named_methods(name, lr, optimizer, predictor):
    recipe = by_name(name, plp.PAPER)
    assert recipe.optimizer.lr == pytest.approx(lr)
    assert type(recipe.optimizer) is optimizer
    assert recipe.predictor == predictor


@pytest.mark.parametrize("name", ["adam", "sgd*x", "sgd*1/0", ""])
def test_unknown_methods(name):
    with pytest.raises(ValueError, match="method"):
        by_name(name, plp.PAPER)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": plp.SGD(lr=-0.1)},
        {"optimizer": plp.SGD(lr=float("nan"))},
        {"optimizer": plp.SGD(lr="fast")},
        {"optimizer": plp.SGD(momentum=1.0)},
        {"optimizer": plp.DEMON(momentum=-0.1)},
        {"optimizer": plp.SGD(weight_decay=float("inf"))},
        {"predictor": plp.PLP(coefficients=())},
        {"predictor": plp.PLP(coefficients=(1.0, float("nan")))},
        {"predictor": plp.PLP(period=2)},
        {"predictor": plp.PLP(period=10**30)},
        {"predictor": plp.PLP(start=-1)},
        {"predictor": plp.PLP(step=float("nan"))},
        {"predictor": plp.PLP(momentum="doubled")},
        {"predictor": plp.PLP(statistics="reset")},
        {"predictor": plp.Lookahead(period=0)},
        {"predictor": plp.PLP(period=0)},
        {"predictor": plp.Lookahead(rate=-0.5)},
        {"predictor": plp.EMA(decay=1.0)},
        {"schedule": plp.schedules.Cyclic(up=0)},
        {"schedule": plp.schedules.MultiStep((5, 3))},
        {"schedule": plp.schedules.MultiStep((3,), factor=-1.0)},
        {"schedule": plp.schedules.Cosine(floor=2.0)},
        {"schedule": plp.schedules.Warmup(epochs=-1.0)},
        {"augmentation": plp.Augmentation(crop=-1)},
        {"augmentation": plp.Augmentation(crop=10**9)},
        {"augmentation": plp.Augmentation(rotation=float("nan"))},
        {"batch_size": 0},
        {"batch_size": -1},
        {"batch_size": 1.5},
        {"batch_size": "many"},
        {"seed": -1},
        {"seed": 2**64},
        {"threads": -1},
    ],
    ids=str,
)
def test_absurd_options(small, options):
    with pytest.raises(ValueError, match=r"\w+ .*"):
        plp.Trainer(small, **options)


def test_a_huge_batch_is_an_error(small):
    with pytest.raises((ValueError, MemoryError)):
        plp.Trainer(small, batch_size=10**12)


@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "resnet50"},
        {"architecture": None},
        {"classes": 1},
        {"classes": 10**9},
        {"width": 0.0},
        {"width": -1.0},
        {"width": float("nan")},
        {"width": 1e9},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"seed": -1},
        {"mean": (0.5, 0.5)},
        {"deviation": (0.0, 0.2, 0.2)},
    ],
    ids=str,
)
def test_absurd_models(options):
    with pytest.raises(ValueError):
        plp.Model(**options)


def test_messages_name_what_was_found_and_expected(small):
    with pytest.raises(ValueError, match="batch_size is 1.5, expected a whole number"):
        plp.Trainer(small, batch_size=1.5)
    with pytest.raises(ValueError, match="momentum is 'doubled', expected 'kept' or 'reset'"):
        plp.Trainer(small, predictor=plp.PLP(momentum="doubled"))
    with pytest.raises(ValueError, match="resnet50.*resnet18"):
        plp.Model("resnet50")


def test_step_and_coefficients_exclude_each_other():
    with pytest.raises(ValueError, match="not both"):
        plp.PLP(step=2.0, coefficients=(0.0, 0.0, 1.0))
