"""Options: what they mean to the library, and what it says of wrong ones."""

import dataclasses
import inspect
import json
import re
from fractions import Fraction

import numpy as np
import plp
import pytest
from plp._plain import from_plain, to_plain
from plp.options import OPTIMIZERS, by_name


def test_defaults_are_the_papers():
    assert plp.SGD() == plp.SGD(lr=0.001, momentum=0.9, weight_decay=1e-4, nesterov=False)
    assert plp.PAPER.schedule == plp.schedules.Cyclic(peak=2, up=2000, down=2000)
    assert plp.PLP() == plp.PLP(step=1, momentum="kept", statistics="kept")


def test_options_are_frozen_and_compare_by_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        plp.SGD().lr = 1
    assert plp.SGD(lr=0.1, demon=True) == plp.SGD(lr=0.1, demon=True) != plp.SGD(lr=0.1)
    assert repr(plp.schedules.Cosine(floor=0.5)) == "Cosine(floor=0.5)"


@pytest.mark.parametrize("kind", [list, np.array], ids=["list", "array"])
def test_several_numbers_become_a_tuple(kind):
    def options(kind):
        coefficients, betas, milestones = kind([-1, 2]), kind([0, 0.5]), kind([3, 6])
        return plp.PLP(coefficients=coefficients), plp.AdamW(betas=betas), plp.schedules.MultiStep(milestones)

    assert options(kind) == options(tuple) and repr(options(kind)) == repr(options(tuple))
    assert hash(options(kind)) == hash(options(tuple))


@pytest.mark.parametrize(
    "recipe",
    [
        plp.PAPER,
        plp.QUICK,
        plp.Recipe(
            optimizer=plp.AdamW(betas=(0.8, 0.9)), predictor=plp.PLP(step=2, end=10, momentum="reset"), batch_size=64
        ),
        plp.Recipe(predictor=plp.PLP(coefficients=(-1.0, 2.0)), augmentation=plp.Augmentation.none()),
        plp.Recipe(schedule=plp.schedules.Warmup(plp.schedules.MultiStep((3, 6)), epochs=2.0), predictor=plp.EMA()),
    ],
    ids=str,
)
def test_recipes_survive_json(recipe):
    assert from_plain(plp.Recipe, json.loads(json.dumps(to_plain(recipe)))) == recipe


@pytest.mark.parametrize(
    ("odd", "plain"),
    [
        (plp.PLP(coefficients=np.array([-1.0, 2.0]), period=np.int64(4)), plp.PLP(coefficients=(-1.0, 2.0), period=4)),
        (plp.SGD(lr=Fraction(1, 20), nesterov=np.True_), plp.SGD(lr=0.05, nesterov=True)),
        (plp.schedules.MultiStep(range(2, 5)), plp.schedules.MultiStep((2, 3, 4))),
    ],
    ids=str,
)
def test_what_numbers_come_as_makes_no_difference(odd, plain):
    assert from_plain(type(odd), json.loads(json.dumps(to_plain(odd)))) == plain


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "found another kind of value than expected, in Recipe"),
        ({"batch_size": "128"}, "found '128', expected a whole number, in Recipe.batch_size"),
        ({"batch_size": True}, "found True, expected a whole number, in Recipe.batch_size"),
        ({"optimizer": {"lr": 1}}, "found type None, expected one of .*SGD.*, in Recipe.optimizer"),
        ({"optimizer": {"type": []}}, "in Recipe.optimizer"),
        ({"optimizer": {"type": "SGD", "lr": float("nan")}}, "found nan, expected a finite number"),
        ({"optimizer": {"type": "SGD", "rate": 1}}, "found 'rate', which does not belong there, in Recipe.optimizer"),
        ({"schedule": {"type": "MultiStep"}}, "found nothing, in Recipe.schedule.milestones"),
        ({"predictor": {"type": "PLP", "momentum": "lost"}}, "Recipe.predictor.momentum"),
    ],
    ids=str,
)
def test_damage_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        from_plain(plp.Recipe, data)


@pytest.mark.parametrize(
    ("name", "optimizer", "predictor"),
    [
        ("sgd", plp.SGD(), None),
        ("sgd*7/6", plp.SGD(lr=0.001 * 7 / 6), None),
        ("demon", plp.SGD(demon=True), None),
        ("adamw", plp.AdamW(), None),
        ("plp*0.5", plp.SGD(lr=0.0005), plp.PLP()),
        ("lookahead", plp.SGD(), plp.Lookahead()),
        ("ema", plp.SGD(), plp.EMA()),
        ("swa", plp.SGD(), plp.SWA(start=0.75)),
        ("demon+ema", plp.SGD(demon=True), plp.EMA()),
        ("adamw+plp*2", plp.AdamW(lr=0.002), plp.PLP()),
    ],
)
def test_named_methods(name, optimizer, predictor):
    recipe = by_name(name, plp.PAPER)
    assert recipe.optimizer == optimizer
    assert recipe.predictor == predictor


def test_a_learning_rate_takes_the_place_of_any_optimizers_own():
    assert by_name("adamw+plp*2", plp.QUICK, lr=0.25).optimizer == plp.AdamW(lr=0.5)
    assert by_name("demon", plp.QUICK, lr=0.25).optimizer == plp.SGD(lr=0.25, weight_decay=5e-4, demon=True)


def test_a_name_chooses_optimizer_and_predictor_whatever_the_recipe_has():
    recipe = plp.Recipe(optimizer=plp.SGD(lr=0.1, demon=True), predictor=plp.PLP(step=2), batch_size=64)
    assert by_name("sgd", recipe) == plp.Recipe(optimizer=plp.SGD(lr=0.1), batch_size=64)
    assert by_name("demon", recipe) == plp.Recipe(optimizer=plp.SGD(lr=0.1, demon=True), batch_size=64)
    assert by_name("adamw", recipe) == plp.Recipe(optimizer=plp.AdamW(), batch_size=64)
    assert by_name("plp", recipe) == plp.Recipe(optimizer=plp.SGD(lr=0.1), predictor=plp.PLP(), batch_size=64)
    recipe = plp.Recipe(optimizer=plp.AdamW(lr=0.01))
    assert by_name("adamw+plp", recipe) == plp.Recipe(optimizer=plp.AdamW(lr=0.01), predictor=plp.PLP())
    assert by_name("sgd", recipe) == plp.Recipe()


@pytest.mark.parametrize(
    "name", ["adam", "sgd*x", "sgd*1/0", "", "plp+sgd", "sgd+adamw", "plp+ema", "sgd+plp+ema", "sgd+", "+plp"]
)
def test_unknown_methods(name):
    with pytest.raises(ValueError, match=re.escape(f"method {name!r}")):
        by_name(name, plp.PAPER)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": plp.PLP()}, r"optimizer is PLP\(.*, expected SGD or AdamW"),
        ({"optimizer": None}, "optimizer is None, expected SGD or AdamW"),
        ({"optimizer": "sgd"}, r"optimizer is 'sgd', expected SGD or AdamW: write optimizer=plp.SGD\(\)"),
        ({"schedule": "cosine"}, r"schedule is 'cosine', .*: write schedule=plp.schedules.Cosine\(\)"),
        ({"predictor": "plp"}, r"predictor is .plp., expected PLP.* or None: write predictor=plp.PLP\(\)"),
        ({"predictor": plp.PLP}, r"predictor is <class.*: write predictor=plp.PLP\(\)"),
        ({"schedule": plp.PLP()}, "schedule is PLP.*, expected Constant, Cyclic, MultiStep, Cosine or Warmup"),
        ({"schedule": None}, "schedule is None"),
        ({"augmentation": None}, "augmentation is None, expected Augmentation"),
    ],
    ids=str,
)
def test_options_of_another_kind(small, options, message):
    with pytest.raises(ValueError, match=message):
        plp.Trainer(small, **options)
    with pytest.raises(ValueError, match=message):
        plp.Recipe(**options)


@pytest.mark.parametrize(
    "options", [*(kind() for kind in OPTIMIZERS), plp.PLP(), plp.Lookahead(), plp.EMA(), plp.SWA(0)]
)
def test_defaults_of_optimizers_and_predictors_are_the_librarys(options):
    kind = "optimizer" if isinstance(options, OPTIMIZERS) else "predictor"
    library, ours = plp._plp.defaults(kind, options._KIND), options._fields()
    assert ours == {name: library[name] for name in ours}
    # What it does not name is nothing that it looks at, or None, which is the library's own choice.
    assert {name for name, value in library.items() if value} <= {*ours, "end"}


def test_defaults_of_runs_are_the_librarys():
    library = plp._plp.defaults("trainer")
    ours = plp.Recipe(watch=plp.Watch())._fields() | {"seed": 0, "threads": 0}
    for schedule in (plp.schedules.Cyclic(), plp.schedules.MultiStep(()), plp.schedules.Cosine()):
        ours |= {name: value for name, value in schedule._fields().items() if name not in ("schedule", "milestones")}
    assert ours == {name: library[name] for name in ours}
    assert library.keys() - ours.keys() == {"milestones", "warmup_epochs"}
    parameters = inspect.signature(plp.Trainer).parameters
    assert parameters["seed"].default == library["seed"] and parameters["threads"].default == library["threads"]
    recipe = {name: parameters[name].default for name in vars(plp.Recipe())}
    assert plp.Recipe(**recipe) == plp.Recipe()


def test_defaults_of_models_are_the_librarys():
    library = plp._plp.defaults("model")
    ours = {name: parameter.default for name, parameter in inspect.signature(plp.Model).parameters.items()}
    ours["deviation"] = ours.pop("std")
    assert ours.keys() == library.keys() - {"trained_on"} and library["trained_on"] is None  # fit's, to say
    assert all(library[name] == value for name, value in ours.items() if value is not None)


def test_the_defaults_are_the_same_wherever_a_run_is_described(small):
    assert plp.Trainer(small).recipe == plp.Recipe()
    assert plp.Trainer(small, **vars(plp.PAPER)).recipe == plp.PAPER
    assert plp.Trainer(small, schedule=plp.schedules.Cyclic()).recipe == plp.PAPER
    method = plp.Trainer(small, schedule=plp.schedules.Cyclic(), predictor=plp.PLP()).recipe
    assert method == dataclasses.replace(plp.PAPER, predictor=plp.PLP())


def test_seeds_may_be_numbers_of_numpy(small):
    seeded = plp.Model("resnet18", width=1 / 16, seed=np.int64(1))
    assert np.array_equal(seeded.state_dict()["fc.weight"], small.state_dict()["fc.weight"])
    plp.Trainer(small, seed=np.uint64(2**63))


def test_a_warmup_of_a_warmup_is_refused():
    with pytest.raises(ValueError, match="Warmup's schedule is Warmup"):
        plp.schedules.Warmup(plp.schedules.Warmup())


def test_numbers_that_are_none(small):
    with pytest.raises(ValueError, match="coefficients is 'abc', expected numbers"):
        plp.PLP(coefficients="abc")
    assert plp.PLP(coefficients=bytes([0, 1])).coefficients == (0.0, 1.0)  # and not as bytes of a double's
    with pytest.raises(ValueError, match="betas is 0.9, expected numbers"):
        plp.AdamW(betas=0.9)
    with pytest.raises(ValueError, match=r"betas is \(0.9,\), expected two numbers"):
        plp.AdamW(betas=(0.9,))
    with pytest.raises(ValueError, match="a milestone is 1.5, expected a whole number"):
        plp.schedules.MultiStep((1, 1.5))
    with pytest.raises(ValueError, match="milestones is 5, expected whole numbers"):
        plp.Trainer(small, schedule=plp.schedules.MultiStep(5))
    with pytest.raises(ValueError, match="the milestones' total is -1, expected a whole number of at least 0"):
        plp.Trainer(small, schedule=plp.schedules.MultiStep((1,), total=-1))
    with pytest.raises(ValueError, match=r"mean is \(0.5, 0.5\), expected three numbers"):
        plp.Model(mean=(0.5, 0.5))


def test_colours_are_told():
    model = plp.Model(width=1 / 64, mean=(0.5, 0.25, 0.125), std=(1, 2, 4))
    assert (model.mean, model.std) == ((0.5, 0.25, 0.125), (1, 2, 4))
    assert plp.Model(width=1 / 64).mean == pytest.approx((0.5071, 0.4865, 0.4409), abs=1e-4)


def test_colours_may_come_as_arrays():
    assert plp.Model(width=1 / 64, mean=np.full(3, 0.5), std=[0.25, 0.25, 0.25]).parameter_count > 0


@pytest.mark.parametrize("predictor", [plp.Lookahead(period=2), plp.EMA(decay=0.5), plp.SWA(start=1)], ids=str)
def test_averages_may_take_running_statistics_along(small, synthetic, predictor):
    def statistics(rule):
        model = plp.Model("resnet18", width=1 / 16, seed=1)
        trainer = plp.Trainer(model, predictor=dataclasses.replace(predictor, statistics=rule), batch_size=50)
        trainer.fit(synthetic[0], progress=False)
        return trainer.best_model.state_dict()["conv1.1.running_mean"]

    assert not np.array_equal(statistics("kept"), statistics("predicted"))


def refuses(make, name, value):
    """Expects a ValueError that names the option and the value found, and only then speaks of what was expected."""
    with pytest.raises(ValueError) as error:
        make()
    found = str(error.value).partition("expected")[0]
    assert re.search(rf"\b({name})\b.*(?<![\w.-]){re.escape(value)}(?![\w.])", found), error.value


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"optimizer": plp.SGD(lr=-0.1)}, "learning.rate|lr", "-0.1"),
        ({"optimizer": plp.SGD(lr=float("nan"))}, "learning.rate|lr", "nan"),
        ({"optimizer": plp.SGD(lr="fast")}, "learning.rate|lr", "fast"),
        ({"optimizer": plp.SGD(momentum=1.0)}, "momentum", "1.0"),
        ({"optimizer": plp.SGD(momentum=-0.1, demon=True)}, "momentum", "-0.1"),
        ({"optimizer": plp.AdamW(betas=(0.9, 1.0))}, "beta2", "1.0"),
        ({"optimizer": plp.AdamW(eps=0)}, "epsilon", "0.0"),
        ({"optimizer": plp.AdamW(weight_decay="much")}, "weight.decay", "much"),
        ({"optimizer": plp.SGD(weight_decay=float("inf"))}, "weight.decay", "inf"),
        ({"predictor": plp.PLP(coefficients=())}, "coefficients", "[]"),
        ({"predictor": plp.PLP(coefficients=(1.0, float("nan")))}, "coefficients", "1.0, nan"),
        ({"predictor": plp.PLP(period=2)}, "period", "2"),
        ({"predictor": plp.PLP(period=10**30)}, "period", str(10**30)),
        ({"predictor": plp.PLP(start=-1)}, "start", "-1"),
        ({"predictor": plp.PLP(step=float("nan"))}, "step|coefficients", "nan"),
        ({"predictor": plp.PLP(momentum="doubled")}, "momentum", "doubled"),
        ({"predictor": plp.PLP(statistics="reset")}, "statistics", "reset"),
        ({"predictor": plp.Lookahead(period=0)}, "period", "0"),
        ({"predictor": plp.PLP(period=0)}, "period", "0"),
        ({"predictor": plp.Lookahead(rate=-0.5)}, "rate", "-0.5"),
        ({"predictor": plp.EMA(decay=1.0)}, "decay", "1.0"),
        ({"predictor": plp.SWA(start=-1)}, "start", "-1"),
        ({"predictor": plp.SWA(start=1.5)}, "start", "1.5"),
        ({"predictor": plp.SWA(start=float("nan"))}, "start", "nan"),
        ({"predictor": plp.SWA(start="late")}, "start", "late"),
        ({"predictor": plp.SWA(start=5, period=0)}, "period", "0"),
        ({"predictor": plp.PLP(statistics="recomputed")}, "statistics", "recomputed"),
        ({"schedule": plp.schedules.Cyclic(up=0)}, "up", "0"),
        ({"schedule": plp.schedules.MultiStep((5, 3))}, "milestones", "5, 3"),
        ({"schedule": plp.schedules.MultiStep((3,), factor=-1.0)}, "factor", "-1.0"),
        ({"schedule": plp.schedules.Cosine(floor=2.0)}, "floor", "2.0"),
        ({"schedule": plp.schedules.Warmup(epochs=-1.0)}, "epochs", "-1.0"),
        ({"augmentation": plp.Augmentation(crop=-1)}, "crop", "-1"),
        ({"augmentation": plp.Augmentation(crop=10**9)}, "crop", str(10**9)),
        ({"augmentation": plp.Augmentation(rotation=float("nan"))}, "rotation", "nan"),
        ({"batch_size": 0}, "batch.size", "0"),
        ({"batch_size": -1}, "batch.size", "-1"),
        ({"batch_size": 1.5}, "batch.size", "1.5"),
        ({"batch_size": "many"}, "batch.size", "many"),
        ({"batch_size": 10**12}, "batch.size", str(10**12)),
        ({"seed": -1}, "seed", "-1"),
        ({"seed": 2**64}, "seed", str(2**64)),
        ({"threads": -1}, "threads", "-1"),
        ({"augmentation": plp.Augmentation(flip=2**32)}, "flip", str(2**32)),
    ],
    ids=str,
)
def test_absurd_options(small, options, name, value):
    refuses(lambda: plp.Trainer(small, **options), name, value)


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"architecture": "resnet50"}, "architecture", "resnet50"),
        ({"architecture": None}, "architecture", "None"),
        ({"architecture": "resnet18\0junk"}, "architecture", r"'resnet18\x00junk'"),
        ({"channel_count_epsilons": 2**40}, "channel_count_epsilons", str(2**40)),
        ({"classes": 1}, "classes", "1"),
        ({"classes": 10**9}, "classes", str(10**9)),
        ({"width": 0.0}, "width", "0.0"),
        ({"width": -1.0}, "width", "-1.0"),
        ({"width": float("nan")}, "width", "nan"),
        ({"width": 1e9}, "width", "1000000000.0"),
        ({"dropout": 1.0}, "dropout", "1.0"),
        ({"dropout": -0.1}, "dropout", "-0.1"),
        ({"seed": -1}, "seed", "-1"),
        ({"mean": (0.5, 0.5)}, "mean", "0.5, 0.5"),
        ({"std": (0.0, 0.2, 0.2)}, "standard deviation", "0.0, 0.2, 0.2"),
    ],
    ids=str,
)
def test_absurd_models(options, name, value):
    refuses(lambda: plp.Model(**options), name, value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, data: plp.Trainer("resnet18"), "model is 'resnet18', expected Model"),
        (lambda model, data: plp.Trainer(model, batch_size="64"), "batch_size is '64', expected a whole number"),
        (lambda model, data: plp.Trainer(model, threads=2.0), "threads is 2.0, expected a whole number"),
        (
            lambda model, data: plp.Trainer(model, threads=2**64),
            "threads is 18446744073709551616, expected a whole number of at most 63 bits",
        ),
        (
            lambda model, data: plp.Trainer(model, optimizer=plp.SGD(nesterov="yes")),
            "nesterov is 'yes', expected True or False",
        ),
        (lambda model, data: plp.Model(mean=0.5), "mean is 0.5, expected three numbers, for red, green and blue"),
        (lambda model, data: plp.Model(mean=(10**400, 0, 0)), r"mean is \(10+\.\.\., expected three numbers, .*"),
        (
            lambda model, data: plp.Trainer(model, predictor=plp.PLP(coefficients=(10**400, 1))),
            r"coefficients is \(10+\.\.\., expected numbers",
        ),
        (lambda model, data: plp.Model(std="ab"), "std is 'ab', expected three numbers, for red, green and blue"),
        (
            lambda model, data: plp.Trainer(model).fit(data, test=data.images),
            r"test is array\(\[\[\[\[.*\.\.\., expected a dataset or a pair of images and labels \(see plp.datasets\)",
        ),
        (lambda model, data: model.logits(data), "images is no array.*; of a data set: write its images.*"),
        (lambda model, data: plp.compare(train=data, recipe="quick"), "recipe is 'quick', expected Recipe"),
        (lambda model, data: plp.compare(train=data, width="x"), "width is 'x', expected a number"),
        (lambda model, data: plp.compare(train=data, dropout=[1]), r"dropout is \[1\], expected a number"),
        (lambda model, data: plp.compare(train=data, mean=0.5), "mean is 0.5, expected three numbers, .*"),
        (lambda model, data: plp.grid("plp", step=[1, 2]), "predictor is 'plp', expected PLP, .*"),
    ],
    ids=range(16),
)
def test_messages_name_what_is_of_another_kind(call, message, small, synthetic):
    with pytest.raises(ValueError) as found:
        call(small, synthetic[0])
    assert re.fullmatch(message, str(found.value))  # in one line


def test_all_options_that_are_arrays_at_once(small):
    rule = plp.PLP(coefficients=(-0.5, 0.5, 1.0))
    recipe = plp.Recipe(schedule=plp.schedules.MultiStep((1, 2)), predictor=rule, watch=plp.Watch(rule))
    assert plp.Trainer(small, **vars(recipe)).recipe == recipe


def test_messages_name_what_was_found_and_expected(small):
    with pytest.raises(ValueError, match="batch_size is 1.5, expected a whole number"):
        plp.Trainer(small, batch_size=1.5)
    with pytest.raises(ValueError, match="momentum is 'doubled', expected 'kept' or 'reset'"):
        plp.Trainer(small, predictor=plp.PLP(momentum="doubled"))
    with pytest.raises(ValueError, match="resnet50.*resnet18"):
        plp.Model("resnet50")


def test_swa_starts_where_a_run_is_told_to_be_so_long(small):
    with pytest.raises(ValueError, match=r"start is 0.75 of a run, .*: write plp.SWA\(0.75\).in_run\(iterations\)"):
        plp.Trainer(small, predictor=plp.SWA())
    assert plp.SWA().in_run(1000) == plp.SWA(750) and plp.SWA(5).in_run(1000) == plp.SWA(5)
    assert plp.Recipe(predictor=plp.SWA(0.5, period=3)).in_run(7).predictor == plp.SWA(3, period=3)
    plp.Trainer(small, predictor=plp.SWA(start=5.0))


def test_step_and_coefficients_exclude_each_other():
    with pytest.raises(ValueError, match="not both"):
        plp.PLP(step=2.0, coefficients=(0.0, 0.0, 1.0))


def test_actions_are_the_rules_arithmetic():
    """(a, b, c, d, …): memory = a memory + b θ, then θ = c θ + d memory."""

    def actions(predictor, *iterations):
        return [plp._plp.predictor_action(predictor._fields(), iteration) for iteration in iterations]

    nothing = (1, 0, 1, 0, False, False, False, False)
    assert actions(plp.PLP(), 0, 4, 5) == [
        (0, -0.5, 1, 0, False, False, False, False),
        (1, 0.5, 1, 0, False, False, False, False),
        (1, 0, 1, 1, True, False, False, False),
    ]
    assert actions(plp.PLP(start=2, end=4, momentum="reset"), 1, 4) == [nothing, nothing]
    resetting = plp.PLP(coefficients=(0.25, 0.75), momentum="reset")
    assert actions(resetting, 1) == [(1, 0, 0.75, 1, True, True, False, False)]
    assert actions(plp.Lookahead(rate=0.25), 3, 4) == [
        (1, 0, 1, 0, False, False, False, True),
        (0.75, 0.25, 0, 1, True, False, False, True),
    ]
    assert actions(plp.EMA(decay=0.75), 0, 1000) == [
        (0.1, 0.9, 1, 0, False, False, True, True),
        (0.75, 0.25, 1, 0, False, False, True, True),
    ]
    assert actions(plp.SWA(start=4, period=2), 4, 5, 6, 11) == [
        nothing,
        (0, 1, 1, 0, False, False, True, False),
        (1, 0, 1, 0, False, False, True, False),
        (0.75, 0.25, 1, 0, False, False, True, False),
    ]
    assert actions(plp.EMA(decay=0.75, warmup=False), 7) == [(0.75, 0.25, 1, 0, False, False, True, True)]
    with pytest.raises(ValueError, match="iteration: found -1"):
        actions(plp.PLP(), -1)
