"""A watch records how far PLP's prediction is from what came, and changes nothing."""

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import plp
import pytest
from plp.studies.runs import perform
from test_study import made_up


@pytest.fixture(scope="module")
def images():
    return plp.datasets.synthetic(256, 8)[0]


def trainer(momentum=0.9, watch=plp.Watch(), **options):
    model = plp.Model("resnet18", width=1 / 16, seed=1)
    recipe = {"optimizer": plp.SGD(lr=0.05, momentum=momentum), "batch_size": 32, **options}
    return plp.Trainer(model, **recipe, watch=watch, threads=2)


def iterates(trainer, images, count):
    """The parameters after each step, as one float64 vector for each layer."""
    found = []
    for step in range(count):
        first = step * 32 % 256
        trainer.step(images.images[first : first + 32], images.labels[first : first + 32])
        state = trainer.model.state_dict()
        found.append([state[name].astype(np.float64).ravel() for name in trainer.model.parameter_names])
    return found


def expected(iterates, step):
    """Error and cosine by the formula: θ' = m23 + h (m23 - m12) against m34."""
    one, two, three, four = iterates
    m12, m23, m34 = (one + two) / 2, (two + three) / 2, (three + four) / 2
    predicted, actual = step * (m23 - m12), m34 - m23
    length = np.linalg.norm(actual)
    return np.linalg.norm(predicted - actual) / length, predicted @ actual / np.linalg.norm(predicted) / length


@pytest.mark.parametrize("rule", [plp.PLP(), plp.PLP(step=2, period=5, start=2, end=12)])
def test_moves_are_those_of_the_formula(images, rule):
    watching = trainer(watch=plp.Watch(rule, samples=2))
    found = iterates(watching, images, 14)
    watched = watching.watched
    ends = [7, 12] if rule.period == 5 else [3, 6, 9, 12]
    assert watched.iterations.tolist() == ends
    assert watched.layers == tuple(watching.model.parameter_names)
    for cycle, end in enumerate(ends):
        whole = [np.concatenate(found[index]) for index in range(end - 3, end + 1)]
        error, cosine = expected(whole, rule.step)
        np.testing.assert_allclose(watched.total_error[cycle], error, rtol=1e-3)
        np.testing.assert_allclose(watched.total_cosine[cycle], cosine, atol=1e-3)
        for layer in range(len(watched.layers)):
            error, cosine = expected([found[index][layer] for index in range(end - 3, end + 1)], rule.step)
            np.testing.assert_allclose(watched.error[cycle, layer], error, rtol=1e-3)
            np.testing.assert_allclose(watched.cosine[cycle, layer], cosine, atol=1e-3)
    assert watched.trajectories.shape == (14, len(watched.layers), 2)
    for layer in (0, 5):
        assert all(np.isin(watched.trajectories[i, layer], found[i][layer].astype(np.float32)).all() for i in (0, 13))


@pytest.mark.parametrize("predictor", [None, plp.PLP(), plp.EMA()])
def test_the_run_is_the_same(images, predictor):
    results = []
    for watch in (plp.Watch(), None):
        run = trainer(predictor=predictor, watch=watch)
        run.fit(images, epochs=2, progress=False)
        results.append(run.model.state_dict())
    for name, values in results[0].items():
        np.testing.assert_array_equal(values, results[1][name])


@pytest.mark.parametrize("iterations", [1, 2, 3, 4])
def test_a_watch_goes_on_from_a_checkpoint(images, iterations, tmp_path):
    whole, begun, resumed = trainer(), trainer(), trainer()
    whole.fit(images, epochs=2, progress=False)

    begun.fit(images, epochs=2, progress=False, callback=lambda report: report.iteration >= iterations)
    begun.save(tmp_path / "run")
    resumed.restore(tmp_path / "run")
    resumed.fit(images, epochs=2, progress=False)
    for name in ("iterations", "moves", "trajectories"):
        np.testing.assert_array_equal(getattr(resumed.watched, name), getattr(whole.watched, name))
    with pytest.raises(ValueError, match="watch"):
        trainer(watch=None).restore(tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "predictor", "expected"),
    [
        ({"momentum": 0.0}, None, 0.5),
        ({"momentum": 0.9}, None, 0.95),
        ({"momentum": 0.9}, plp.EMA(), 0.95),  # which leaves the parameters as they are
        ({"momentum": 0.9, "nesterov": True}, None, 0.877),
        # E[u₁u₂], E[u₁u₃] = μ, μ²: (1.75 + 3μ + 1.5μ²) / √((3.25 + 3μ) (2.25 + 3μ + μ²)), worked out by hand.
        ({"momentum": 0.0}, plp.PLP(), 0.6472),
        ({"momentum": 0.9}, plp.PLP(), 0.9677),
    ],
)
def test_what_is_to_be_expected_of_independent_gradients(options, predictor, expected):
    """Labels at random on fresh noise: each step's gradient knows nothing of the last one's."""
    random = np.random.default_rng(0)
    model = plp.Model("resnet18", width=1 / 16, seed=1)
    optimizer = plp.SGD(lr=1e-5, weight_decay=0, **options)
    run = plp.Trainer(model, optimizer=optimizer, predictor=predictor, batch_size=8, watch=plp.Watch())
    for _ in range(120):
        run.step(random.standard_normal((8, 3, 32, 32), np.float32), random.integers(0, 100, 8))
    watched = run.watched
    assert watched.expected_cosine == pytest.approx(expected, abs=1e-3)
    # The last layer's bias has the least in common from one mini-batch to the next.
    late = watched.cosine[20:].mean(axis=0)
    assert abs(late[-1] - watched.expected_cosine) < 0.1


@pytest.mark.parametrize(
    ("rule", "momentum", "expected"),
    [
        (plp.PLP(start=1), 0.0, 0.471),  # of the moves that a watch would see from one iteration later on
        (plp.PLP(start=1), 0.9, 0.936),
        (plp.PLP(start=2), 0.9, 0.959),
        (plp.PLP(start=3), 0.9, 0.968),
        (plp.PLP(start=1, period=300), 0.9, 0.936),
        (plp.PLP(period=1000), 0.9, (0.968 + 0.936 + 0.959) / 3),  # at all places of the run's own cycle in turn
    ],
)
def test_where_in_the_runs_own_cycle_a_watch_looks(rule, momentum, expected, small):
    recipe = plp.Recipe(optimizer=plp.SGD(momentum=momentum), predictor=plp.PLP(), watch=plp.Watch(rule))
    assert plp.Trainer(small, **vars(recipe)).watched.expected_cosine == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    "recipe",
    [
        plp.Recipe(optimizer=plp.AdamW()),
        plp.Recipe(optimizer=plp.SGD(demon=True)),
        plp.Recipe(predictor=plp.PLP(start=30)),
        plp.Recipe(predictor=plp.Lookahead(period=1000)),
        plp.Recipe(watch=plp.Watch(plp.PLP(step=0))),
    ],
)
def test_where_no_number_is_to_be_expected(recipe, small):
    recipe = replace(recipe, watch=recipe.watch or plp.Watch())
    assert plp.Trainer(small, **vars(recipe)).watched.expected_cosine is None


def test_a_picture(images, tmp_path):
    run = trainer()
    with pytest.raises(ValueError, match="no cycle"):
        run.watched.plot()
    run.fit(images, epochs=2, progress=False)
    figure = run.watched.plot(tmp_path / "watched.png")
    assert len(figure.axes) == 5 and (tmp_path / "watched.png").stat().st_size > 10_000


RECIPE = plp.Recipe(optimizer=plp.SGD(lr=0.05), batch_size=32, watch=plp.Watch(samples=2))
STUDY = {"epochs": 2, "width": 1 / 16, "recipe": RECIPE, "threads": 1, "progress": False}


def equal(one, other):
    return vars(one).keys() == vars(other).keys() and all(
        np.array_equal(value, getattr(other, name), equal_nan=not isinstance(value, tuple | float | None))
        for name, value in vars(one).items()
    )


def test_what_was_watched_survives_a_file(images, tmp_path):
    for optimizer in (plp.SGD(lr=0.05), plp.AdamW()):
        run = trainer(optimizer=optimizer)
        run.fit(images, progress=False)
        run.watched.save(tmp_path / "watched.npz")
        assert equal(plp.Watched.load(tmp_path / "watched.npz"), run.watched)
    whole = (tmp_path / "watched.npz").read_bytes()
    arrays = dict(np.load(tmp_path / "watched.npz"))
    np.savez(tmp_path / "others.npz", **{**arrays, "moves": arrays["moves"][1:]})
    np.savez(tmp_path / "less.npz", layers=arrays["layers"])
    np.save(tmp_path / "array.npz.npy", arrays["moves"])
    (tmp_path / "cut.npz").write_bytes(whole[:-100])
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("others.npz", "less.npz", "array.npz.npy", "cut.npz", "empty.npz"):
        with pytest.raises(plp.Error, match=f"{name} is not what a watch of plp's has recorded: "):
            plp.Watched.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        plp.Watched.load(tmp_path / "none.npz")


def test_a_bit_that_is_another_is_told_or_changes_nothing(images, tmp_path):
    run = trainer()
    run.fit(images, progress=False)
    run.watched.save(tmp_path / "watched.npz")
    whole = (tmp_path / "watched.npz").read_bytes()
    end = whole.rindex(b"PK\1\2")  # of the archive: what it says of its last array
    for bit in range(8 * end, 8 * len(whole), 5):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "damaged.npz").write_bytes(damaged)
        try:
            assert equal(plp.Watched.load(tmp_path / "damaged.npz"), run.watched)
        except plp.Error as error:
            assert "damaged.npz is not what a watch of plp's has recorded: " in str(error)


def test_a_study_keeps_what_its_runs_watched(images, tmp_path):
    study = plp.compare("resnet18", ["sgd", "plp"], train=images, path=tmp_path / "study", **STUDY)
    read = plp.Study.load(tmp_path / "study")
    for run, again in zip(study.runs, read.runs, strict=True):
        alone = plp.Trainer(plp.Model("resnet18", width=1 / 16), **vars(study.methods[run.method]), threads=1)
        alone.fit(images, validation=0.2, epochs=2, progress=False)
        assert equal(run.watched, alone.watched) and equal(again.watched, alone.watched)
        assert run.watched.trajectories.shape[2] == 2
    assert plp.merge([tmp_path / "study"], tmp_path / "copy").runs[0].watched

    with pytest.raises(ValueError, match=r"path is None, expected a folder for what a plp\.Watch records"):
        plp.compare("resnet18", ["sgd"], train=images, **STUDY)
    assert plp.Run("resnet18", "sgd", 0, plp.History()).watched is None


def test_a_run_that_goes_on_keeps_all_that_it_watched(images, tmp_path):
    def interrupt(report):
        if (report.epoch, report.iteration, report.phase) == (2, 3, "training"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plp.compare("resnet18", "sgd", train=images, path=tmp_path / "begun", callback=interrupt, **STUDY)
    assert list(tmp_path.glob("begun/*/watched.npz"))  # as far as it came, like its weights
    begun = plp.compare("resnet18", "sgd", train=images, path=tmp_path / "begun", **STUDY)
    whole = plp.compare("resnet18", "sgd", train=images, path=tmp_path / "whole", **STUDY)
    assert equal(begun.runs[0].watched, whole.runs[0].watched)


def test_a_watch_makes_no_other_method():
    study = made_up()
    study.methods["sgd*7/6"] = plp.PAPER.scaled(7 / 6)
    study.methods["plp"] = replace(study.methods["plp"], watch=plp.Watch())
    assert study.control("plp") == "sgd*7/6" and study.counterpart("plp") == "sgd"
    study.methods = {
        "base": plp.PAPER.scaled(2),
        "sgd, watched": replace(plp.PAPER, watch=plp.Watch()),
        "plp": study.methods["plp"],
    }
    assert study.counterpart("plp") == "sgd, watched"


def test_a_run_without_a_watch_has_none_of_the_one_before(images, tmp_path):
    def interrupt(report):
        raise KeyboardInterrupt

    without = {**STUDY, "recipe": replace(RECIPE, watch=None)}
    task = plp.Task(
        network="resnet18",
        method="sgd",
        recipe=RECIPE,
        width=1 / 16,
        seed=0,
        epochs=1,
        validation=0,
        train=images,
        threads=1,
        folder=tmp_path / "run",
    )
    with pytest.raises(KeyboardInterrupt):
        perform(replace(task, callbacks=(interrupt,)), plp.engine)
    assert (tmp_path / "run/watched.npz").exists()
    with pytest.warns(RuntimeWarning, match="watch"):
        run = perform(replace(task, recipe=without["recipe"]), plp.engine)
    assert run.watched is None and len(run.history) == 1


def test_a_report_shows_what_was_watched(images, tmp_path):
    options = {**STUDY, "recipe": replace(RECIPE, watch=None)}
    methods = {
        "sgd": {},
        "watched": {"watch": RECIPE.watch},
        "adamw": {"optimizer": plp.AdamW(), "watch": plp.Watch(samples=0)},
    }
    plp.compare("resnet18", methods, train=images, repeats=2, path=tmp_path / "study", **options).report(
        tmp_path / "page"
    )
    page = (tmp_path / "page").read_text()
    assert "How parameters moved" in page
    labels = [unescape(label) for label in re.findall(r'role="img" aria-label="([^"]+)"', page)][-7:]
    assert [re.split(" by |: conv", label)[0] for label in labels] == [
        "cosine of the predicted and the actual move, all parameters",
        "error |θ′ − m34| / |m34 − m23|, all parameters",
        "watched: cosine above independent gradients',",
        "watched: error,",
        "watched: a parameter's way since iteration 1, in some layers",
        "adamw: cosine,",
        "adamw: error,",
    ]
    assert labels[0].endswith("; the line: independent gradients: 0.95")


def test_what_has_stopped_has_no_error(images, tmp_path):
    """As at a rate that is too small for float32: the page's numbers are JSON's, which knows no infinity."""
    study = plp.compare("resnet18", ["sgd"], train=images, path=tmp_path / "study", **STUDY)
    place = study.runs[0].folder / "watched.npz"
    watched = plp.Watched.load(place)
    moves = watched.moves.copy()
    moves[-1, 0, 1:] = 0  # of a layer at the end, what the parameters did
    replace(watched, moves=moves).save(place)
    stopped = plp.Watched.load(place)
    assert np.isnan(stopped.error[-1, 0]) and np.isnan(stopped.cosine[-1, 0])
    assert np.isfinite(stopped.error[:-1]).all() and np.isfinite(stopped.total_error).all()
    plp.Study.load(tmp_path / "study").report(tmp_path / "page")
    page = (tmp_path / "page").read_text()
    charts = re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)
    for chart in charts:
        json.loads(chart, parse_constant=lambda found: pytest.fail(f"{found} is no JSON"))
    assert len(charts) > 5
    stopped.plot(tmp_path / "watched.png")


def test_mistakes():
    with pytest.raises(ValueError, match=r"watched PLP's coefficients: found 2, expected"):
        trainer(watch=plp.Watch(plp.PLP(coefficients=(0.5, 0.5))))
    with pytest.raises(ValueError, match="rule"):
        plp.Watch(plp.EMA())
    with pytest.raises(ValueError, match="watch_samples: found -1|samples"):
        trainer(watch=plp.Watch(samples=-1))
    with pytest.raises(ValueError, match="watch"):
        trainer(watch=plp.PLP())
    with pytest.raises(ValueError, match="trainer: found one without a watch, expected one made with it"):
        trainer(watch=None).watched  # noqa: B018
