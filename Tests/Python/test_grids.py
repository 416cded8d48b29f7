"""Grids of options: the methods that they make, and how a study of them is held together and shown."""

from dataclasses import replace

import plp
import pytest
from plp.studies.grids import grid_of
from plp.studies.plots import study_figure
from test_study import RECIPE, SMALL, made_up


def study_of(methods, gain=lambda method: 0.0, recipe=plp.PAPER):
    """A study of two seeds without training, each method with its gain in accuracy over an error of 0.5."""
    study = made_up()
    run = study.runs[0]
    study.methods = plp.studies.methods.recipes_of(methods, recipe)
    study.runs = [
        replace(run, method=method, seed=seed, history=replace(run.history, test=plp.Metrics(2.0, error, 0.2)))
        for seed in (0, 1)
        for method in methods
        for error in [0.5 - (1 + 0.001 * seed) * gain(method)]
    ]
    return study


STEPS = plp.grid(plp.PLP(), step=[0, 0.5, 1, 2], period=[3, 5, 10])
RATES = plp.grid(plp.PLP(), lr=[0.01, 0.1], batch_size=[32, 64])


def test_every_combination_and_one_baseline():
    assert len(STEPS) == 1 + 4 * 3
    assert STEPS["baseline"] == {"predictor": None}
    assert STEPS["plp step=0.5 period=10"] == {"predictor": plp.PLP(step=0.5, period=10)}


def test_a_baseline_for_each_of_a_recipes_options():
    assert len(RATES) == 4 + 4
    assert RATES["baseline lr=0.1 batch_size=32"] == {"lr": 0.1, "batch_size": 32, "predictor": None}
    assert RATES["plp lr=0.1 batch_size=32"] == {"lr": 0.1, "batch_size": 32, "predictor": plp.PLP()}
    both = plp.grid(plp.PLP(), lr=[0.01, 0.1], step=[1, 2])
    assert [name for name in both if "baseline" in name] == ["baseline lr=0.01", "baseline lr=0.1"]
    assert list(plp.grid(weight_decay=[0, 1e-4])) == ["baseline weight_decay=0", "baseline weight_decay=0.0001"]


def test_momentum_is_the_optimizers_or_the_predictors_by_its_values():
    numbers = plp.grid(plp.PLP(), momentum=[0.5, 0.9])
    assert numbers["plp momentum=0.5"] == {"momentum": 0.5, "predictor": plp.PLP()} and len(numbers) == 4
    words = plp.grid(plp.PLP(), momentum=["kept", "reset"])
    assert words["plp momentum=reset"] == {"predictor": plp.PLP(momentum="reset")} and len(words) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": [1, 2]}, "there is no option 'steps', did you mean 'step'?"),
        ({"step": 1}, "step is 1, expected a list of values"),
        ({"step": []}, r"step is \[\], expected a list of values"),
        ({"schedule": "cosine"}, "schedule is 'cosine', expected a list of values"),
        ({"step": [1, 1.0]}, r"step is \[1, 1.0\], which has a value twice"),
    ],
)
def test_mistakes_in_a_grid(options, message):
    with pytest.raises(ValueError, match=message):
        plp.grid(plp.PLP(), **options)


def test_a_method_is_held_against_the_baseline_with_the_same_options():
    study = study_of(RATES, lambda method: 0.02 * method.startswith("plp") + 0.1 * ("lr=0.1" in method))
    assert study.counterpart("plp lr=0.1 batch_size=64") == "baseline lr=0.1 batch_size=64"
    found = {a.method: a for a in study.answers() if (a.measure, a.model) == ("accuracy", "optimal")}
    assert [a.mean for m, a in found.items() if m.startswith("plp")] == pytest.approx([2.0] * 4, abs=0.02)
    assert found["baseline lr=0.1 batch_size=32"].other == "baseline lr=0.01 batch_size=32"
    assert study.table()[0][-2] == "accuracy - its baseline's [95 % interval]"
    assert "plp lr=0.1 batch_size=64 against baseline lr=0.1 batch_size=64: better" in str(study)


def test_a_study_knows_its_grid():
    grid = grid_of(study_of(STEPS))
    assert (grid.down, grid.rows) == ("step", ["0", "0.5", "1", "2"])
    assert (grid.across, grid.columns) == ("period", ["3", "5", "10"])
    assert grid.methods["0.5", "10"] == "plp step=0.5 period=10"
    three = grid_of(study_of(plp.grid(plp.PLP(), step=[1, 2], period=[3, 5], lr=[0.1, 0.2])))
    assert three.down == "step, period" and three.rows[0] == "1, 3" and three.across == "lr"
    line = grid_of(study_of(plp.grid(lr=[0.1, 0.2, 0.3])))
    assert line.down == "" and line.columns == ["0.1", "0.2", "0.3"]


def test_other_studies_are_no_grids():
    assert grid_of(made_up()) is None
    study = made_up()
    study.methods = {name: plp.options.by_name(name, plp.PAPER) for name in ("sgd", "sgd*7/6", "demon", "plp", "ema")}
    assert grid_of(study) is None


def test_a_grids_heat_maps():
    better = ("plp step=2 period=3", "plp step=2 period=5")
    study = study_of(STEPS, lambda method: 0.03 if method in better else 0.0)
    difference, accuracy = study_figure(study).subfigs[0].axes[4:]
    texts = {text.xy: text for text in difference.texts}
    assert len(texts) == 12 and texts[0, 3].get_text().startswith("+3.00\np < 0.001")  # period 3, step 2
    assert texts[0, 3].get_weight() == "bold" and texts[0, 0].get_weight() == "normal"
    assert texts[2, 0].get_text() == "+0.00"
    assert {text.get_text() for text in accuracy.texts} == {"50.00", "53.00"}
    assert (difference.get_xlabel(), difference.get_ylabel()) == ("period", "step")


def test_a_grid_is_trained(synthetic):
    methods = plp.grid(plp.PLP(), lr=[0.01, 0.02], batch_size=[16, 32])
    study = plp.compare(methods=methods, train=synthetic[0][:60], **SMALL)
    assert study.methods["plp lr=0.02 batch_size=32"] == replace(
        RECIPE, optimizer=plp.SGD(lr=0.02), batch_size=32, predictor=plp.PLP()
    )
    assert len(study.runs) == 8 and not any(run.failure for run in study.runs)
