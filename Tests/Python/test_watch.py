"""A watch records how far PLP's prediction is from what came, and changes nothing."""

import numpy as np
import plp
import pytest


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


def test_what_is_to_be_expected_of_independent_gradients():
    """Labels at random on fresh noise: each step's gradient knows nothing of the last one's."""
    random = np.random.default_rng(0)
    for momentum in (0.0, 0.9):
        model = plp.Model("resnet18", width=1 / 16, seed=1)
        run = plp.Trainer(
            model, optimizer=plp.SGD(lr=1e-5, momentum=momentum, weight_decay=0), batch_size=8, watch=plp.Watch()
        )
        for _ in range(120):
            run.step(random.standard_normal((8, 3, 32, 32), np.float32), random.integers(0, 100, 8))
        watched = run.watched
        # The last layer's bias has the least in common from one mini-batch to the next.
        late = watched.cosine[20:].mean(axis=0)
        assert abs(late[-1] - watched.expected_cosine) < 0.1, momentum


def test_a_picture(images, tmp_path):
    run = trainer()
    with pytest.raises(ValueError, match="no cycle"):
        run.watched.plot()
    run.fit(images, epochs=2, progress=False)
    figure = run.watched.plot(tmp_path / "watched.png")
    assert len(figure.axes) == 5 and (tmp_path / "watched.png").stat().st_size > 10_000


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
